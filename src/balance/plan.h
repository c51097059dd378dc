// SPDX-License-Identifier: Apache-2.0
// The plan of a round: which node starts with which units. A pure function of the number of units and of the
// nodes' speeds, so that all nodes compute the same plan; results never depend on it. `static` plans by the
// number of compute threads, `proportional` by the speeds learned from the last steps. (Stealing will move
// unstarted units later.)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "balance/queue.h"
#include "balance/speeds.h"

namespace lepton::balance {

/// Contiguous shares of `units` proportional to `speeds` (> 0), rounded by largest remainder, ties to the
/// lower node: begins, nodes + 1 entries. Written into `begins` (no allocation once it has its size).
void plan_units(int64_t units, std::span<const double> speeds, std::vector<int64_t>& begins);

/// The plan where nodes are of several classes: units [class_begins[c], class_begins[c + 1]) are shared out
/// so among the nodes of class c, of which there is one at least. Allocates nothing from the second round on.
class ClassPlan {
 public:
  explicit ClassPlan(std::vector<int> class_of_node);
  /// The units of each node.
  std::span<const UnitRange> plan(std::span<const int64_t> class_begins, std::span<const double> speeds);

 private:
  std::vector<int> class_of_node_;
  std::vector<UnitRange> ranges_;
  std::vector<double> speeds_;  ///< of one class's nodes
  std::vector<int64_t> begins_;
};

}  // namespace lepton::balance
