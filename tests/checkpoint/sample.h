// SPDX-License-Identifier: Apache-2.0
// For tests: scratch directories, states whose every value is known from its place, and checkpoints written
// without a Writer.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/hash.h"
#include "checkpoint/commit.h"
#include "checkpoint/envelope.h"
#include "checkpoint/shard.h"
#include "storage/file.h"
#include "storage/parity.h"

namespace lepton::checkpoint {

/// A directory that goes with the object; `keep` false on ranks that only use the path.
class Scratch {
 public:
  explicit Scratch(std::string path, bool owner = true) : path_(std::move(path)), owner_(owner) {
    if (owner_) std::filesystem::remove_all(path_);
    if (owner_) std::filesystem::create_directories(path_);
  }
  Scratch() : Scratch(testing::TempDir() + "lepton-checkpoint-" + std::to_string(getpid())) {}
  ~Scratch() {
    std::error_code ignored;
    if (owner_) std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool owner_;
};

inline const Identity sample_identity = {"cpu avx2 oneDNN 2.6", {{"train.seed", "7"}}, "00ff"};

/// Element i of array a of the state after a step.
inline float sample_value(int64_t step, size_t array, int64_t element) {
  return static_cast<float>((element * 31 + static_cast<int64_t>(array) * 7 + step * 3) % 65521) / 8;
}

inline std::string sample_small_state(int64_t step) {
  return "small state of step " + std::to_string(step) + std::string(3, '\0');
}

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// Writes step-N.tmp-0, whole but for the manifest, which is returned.
inline Manifest write_unfinished(const std::string& directory, const StateLayout& layout, int64_t step,
                                 const std::string& small_state, int parity = 0) {
  Manifest manifest;
  manifest.parity = parity;
  manifest.step = step;
  manifest.layout = layout;
  manifest.identity = sample_identity;
  const std::string path = unfinished_path({directory}, step);
  std::filesystem::create_directories(path);
  const auto write = [&](const std::string& name, std::span<const std::byte> bytes) {
    storage::write_file_durably(path + "/" + name, bytes, "checkpoint");
    manifest.files.push_back({name, static_cast<int64_t>(bytes.size()), hash64(bytes)});
  };
  for (int64_t shard = 0; shard < layout.shards(); ++shard) {
    std::vector<std::vector<float>> values(layout.arrays.size());
    for (size_t a = 0; a < values.size(); ++a)
      for (int64_t i = layout.shard_begin(shard); i < layout.shard_end(shard); ++i)
        values[a].push_back(sample_value(step, a, i));
    const std::vector<std::span<const float>> spans(values.begin(), values.end());
    write(shard_name(shard),
          build_shard(layout, {step, shard, identity_hash(sample_identity)}, spans).joined());
  }
  const std::string sealed = seal_envelope(small_state);
  write(state_name, std::as_bytes(std::span(sealed)));
  for (size_t i = 0; parity > 0 && i < manifest.content_files(); ++i) {
    const std::string name = manifest.files[i].name, bytes = read_text(path + "/" + name);
    write(parity_name(name), storage::encode_parity(std::as_bytes(std::span(bytes)), parity));
  }
  return manifest;
}

/// Writes and commits; returns the checkpoint's path.
inline std::string write_sample(const std::string& directory, const StateLayout& layout, int64_t step,
                                int parity = 0) {
  commit_checkpoint({directory}, write_unfinished(directory, layout, step, sample_small_state(step), parity));
  return directory + "/" + step_name(step);
}

/// Name -> content of every file below a directory.
inline std::map<std::string, std::string> contents_of(const std::string& directory) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
    if (entry.is_regular_file())
      contents[std::filesystem::relative(entry.path(), directory)] = read_text(entry.path());
  return contents;
}

}  // namespace lepton::checkpoint
