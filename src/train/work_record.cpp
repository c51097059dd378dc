// SPDX-License-Identifier: Apache-2.0
// Sums over rounds. See the header.
#include "train/work_record.h"

#include <algorithm>
#include <utility>

namespace lepton::train {

WorkRecord::WorkRecord(const std::vector<int>& threads_per_node) {
  for (const int threads : threads_per_node) {
    report::NodeWork work;
    work.threads = threads;
    totals_.push_back(work);
  }
  recent_ = totals_;
}

void WorkRecord::begin(int64_t units, double now_s) {
  if (std::exchange(under_way_, false)) {
    recent_step_s_ += now_s - began_s_;
    ++recent_steps_;
  }
  units_ = units;
  began_s_ = now_s;
}

void WorkRecord::add(std::vector<report::NodeWork>& work, const balance::RoundPlan& plan, exact::Lanes& total,
                     std::span<const double> speeds) const {
  const double units_s = static_cast<double>(total.units_ns()) * 1e-9;
  for (size_t n = 0; n < work.size(); ++n) {
    const int node = static_cast<int>(n);
    const double busy_s = static_cast<double>(total.node_busy_ns(node)) * 1e-9;
    const int64_t planned = plan.ranges[n].size(), done = total.node_units(node),
                  taken = total.node_taken(node);
    work[n].planned += planned;
    work[n].done += done;
    work[n].taken += taken;
    work[n].given += planned + taken - done;
    work[n].units_per_s = speeds[n];
    work[n].busy_s += busy_s;
    work[n].wait_s += std::max(0.0, units_s * work[n].threads - busy_s);
  }
}

void WorkRecord::end(const balance::RoundPlan& plan, exact::Lanes& total, std::span<const double> speeds,
                     double now_s) {
  add(totals_, plan, total, speeds);
  add(recent_, plan, total, speeds);
  ++rounds_;
  ++recent_rounds_;
  recent_units_ += units_;
  recent_units_s_ += static_cast<double>(total.units_ns()) * 1e-9;
  so_far_s_ = now_s - began_s_;
  under_way_ = true;
}

report::BalanceFigures WorkRecord::take_figures() {
  report::BalanceFigures figures;
  figures.nodes = recent_;
  if (recent_rounds_ > 0) {
    const auto rounds = static_cast<double>(recent_rounds_);
    figures.step_s = recent_steps_ > 0 ? recent_step_s_ / static_cast<double>(recent_steps_) : so_far_s_;
    figures.units_s = recent_units_s_ / rounds;
    figures.units_per_step = static_cast<double>(recent_units_) / rounds;
  }
  for (report::NodeWork& work : recent_) {
    const int threads = work.threads;
    work = {};
    work.threads = threads;
  }
  recent_rounds_ = recent_units_ = recent_steps_ = 0;
  recent_units_s_ = recent_step_s_ = 0;
  return figures;
}

}  // namespace lepton::train
