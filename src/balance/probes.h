// SPDX-License-Identifier: Apache-2.0
// A node so slow that plans give it nothing would never be measured again: now and then it is given a single
// unit, a probe. The first comes two plans after the last one with units, when everything that it did is
// known (a plan is made one round ahead); then the interval doubles up to 4,096 plans. After a round with a
// probe that ends later than its plan, 32 times as much time passes before any but a node's first one:
// however many and however slow the nodes are, they cost a run about 3 %. A probe more than a fifth quicker
// than the node's speed is repeated once, as soon as its time is known: two that agree make the speed. Pure,
// counted in plans, the same on all nodes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "balance/queue.h"

namespace lepton::balance {

class Probes {
 public:
  explicit Probes(std::vector<int> class_of_node);

  /// For the next plan, which without probes would be `ordinary`: 1 for each node to be given one unit
  /// instead of none; empty when there is none. `unit_ends`: when one unit on a node would end, as a multiple
  /// of the end of the plan. `quickened`: as in Speeds. At most half of a class's units are probes, or one.
  std::span<const uint8_t> choose(std::span<const UnitRange> ordinary, std::span<const double> unit_ends,
                                  std::span<const uint8_t> quickened, std::span<const int64_t> class_begins);

 private:
  struct Idle {
    int64_t interval = 0;  ///< 0: the node has units
    int64_t since = 0;     ///< the last probe, or the first plan without units
    bool may_repeat = false;
  };
  bool repeats(const Idle& idle, bool quickened) const;
  bool due(const Idle& idle) const;

  std::vector<int> class_of_node_;
  std::vector<Idle> idle_;
  std::vector<uint8_t> chosen_;
  std::vector<int64_t> room_;  ///< probes that a class can still take
  int64_t plan_ = 0, paid_until_ = 0;
};

}  // namespace lepton::balance
