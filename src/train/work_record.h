// SPDX-License-Identifier: Apache-2.0
// WorkRecord: how the work of training steps was shared: what each node was planned, did, gave and took, its
// speed, and what waiting cost; over the run, and since the last time somebody asked. **Rank 0 only.** Called
// by balancer once per round; read by bookkeeper, and by train at the end.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "balance/planner.h"
#include "exact/lanes.h"
#include "report/metrics.h"

namespace lepton::train {

class WorkRecord {
 public:
  explicit WorkRecord(const std::vector<int>& threads_per_node);

  /// A round with so many units begins, of training or not; with that the last one is over.
  void begin(int64_t units, double now_s);
  /// The lanes of all nodes in a training round are there; what follows, to the next round, is still of it.
  void end(const balance::RoundPlan& plan, exact::Lanes& total, std::span<const double> speeds, double now_s);

  /// What happened since the last call; nothing did: all is 0.
  report::BalanceFigures take_figures();
  /// Over the run so far.
  const std::vector<report::NodeWork>& totals() const { return totals_; }
  int64_t rounds() const { return rounds_; }  ///< training rounds so far, redone ones too

 private:
  void add(std::vector<report::NodeWork>& work, const balance::RoundPlan& plan, exact::Lanes& total,
           std::span<const double> speeds) const;

  std::vector<report::NodeWork> totals_, recent_;
  int64_t rounds_ = 0, recent_rounds_ = 0, recent_units_ = 0, recent_steps_ = 0;
  double recent_units_s_ = 0, recent_step_s_ = 0;
  double began_s_ = 0, so_far_s_ = 0;  ///< the round under way, which may be the last
  int64_t units_ = 0;
  bool under_way_ = false;  ///< a training round whose lanes are there
};

}  // namespace lepton::train
