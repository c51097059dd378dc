// SPDX-License-Identifier: Apache-2.0
// Checksums keep a fuzzer out, so where one guards a parser it is also made to fit.
#include "fuzz/readers.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "checkpoint/envelope.h"
#include "checkpoint/reader.h"
#include "checkpoint/sample.h"
#include "report/ledger.h"
#include "storage/hdf5.h"
#include "storage/parity.h"
#include "storage/safetensors.h"
#include "train/deck.h"
#include "train/run_record.h"
#include "train/run_state.h"

namespace lepton::fuzz {

namespace {

/// A folder in memory for readers that want a path.
const std::string& memory_folder() {
  static const checkpoint::Scratch scratch("/dev/shm/lepton-fuzz-" + std::to_string(getpid()));
  return scratch.path();
}

std::string written(const std::string& name, const std::string& bytes) {
  std::string path = memory_folder() + "/" + name;
  checkpoint::write_text(path, bytes);
  return path;
}

void read_deck(const std::string& bytes) {
  train::parse_deck("fuzz.toml", bytes, {});
}

void read_manifest(const std::string& bytes) {
  checkpoint::Manifest::decode(bytes, "manifest.json");
}

/// `bytes` is what stands behind the checksum's line.
void read_sealed_manifest(const std::string& bytes) {
  const std::string text = "{\n  \"checksum\": \"" + hex64(hash64(bytes)) + "\",\n" + bytes;
  const checkpoint::Manifest manifest = checkpoint::Manifest::decode(text, "manifest.json");
  checkpoint::Manifest::decode(manifest.encode(), "again");
}

/// (Inside the envelope is Boost.Serialization, which is not made for hostile bytes: it gets none.)
void read_state(const std::string& bytes) {
  train::RunState::decode(checkpoint::open_envelope(bytes, "state.bin"), "state.bin");
}

void read_identity(const std::string& bytes) {
  train::RunIdentity::decode(bytes, "identity.json");
}

void read_ledger_line(const std::string& bytes) {
  const std::optional<report::LedgerLine> line = report::LedgerLine::decode(bytes);
  if (!line) throw Error(Exit::data, "ledger.txt", "was refused", "");
  if (report::LedgerLine::decode(line->encode())->encode() != line->encode()) std::abort();
}

/// A shard and its parity in a checkpoint, damaged by each three bytes: a place and what is flipped there; 0
/// cuts there. What is read is what was written.
void read_shard(const std::string& bytes) {
  static const checkpoint::StateLayout layout = {100, {"parameters", "sgd.momentum"}, 100};
  static const std::string path = checkpoint::write_sample(memory_folder(), layout, 7, 1);
  static const std::string shard = checkpoint::read_text(path + "/shard-00000.h5");
  static const std::string parity = checkpoint::read_text(path + "/shard-00000.h5.parity");
  std::string damaged[] = {shard, parity};
  for (size_t at = 0; at + 3 <= bytes.size(); at += 3) {
    uint16_t place = 0;
    std::memcpy(&place, &bytes[at], sizeof place);
    std::string& file = damaged[place >= shard.size()];
    const size_t offset = std::min(place - (place >= shard.size() ? shard.size() : 0), file.size());
    if (bytes[at + 2] == 0)
      file.resize(offset);
    else if (offset < file.size())
      file[offset] = static_cast<char>(file[offset] ^ bytes[at + 2]);
  }
  checkpoint::write_text(path + "/shard-00000.h5", damaged[0]);
  checkpoint::write_text(path + "/shard-00000.h5.parity", damaged[1]);
  const bool readable = checkpoint::readable(checkpoint::verify(path));
  std::vector<float> values(100);
  for (size_t a = 0; a < layout.arrays.size(); ++a) {
    checkpoint::Reader(path).read(layout.arrays[a], 0, 100, values);
    for (int64_t i = 0; i < 100; ++i)
      if (!readable || values[static_cast<size_t>(i)] != checkpoint::sample_value(7, a, i)) std::abort();
  }
}

/// The first two bytes say how long the file's part is.
void read_parity(const std::string& bytes) {
  uint16_t length = 0;
  if (bytes.size() < sizeof length) return;
  std::memcpy(&length, bytes.data(), sizeof length);
  const std::string rest = bytes.substr(sizeof length), file = rest.substr(0, length);
  const std::string parity = rest.substr(file.size());
  if (!storage::restore(file, std::as_bytes(std::span(parity))))
    throw Error(Exit::data, "parity", "was refused", "");
}

void read_model(const std::string& bytes) {
  storage::read_safetensors(written("model.safetensors", bytes));
}

void read_rows(const std::string& path) {
  std::vector<std::byte> rows;
  for (const storage::ArrayInfo& info : storage::list_arrays(path)) {
    const storage::Hdf5Array array(path, info.path);
    const int64_t count = std::min<int64_t>(info.shape.empty() ? 0 : info.shape[0], 4);
    rows.resize(static_cast<size_t>(count) * info.row_bytes());
    if (count > 0) array.read_rows(0, count, rows);
  }
}

/// In a process of its own: where the HDF5 library crashes, that ends, as a program does.
void read_dataset(const std::string& bytes) {
  const std::string path = written("dataset.h5", bytes);
  const pid_t child = fork();
  if (child == 0) {
    if (freopen("/dev/null", "w", stderr) == nullptr) _exit(1);
    try {
      read_rows(path);
    } catch (const Error& error) {
      _exit(static_cast<int>(error.code()));
    }
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) std::abort();
  if (WEXITSTATUS(status) != 0) throw Error(static_cast<Exit>(WEXITSTATUS(status)), path, "was refused", "");
}

}  // namespace

const std::map<std::string, std::function<void(const std::string& bytes)>>& fuzzed_readers() {
  static const std::map<std::string, std::function<void(const std::string& bytes)>> readers = {
      {"deck", read_deck},       {"manifest", read_manifest}, {"sealed_manifest", read_sealed_manifest},
      {"state", read_state},     {"identity", read_identity}, {"ledger_line", read_ledger_line},
      {"shard", read_shard},     {"parity", read_parity},     {"model", read_model},
      {"dataset", read_dataset},
  };
  return readers;
}

bool run_reader(const std::function<void(const std::string& bytes)>& reader, const std::string& bytes) {
  try {
    reader(bytes);
    return true;
  } catch (const Error& error) {
    if (error.code() != Exit::software) return false;
    std::fprintf(stderr, "an error of ours: %s\n", error.what());
    std::abort();
  }
}

}  // namespace lepton::fuzz
