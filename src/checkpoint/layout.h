// SPDX-License-Identifier: Apache-2.0
// What a checkpoint consists of: float32 arrays over the arena's elements (parameters, moments), cut into
// shards by element range, and the small run state. The number of shards is a function of the parameter
// count, never of ranks. Used by everything in this folder and by train.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lepton::checkpoint {

constexpr int64_t default_shard_elements = int64_t{1} << 22;

struct StateLayout {
  int64_t elements = 0;                             ///< of the arena, padding and statistics included
  std::vector<std::string> arrays;                  ///< "parameters", then e.g. "adam.m", "adam.v"
  int64_t shard_elements = default_shard_elements;  ///< of each shard but the last

  int64_t shards() const { return (elements + shard_elements - 1) / shard_elements; }
  int64_t shard_begin(int64_t shard) const { return std::min(elements, shard * shard_elements); }
  int64_t shard_end(int64_t shard) const { return shard_begin(shard + 1); }
  bool operator==(const StateLayout&) const = default;
};

/// Identity of the run that wrote it; compared at a restart. All values are text, all in the manifest.
struct Identity {
  std::string arithmetic_class;                     ///< device, instruction set, libraries, fingerprint
  std::map<std::string, std::string> mathematical;  ///< deck key -> value
  std::string data_fingerprint;

  bool operator==(const Identity&) const = default;
};

}  // namespace lepton::checkpoint
