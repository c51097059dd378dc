// SPDX-License-Identifier: Apache-2.0
// NodeLanes: where the compute threads of a node, of whatever rank, merge their lanes: node-shared memory
// with a lock and two banks by the parity of the round, so that the lanes of the next round can be filled
// while the leader still reads those of this one. Invariant: a bank that was never merged into since it was
// taken reads as cleared lanes. Tallies are touched by those who have some only.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "exact/lanes.h"

namespace lepton::exact {

class NodeLanes {
 public:
  /// Bytes of shared memory it needs for lanes of this shape.
  static size_t bytes(const Lanes& shape);
  /// **Local.** A view of the node's memory (zeroed at creation).
  NodeLanes(const Lanes& shape, std::span<std::byte> memory);

  /// Merges `mine` into the bank of `round`, under the lock.
  void add(int64_t round, const Lanes& mine);
  /// Moves the bank of `round` into `out` and clears the bank. After everybody has added: behind a barrier.
  void take(int64_t round, Lanes& out);

 private:
  struct Head {
    std::atomic<uint32_t> lock;
    uint32_t used[2];     // whether the bank holds anything
    uint32_t tallied[2];  // tallies too
  };
  /// With all tallies in front.
  std::span<int64_t> bank(int64_t round) const;

  Head& head_;
  std::span<int64_t> words_;
  size_t lanes_, sum_count_, tallies_;
};

}  // namespace lepton::exact
