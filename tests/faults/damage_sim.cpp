// SPDX-License-Identifier: Apache-2.0
// Damaged files through the readers, all in one process because there are hundreds of thousands of them. Ends
// with 1 at the first one that is read in silence; a crash is one too.
//   damage_sim checkpoint DIR [STRIDE]   every file of a checkpoint truncated at every 512 bytes, and one bit
//                                        flipped in every STRIDE-th byte (1): verify() names it, Reader
//                                        throws or gives what was written
//   damage_sim commit FOLDER STEP        every prefix of what a commit of step STEP writes: the newest valid
//                                        checkpoint of FOLDER is that step's or the one before
//   damage_sim state FILE COUNT SEED     COUNT mutations of a state.bin: refused
//   damage_sim dataset FILE              truncated at every 4 KiB: refused, or read as before
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/philox.h"
#include "checkpoint/envelope.h"
#include "checkpoint/reader.h"
#include "fuzz/mutator.h"
#include "storage/file.h"
#include "storage/hdf5.h"
#include "train/run_state.h"

namespace {

using namespace lepton;
namespace fs = std::filesystem;

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

/// Whether `work` threw an Error that is not a bug of ours.
bool refuses(const std::function<void()>& work) {
  try {
    work();
    return false;
  } catch (const Error& error) {
    if (error.code() == Exit::software) throw;
    return true;
  }
}

[[noreturn]] void silent(const std::string& what) {
  std::printf("SILENT: %s\n", what.c_str());
  std::exit(1);
}

/// A hash of all that a checkpoint gives.
uint64_t read_everything(const std::string& checkpoint) {
  const checkpoint::Reader reader(checkpoint);
  const checkpoint::StateLayout& layout = reader.manifest().layout;
  std::vector<float> values(static_cast<size_t>(layout.elements));
  uint64_t hash = hash64(reader.manifest().encode() + reader.small_state());
  for (const std::string& array : layout.arrays) {
    reader.read(array, 0, layout.elements, values);
    hash = hash64_of<float>(values, hash);
  }
  train::RunState::decode(reader.small_state(), checkpoint);
  return hash;
}

/// Returns whether it heals.
bool require_noticed(const std::string& checkpoint, uint64_t whole, const std::string& what) {
  const std::vector<checkpoint::Damage> damages = checkpoint::verify(checkpoint);
  if (damages.empty()) silent(what + ", verify() finds nothing");
  uint64_t hash = 0;
  const bool read = !refuses([&] { hash = read_everything(checkpoint); });
  if (read && hash != whole) silent(what + ", and other values are read");
  if (read != checkpoint::readable(damages)) silent(what + ", verify() and the reader disagree");
  return read;
}

int damage_checkpoint(const std::string& checkpoint, size_t stride) {
  const uint64_t whole = read_everything(checkpoint);
  int64_t truncated = 0, flipped = 0, healed = 0;
  for (const std::string& name : storage::list_directory(checkpoint)) {
    const std::string path = checkpoint + "/" + name, bytes = storage::read_file(path);
    for (size_t size = 0; size < bytes.size(); size += 512, ++truncated) {
      fs::resize_file(path, size);
      healed += require_noticed(checkpoint, whole, name + " truncated to " + std::to_string(size));
      write_bytes(path, bytes);
    }
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto put = [&](size_t at, char byte) {
      file.seekp(static_cast<std::streamoff>(at));
      file.put(byte).flush();
    };
    for (size_t at = 0; at < bytes.size(); at += stride, ++flipped) {
      put(at, static_cast<char>(bytes[at] ^ (1 << mix64(at) % 8)));
      healed +=
          require_noticed(checkpoint, whole, name + " with a flipped bit in byte " + std::to_string(at));
      put(at, bytes[at]);
    }
  }
  if (read_everything(checkpoint) != whole) silent("the checkpoint after all that");
  std::printf("%ld truncations, %ld flips: all noticed, %ld healed\n", static_cast<long>(truncated),
              static_cast<long>(flipped), static_cast<long>(healed));
  return 0;
}

/// The newest checkpoint that verifies, as a restart finds it; "": none.
std::string newest_valid(const std::string& folder) {
  for (const std::string& path : checkpoint::list_checkpoints(folder))
    if (checkpoint::readable(checkpoint::verify(path))) return fs::path(path).filename();
  return "";
}

/// A commit writes shards, state.bin and parity in any order, then the manifest, then renames. Where parity
/// is on disk before what it restores, the new state may be there a little earlier.
int damage_commit(const std::string& folder, int64_t step) {
  const std::string name = checkpoint::step_name(step), path = folder + "/" + name;
  std::vector<std::pair<std::string, std::string>> files;
  for (const std::string& file : storage::list_directory(path))
    if (file != checkpoint::manifest_name) files.emplace_back(file, storage::read_file(path + "/" + file));
  files.emplace_back(checkpoint::manifest_name, storage::read_file(path + "/" + checkpoint::manifest_name));
  fs::remove_all(path);
  const std::string before = newest_valid(folder);
  if (before.empty()) silent("there is no checkpoint before step " + std::to_string(step));
  int64_t prefixes = 0;
  // Written as unfinished, and also as if the rename had come before the bytes: by a file system without
  // order.
  for (const std::string& place : {path + ".tmp-1", path}) {
    fs::create_directory(place);
    bool there = false;  // once it is, it stays
    for (const auto& [file, bytes] : files)
      for (size_t size = 0;; size = std::min(bytes.size(), size + 4096), ++prefixes) {
        write_bytes(place + "/" + file, bytes.substr(0, size));
        const bool whole = place == path && file == files.back().first && size == bytes.size();
        const std::string found = newest_valid(folder);
        if (found != name && (whole || found != before || (place == path && there)))
          silent("after " + std::to_string(size) + " bytes of " + place + "/" + file + ": '" + found + "'");
        there = found == name;
        if (there && place != path) silent("what is unfinished is taken for a checkpoint");
        if (size == bytes.size()) break;
      }
    if (place != path) fs::remove_all(place);
  }
  std::printf("%ld prefixes: each gives the state before or the new one\n", static_cast<long>(prefixes));
  return 0;
}

/// (What is inside the envelope is never decoded unless that was opened.)
int damage_state(const std::string& path, int64_t count, uint64_t seed) {
  const std::string sealed = storage::read_file(path);
  train::RunState::decode(checkpoint::open_envelope(sealed, path), path);
  fuzz::Mutator mutator(seed);
  for (int64_t i = 0; i < count; ++i) {
    const std::string damaged = mutator.mutate(sealed);
    if (damaged != sealed && !refuses([&] { checkpoint::open_envelope(damaged, path); }))
      silent("mutation " + std::to_string(i) + " of the envelope");
  }
  std::printf("%ld mutations: none opened\n", static_cast<long>(count));
  return 0;
}

/// All rows of all arrays.
uint64_t hash_of_dataset(const std::string& file) {
  uint64_t hash = 0;
  std::vector<std::byte> rows;
  for (const storage::ArrayInfo& info : storage::list_arrays(file)) {
    const storage::Hdf5Array array(file, info.path);
    const int64_t count = info.shape[0];
    rows.resize(static_cast<size_t>(count) * info.row_bytes());
    array.read_rows(0, count, rows);
    hash = hash64(rows, hash);
  }
  return hash;
}

int damage_dataset(const std::string& file) {
  const uint64_t whole = hash_of_dataset(file);
  const std::string bytes = storage::read_file(file), copy = file + ".truncated";
  int64_t tries = 0;
  write_bytes(copy, bytes);
  for (size_t size = (bytes.size() - 1) / 4096 * 4096 + 4096; size > 0; ++tries) {
    size -= 4096;
    fs::resize_file(copy, size);
    uint64_t found = whole;
    if (!refuses([&] { found = hash_of_dataset(copy); }) && found != whole)
      silent("truncated to " + std::to_string(size) + " bytes, other rows are read");
  }
  fs::remove(copy);
  std::printf("%ld truncations: refused, or read as before\n", static_cast<long>(tries));
  return 0;
}

int run(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[1] : "", path = argc > 2 ? argv[2] : "";
  const auto number = [&](int i, int64_t otherwise) { return argc > i ? std::atoll(argv[i]) : otherwise; };
  if (mode == "checkpoint")
    return damage_checkpoint(path, static_cast<size_t>(std::max<int64_t>(1, number(3, 1))));
  if (mode == "commit") return damage_commit(path, number(3, 0));
  if (mode == "state") return damage_state(path, number(3, 1000), static_cast<uint64_t>(number(4, 1)));
  if (mode == "dataset") return damage_dataset(path);
  std::fprintf(stderr, "damage_sim checkpoint|commit|state|dataset PATH ...\n");
  return 64;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
}
