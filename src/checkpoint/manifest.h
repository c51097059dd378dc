// SPDX-License-Identifier: Apache-2.0
// The manifest of a checkpoint, manifest.json: what it holds and the size and hash of each of its files. It
// is written last, so a directory without one was never committed. Its first line is a checksum of all that
// follows, so that every byte of a checkpoint is verified before anything parses it. Format 2 has parity
// files (storage/parity.h) beside the others; format 1, without, is still read.
// Also the names of things on disk: step-00000500/, shard-00000.h5, state.bin, shard-00000.h5.parity.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/layout.h"

namespace lepton::checkpoint {

inline constexpr char manifest_name[] = "manifest.json";
inline constexpr char state_name[] = "state.bin";
std::string shard_name(int64_t shard);
std::string parity_name(const std::string& file);
std::string step_name(int64_t step);  ///< the directory: "step-00000500"
/// Behind the name of an intact checkpoint while another of the same step takes its place.
constexpr char previous_suffix[] = ".previous";
/// The step of a directory named by step_name(); nullopt for every other name (*.tmp, *.damaged-1, strays).
std::optional<int64_t> parse_step_name(std::string_view name);

/// A hash of all of the identity; each shard carries it.
uint64_t identity_hash(const Identity& identity);

/// A checkpoint as its manifest describes it.
struct Manifest {
  struct File {
    std::string name;
    int64_t bytes = 0;
    uint64_t hash = 0;
  };
  int format = 2;
  int64_t step = 0;
  StateLayout layout;
  Identity identity;
  int parity = 0;  ///< parity blocks per stripe; 0: there are no parity files
  /// The shards in order, then state.bin, then the parity files of all these in the same order. (That of the
  /// manifest has no entry: it holds the manifest.)
  std::vector<File> files;

  /// Shards and state.bin.
  size_t content_files() const { return static_cast<size_t>(layout.shards()) + 1; }
  const File& state_file() const { return files[content_files() - 1]; }

  std::string encode() const;  ///< JSON, deterministic
  /// Throws Error(data) naming `path` unless every byte is as encode() made it.
  static Manifest decode(const std::string& text, const std::string& path);
};

}  // namespace lepton::checkpoint
