// SPDX-License-Identifier: Apache-2.0
// Planner: what all nodes know of a round before it begins: which units start where, and when each node
// should be done with its own. It binds the shares of classes, what was learned of speeds, and the deck's
// policy. A pure function of the rounds planned and observed, so that all nodes plan alike; training rounds
// and evaluation rounds, whose units cost less, are learned and planned apart. Called by train on leaders,
// and by the simulator.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "balance/class_shares.h"
#include "balance/plan.h"
#include "balance/policy.h"
#include "balance/queue.h"
#include "balance/speeds.h"

namespace lepton::balance {

/// By number of threads; by learned speeds; the same, and units move within a round too.
enum class Policy { static_, proportional, steal };

struct RoundPlan {
  std::vector<UnitRange> ranges;  ///< by node, as the next
  std::vector<NodePlan> nodes;
  std::vector<int64_t> class_begins;
  double end_s = 0;  ///< when all are done; 0: nobody knows yet
};

/// Training rounds, or others.
enum class Purpose { train, evaluate };

class Planner {
 public:
  Planner(Policy policy, const std::vector<int>& threads_per_node, const std::vector<int>& class_of_node,
          std::span<const int64_t> shares);

  /// The plan of round `number` of its kind. Allocates nothing once `plan` has been used.
  void plan(Purpose purpose, int64_t number, int64_t units, RoundPlan& plan);
  /// A round that ended: units done and thread time by node.
  void observe(Purpose purpose, std::span<const int64_t> units, std::span<const int64_t> busy_ns);
  /// Units per second by node, if any was measured.
  const Speeds& speeds(Purpose purpose) const { return kinds_[static_cast<size_t>(purpose)].speeds; }
  Policy policy() const { return policy_; }

 private:
  struct Kind {
    Speeds speeds;
    ClassPlan plan;
  };

  Policy policy_;
  std::vector<int> threads_, class_of_node_;
  std::vector<double> static_speeds_;
  ClassShares shares_;
  std::array<Kind, 2> kinds_;
};

}  // namespace lepton::balance
