// SPDX-License-Identifier: Apache-2.0
// Plans from shares, speeds and policy. See the header.
#include "balance/planner.h"

#include <algorithm>

#include "base/error.h"

namespace lepton::balance {

Planner::Planner(Policy policy, const std::vector<int>& threads_per_node,
                 const std::vector<int>& class_of_node, std::span<const int64_t> shares)
    : policy_(policy),
      threads_(threads_per_node),
      class_of_node_(class_of_node),
      static_speeds_(threads_per_node.begin(), threads_per_node.end()),
      shares_(shares),
      kinds_{Kind{Speeds(threads_per_node), ClassPlan(class_of_node, threads_per_node)},
             Kind{Speeds(threads_per_node), ClassPlan(class_of_node, threads_per_node)}} {
  CHECK(threads_.size() == class_of_node_.size(), "a class for each node");
}

void Planner::plan(Purpose purpose, int64_t number, int64_t units, RoundPlan& plan) {
  Kind& kind = kinds_[static_cast<size_t>(purpose)];
  shares_.cut(number, units, plan.class_begins);
  const std::span<const UnitRange> ranges = policy_ == Policy::static_
                                                ? kind.plan.plan(plan.class_begins, static_speeds_)
                                                : kind.plan.plan(plan.class_begins, kind.speeds);
  plan.ranges.assign(ranges.begin(), ranges.end());
  const bool measured = kind.speeds.measured();
  const std::span<const double> speeds = kind.speeds.current();
  plan.end_s = 0;
  plan.nodes.resize(ranges.size());
  for (size_t n = 0; n < ranges.size(); ++n) {
    NodePlan& node = plan.nodes[n];
    node = {ranges[n].size(), threads_[n], class_of_node_[n], measured ? threads_[n] / speeds[n] : 0, 0};
    if (measured) node.end_s = end_s(node.units, speeds[n], node.threads);
    plan.end_s = std::max(plan.end_s, node.end_s);
  }
}

void Planner::observe(Purpose purpose, std::span<const int64_t> units, std::span<const int64_t> busy_ns) {
  kinds_[static_cast<size_t>(purpose)].speeds.observe(units, busy_ns);
}

}  // namespace lepton::balance
