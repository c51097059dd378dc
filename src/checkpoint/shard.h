// SPDX-License-Identifier: Apache-2.0
// A shard: an HDF5 file with the elements [begin, end) of every array of the state (float32, little-endian),
// and attributes that say which part of which state of which run it is. Built in pieces and read as an image
// in memory, so that bytes are hashed before they are written and verified before HDF5 parses them. Called by
// the writer's thread and by the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "storage/hdf5.h"

namespace lepton::checkpoint {

/// Which shard of what: the attributes.
struct ShardLabel {
  int64_t step = 0, shard = 0;
  uint64_t identity = 0;  ///< identity_hash()
};

/// The file, whose bytes are the same for the same content. arrays[a]: the shard's elements of array a, which
/// are not copied.
storage::Hdf5Pieces build_shard(const StateLayout& layout, const ShardLabel& label,
                                std::span<const std::span<const float>> arrays);

/// Elements [begin, end) of an array, which lie in this shard, into `out`. `image` is verified; throws
/// Error(data) naming `path` when it is another shard than `label` says.
void read_shard(std::span<const std::byte> image, const std::string& path, const StateLayout& layout,
                const ShardLabel& label, const std::string& array, int64_t begin, int64_t end,
                std::span<float> out);

}  // namespace lepton::checkpoint
