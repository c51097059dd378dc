// SPDX-License-Identifier: Apache-2.0
// Shares by largest remainder. Called by train on leaders, once per round.
#include "balance/plan.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace lepton::balance {

void plan_units(int64_t units, std::span<const double> speeds, std::vector<int64_t>& begins) {
  const size_t nodes = speeds.size();
  begins.assign(nodes + 1, 0);
  const double total = std::accumulate(speeds.begin(), speeds.end(), 0.0);
  CHECK(total > 0, "no node has any speed");
  int64_t given = 0;
  for (size_t n = 0; n < nodes; ++n) {
    begins[n + 1] = static_cast<int64_t>(static_cast<double>(units) * (speeds[n] / total));
    given += begins[n + 1];
  }
  CHECK(given <= units, "rounding down gave too many units");
  for (; given < units; ++given) {  // at most `nodes` rounds, each to the largest remainder
    size_t best = 0;
    double best_lack = -1;
    for (size_t n = 0; n < nodes; ++n) {
      const double lack =
          static_cast<double>(units) * (speeds[n] / total) - static_cast<double>(begins[n + 1]);
      if (lack > best_lack) {
        best_lack = lack;
        best = n;
      }
    }
    ++begins[best + 1];
  }
  for (size_t n = 0; n < nodes; ++n) begins[n + 1] += begins[n];
}

ClassPlan::ClassPlan(std::vector<int> class_of_node)
    : class_of_node_(std::move(class_of_node)), ranges_(class_of_node_.size()) {
  speeds_.reserve(ranges_.size());
}

std::span<const UnitRange> ClassPlan::plan(std::span<const int64_t> class_begins,
                                           std::span<const double> speeds) {
  CHECK(speeds.size() == ranges_.size(), "one speed per node");
  for (int c = 0; c + 1 < std::ssize(class_begins); ++c) {
    speeds_.clear();
    for (size_t n = 0; n < ranges_.size(); ++n)
      if (class_of_node_[n] == c) speeds_.push_back(speeds[n]);
    plan_units(class_begins[c + 1] - class_begins[c], speeds_, begins_);
    size_t place = 0;
    for (size_t n = 0; n < ranges_.size(); ++n) {
      if (class_of_node_[n] != c) continue;
      ranges_[n] = {class_begins[c] + begins_[place], class_begins[c] + begins_[place + 1]};
      ++place;
    }
  }
  return ranges_;
}

}  // namespace lepton::balance
