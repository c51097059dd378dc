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

/// Speeds of the nodes in units per second, learned from what each did: the median of the last three
/// measurements, so that one outlier changes nothing and a real change counts after two steps. Until a node
/// was measured its thread count stands in, in units of the measured nodes' mean speed per thread.
class Speeds {
 public:
  explicit Speeds(std::vector<int> threads_per_node);
  /// A finished round: units done and busy thread time per node. A node without units keeps its estimate.
  void observe(std::span<const int64_t> units, std::span<const int64_t> busy_ns);
  std::span<const double> current() const { return speeds_; }
  std::span<const int> threads() const { return threads_; }

 private:
  std::vector<int> threads_;
  std::vector<double> recent_;  // three per node, 0: none yet
  std::vector<int64_t> observed_;
  std::vector<double> speeds_;
};

}  // namespace lepton::balance
