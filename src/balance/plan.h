// SPDX-License-Identifier: Apache-2.0
// The plan of a round: which node starts with which units. A pure function of the number of units and of the
// nodes' speeds, so that all nodes compute the same plan; results never depend on it. `static` plans by the
// number of compute threads, `proportional` by the speeds learned from the last rounds. A unit is computed by
// one thread: a node of t threads and of `speed` units per second ends c units after ceil(c / t) * t / speed
// seconds. Plans make the latest of these ends as early as whole units allow. Called once per round, on
// leaders.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "balance/probes.h"
#include "balance/queue.h"
#include "balance/speeds.h"

namespace lepton::balance {

/// When a node of this speed (units per second of all its threads together) and so many threads ends `units`.
double end_s(int64_t units, double speed, int threads);

/// Plans units onto nodes, and keeps what it needs for that: nothing is allocated from the second plan of as
/// many nodes on.
class UnitPlanner {
 public:
  /// Contiguous shares of `units` in the order of the nodes: begins, nodes + 1 entries. No shares end earlier
  /// than these; of those that end as early (to 1e-9), these are nearest to proportional to `speeds` (> 0),
  /// ties to the lower node. A node on which one unit would end later gets none. `probed` is empty, or 1
  /// where a node gets exactly one unit, the others sharing the rest; as many units there must be.
  void plan(int64_t units, std::span<const double> speeds, std::span<const int> threads,
            std::span<const uint8_t> probed, std::vector<int64_t>& begins);

 private:
  /// A node, giving `units` each time `every_s` has passed, `most` times at most.
  struct Source {
    double every_s;
    int64_t units, most, times;
  };
  struct Next {
    double at_s;
    size_t node;
  };
  double pour(int64_t wanted, double ahead, double guess_s);
  int64_t given_by(double until_s, double ahead) const;

  std::vector<Source> sources_;
  std::vector<Next> next_;
};

/// The plan where nodes are of several classes: units [class_begins[c], class_begins[c + 1]) are shared out
/// so among the nodes of class c, of which there is one at least. Allocates nothing from the second round on.
class ClassPlan {
 public:
  ClassPlan(std::vector<int> class_of_node, std::vector<int> threads);
  /// The units of each node, by speeds that need no learning: no probes.
  std::span<const UnitRange> plan(std::span<const int64_t> class_begins, std::span<const double> speeds);
  /// By what was learned; nodes without units are probed. One call per round: probes count them.
  std::span<const UnitRange> plan(std::span<const int64_t> class_begins, const Speeds& speeds);
  /// When each node ends the last plan, and when all have; in seconds where the speeds are units per second.
  std::span<const double> ends_s() const { return ends_s_; }
  double end_s() const { return end_s_; }

 private:
  void share_out(std::span<const int64_t> class_begins, std::span<const double> speeds,
                 std::span<const uint8_t> probed);

  std::vector<int> class_of_node_, threads_;
  std::vector<UnitRange> ranges_;
  std::vector<double> ends_s_, unit_ends_;
  double end_s_ = 0;
  Probes probes_;
  UnitPlanner planner_;
  std::vector<double> class_speeds_;  ///< of one class's nodes, as the next three
  std::vector<int> class_threads_;
  std::vector<uint8_t> class_probed_;
  std::vector<int64_t> begins_;
};

}  // namespace lepton::balance
