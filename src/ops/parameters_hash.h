// SPDX-License-Identifier: Apache-2.0
// The hash of all parameter bytes, the yardstick of the promise: XXH3 of every block of `block_elements`
// arena floats, then XXH3 of the array of block hashes, so that slices of any cut can be hashed where they
// are updated. Running statistics and padding (zeros) are part of the arena and of the hash.
#pragma once

#include <cstdint>
#include <span>

namespace lepton::ops {

/// The hash of block `block` of the arena (the last block may be short).
uint64_t parameters_block_hash(std::span<const float> arena, int64_t block);
uint64_t combine_block_hashes(std::span<const uint64_t> hashes);
/// The sum of a state's 64-bit words modulo 2^64, which one flipped bit changes for certain, at the speed of
/// memory: what lies in memory between two steps is compared with it.
uint64_t state_sum(std::span<const float> state);
/// All of it at once: what `inspect` prints as parameters_hash.
uint64_t parameters_hash(std::span<const float> arena);

}  // namespace lepton::ops
