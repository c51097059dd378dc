// SPDX-License-Identifier: Apache-2.0
// Accumulator: the node's int64 sum of all units' gradients, in node-shared memory, cut into blocks of
// `block_elements` with a lock word and a checksum each. A thread adds a tensor segment by segment from an
// offset of its own and comes back to busy blocks (measured: atomic adds are 10-17 times dearer). Invariants:
// element i belongs to arena element i; checksum[b] = sum of the elements of block b modulo 2^64 at any time
// at which no lock is held, so one flipped bit anywhere between quantising and updating shows; a block
// in which a value overflows or is not finite is taken back at once and flagged, and the attempt is dropped.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "exact/lanes.h"
#include "exact/scale.h"
#include "tensor/arena.h"

namespace lepton::exact {

/// Where thread `start` begins among `count` places, so that any number of threads spread evenly.
int64_t rotation(int start, int64_t count);

class Accumulator {
 public:
  /// Bytes of shared memory it needs.
  static size_t bytes(const ArenaLayout& layout);
  /// **Local.** A view of the node's memory (zeroed at creation). The layout must outlive it.
  Accumulator(const ArenaLayout& layout, std::span<std::byte> memory);

  /// += round(values * 2^scale) for the elements `first`, first + 1, ... of one tensor; from any number of
  /// threads and ranks at once. `start`
  /// rotates the first block (number of the thread within the node). Records M, overflow and non-finite
  /// values (with `unit`, place = nodes + tensor given by caller) in `lanes`, which belong to the calling
  /// thread. Segments that overflow or are not finite are left out. Allocates nothing. Passes failpoint
  /// "accumulate" with each block it holds.
  void add(int tensor, int64_t first, std::span<const float> values, int scale, uint32_t overflow_bits,
           int start, int64_t unit, int place, Lanes& lanes);
  /// Adds block b of `other` (another NUMA domain's accumulator); the caller is alone with both.
  void fold(int64_t block, const Accumulator& other);

  /// Whether block b's elements still give its checksum.
  bool intact(int64_t block) const;
  /// Sets block b and its checksum to zero.
  void clear(int64_t block);
  std::span<int64_t> elements() { return elements_; }
  std::span<int64_t> checksums() { return checksums_; }
  std::span<const int64_t> block(int64_t b) const;

 private:
  struct alignas(64) Lock {
    std::atomic<uint32_t> word;
  };
  struct Part;
  struct Found;
  struct Aside;
  bool try_add(const Part& part, Found& found);
  void come_back(Aside& aside, size_t keep, Found& found);
  void add_locked(const Part& part, Found& found);

  const ArenaLayout& layout_;
  std::span<int64_t> elements_, checksums_;
  std::span<Lock> locks_;
  std::vector<int64_t> first_segment_;  // of each tensor, and the end
};

}  // namespace lepton::exact
