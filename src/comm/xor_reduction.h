// SPDX-License-Identifier: Apache-2.0
// XorReduction: the exclusive or of arrays of a group of nodes, to one of them: nonblocking, a few at a time,
// tested between units and while a leader waits. On a communicator of its own, so that other collectives may
// begin and end meanwhile. Invariant: all nodes of a group begin the same ones in the same order. **Leaders'
// main threads.**
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "comm/world.h"

namespace lepton::comm {

class XorReduction {
 public:
  /// **Collective over leaders.** This node's group is nodes [first, first + count); at most `places` are
  /// under way at a time.
  XorReduction(const World& world, int first, int count, int places);
  ~XorReduction();
  XorReduction(const XorReduction&) = delete;
  XorReduction& operator=(const XorReduction&) = delete;

  /// In a place that is free. Both of the same size, a multiple of 8, and untouched until it has ended. `out`
  /// is written on node first + root only.
  void begin(int place, std::span<const std::byte> in, std::span<std::byte> out, int root);
  /// One word of each node of the group, to all of them.
  void begin_gather(int place, uint64_t word, std::span<uint64_t> all);
  /// Whether the place is free: what was begun there has ended here.
  bool test(int place);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lepton::comm
