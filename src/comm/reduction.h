// SPDX-License-Identifier: Apache-2.0
// The collectives at the end of a step, between node leaders: nonblocking inside, with deadline (counted from
// the last progress), polling while they wait. With one node each of them is the identity. **Collective over
// leaders**, main thread only. Nothing is allocated after the first call with a given number of lanes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/waiting.h"
#include "comm/world.h"

namespace lepton::comm {

class ExchangeMemory;

class LeaderReduction {
 public:
  /// `piece_bytes`: how arrays are cut on their way; scratch is eight pieces. Smaller only in tests.
  /// `memory`: where arrays lie, if not on the host; what the other nodes have makes no difference.
  explicit LeaderReduction(const World& world, size_t piece_bytes = size_t{512} << 10,
                           ExchangeMemory* memory = nullptr);
  ~LeaderReduction();
  LeaderReduction(const LeaderReduction&) = delete;
  LeaderReduction& operator=(const LeaderReduction&) = delete;

  /// In place: afterwards elements [offsets[node], offsets[node + 1]) of `sums` hold the total over nodes;
  /// the rest stays as it was. offsets has nodes + 1 entries, the same on every node. Integer addition modulo
  /// 2^64. Works in bounded pieces so that no second copy of the array is needed.
  void reduce_scatter(std::span<int64_t> sums, std::span<const int64_t> offsets, const Poll& poll);
  /// In place, one message: the first `sum_count` entries are added (modulo 2^64), the others take the
  /// maximum.
  void all_reduce(std::span<int64_t> lanes, size_t sum_count, const Poll& poll);
  /// In place: node n's part [offsets[n], offsets[n + 1]) of `values` goes to everybody. Bytes per element
  /// given.
  void all_gather(std::span<std::byte> values, std::span<const int64_t> offsets, size_t element_bytes,
                  const Poll& poll);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lepton::comm
