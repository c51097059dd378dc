// SPDX-License-Identifier: Apache-2.0
// The best shares in two passes of one greedy algorithm: first how early all can end, then, among the shares
// that end so early, those nearest to proportional. Called by train on leaders, once per round.
#include "balance/plan.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace lepton::balance {
namespace {

/// Ends that differ by less are the same one, computed from other speeds.
constexpr double rounding = 1e-9;
constexpr double never = std::numeric_limits<double>::infinity();
constexpr int64_t unlimited = std::numeric_limits<int64_t>::max();

}  // namespace

double end_s(int64_t units, double speed, int threads) {
  return static_cast<double>((units + threads - 1) / threads) * (threads / speed);
}

int64_t UnitPlanner::given_by(double until_s, double ahead) const {
  int64_t given = 0;
  for (const Source& source : sources_)
    given += std::min(source.most, static_cast<int64_t>(until_s / source.every_s + ahead)) * source.units;
  return given;
}

// When the sources have given `wanted` units, the k-th time of each being (k - ahead) * every_s; what each
// has given by then goes into `times`: of those that give at the end itself the lower nodes, and only as
// needed. First bisection below `guess_s`, which need not be exact, to where some one time per node is left;
// then a heap. A heap alone would take tens of milliseconds for hundreds of thousands of units.
double UnitPlanner::pour(int64_t wanted, double ahead, double guess_s) {
  double times_per_s = 0;
  for (const Source& source : sources_) times_per_s += 1 / source.every_s;
  double before_s = 0, after_s = guess_s;
  while ((after_s - before_s) * times_per_s > static_cast<double>(sources_.size())) {
    const double middle_s = before_s + (after_s - before_s) / 2;
    (given_by(middle_s, ahead) < wanted ? before_s : after_s) = middle_s;
  }
  const auto later = [](const Next& a, const Next& b) {
    return a.at_s > b.at_s || (a.at_s == b.at_s && a.node > b.node);
  };
  const auto next_s = [ahead](const Source& source) {
    return (static_cast<double>(source.times + 1) - ahead) * source.every_s;
  };
  int64_t given = 0;
  next_.clear();
  for (size_t n = 0; n < sources_.size(); ++n) {
    Source& source = sources_[n];
    source.times = std::min(source.most, static_cast<int64_t>(before_s / source.every_s + ahead));
    given += source.times * source.units;
    if (source.times < source.most) next_.push_back({next_s(source), n});
  }
  std::make_heap(next_.begin(), next_.end(), later);
  double end_s = before_s;
  while (given < wanted) {
    CHECK(!next_.empty(), "more units than the nodes may take");
    std::pop_heap(next_.begin(), next_.end(), later);
    Next& next = next_.back();
    Source& source = sources_[next.node];
    end_s = next.at_s;
    given += source.units;
    if (++source.times < source.most) {
      next.at_s = next_s(source);
      std::push_heap(next_.begin(), next_.end(), later);
    } else {
      next_.pop_back();
    }
  }
  return end_s;
}

// First pass: a node of t threads gives t units every t / speed seconds; all of them have ended when these
// are enough, and no earlier. By then node n may have given more than is needed: most_n units. Any shares
// within these are as good, so 18 and 18 is as good as 20 and 16 of 36 units on twice 4 threads. Second pass:
// of them the nearest to proportional, least sum of (units_n - quota_n)^2 / speed_n, is found by giving the
// next unit always to the least (units_n + 1/2) / speed_n (Sainte-Lague), the sum being convex in each share.
// Not to the least (units_n + 1) / speed_n, the earliest end if threads shared units: of nodes with speeds
// 10, 1, ..., 1 the first would take 10 units alone, and the others would stay unmeasured for nothing.
// Nor are shares that end a few percent later accepted for being more even: simulated with noisy speeds, that
// gave no steadier plans.
void UnitPlanner::plan(int64_t units, std::span<const double> speeds, std::span<const int> threads,
                       std::span<const uint8_t> probed, std::vector<int64_t>& begins) {
  const size_t nodes = speeds.size();
  sources_.resize(nodes);
  next_.reserve(nodes);
  int64_t left = units, all_threads = 0;
  double total = 0;
  for (size_t n = 0; n < nodes; ++n) {
    CHECK(speeds[n] > 0, "a node without speed");
    const bool single = !probed.empty() && probed[n];
    sources_[n] = {single ? never : threads[n] / speeds[n], threads[n], unlimited, 0};
    if (single) {
      --left;
    } else {
      all_threads += threads[n];
      total += speeds[n];
    }
  }
  CHECK(left == 0 || (left > 0 && total > 0), "a unit for each probe, and nodes for the other units");
  if (left > 0) {
    const double end = pour(left, 0, static_cast<double>(left + all_threads) / total);
    for (size_t n = 0; n < nodes; ++n) {
      Source& source = sources_[n];
      const int64_t most = static_cast<int64_t>(end * (1 + rounding) / source.every_s) * threads[n];
      source = {most > 0 ? 1 / speeds[n] : never, 1, most, 0};
    }
    pour(left, 0.5, end);
  }
  begins.assign(nodes + 1, 0);
  for (size_t n = 0; n < nodes; ++n)
    begins[n + 1] = begins[n] + (!probed.empty() && probed[n] ? 1 : sources_[n].times);
}

ClassPlan::ClassPlan(std::vector<int> class_of_node, std::vector<int> threads)
    : class_of_node_(std::move(class_of_node)),
      threads_(std::move(threads)),
      ranges_(class_of_node_.size()),
      ends_s_(class_of_node_.size()),
      unit_ends_(class_of_node_.size()),
      probes_(class_of_node_) {
  class_speeds_.reserve(ranges_.size());
  class_threads_.reserve(ranges_.size());
  class_probed_.reserve(ranges_.size());
}

std::span<const UnitRange> ClassPlan::plan(std::span<const int64_t> class_begins,
                                           std::span<const double> speeds) {
  share_out(class_begins, speeds, {});
  return ranges_;
}

std::span<const UnitRange> ClassPlan::plan(std::span<const int64_t> class_begins, const Speeds& speeds) {
  share_out(class_begins, speeds.current(), {});
  for (size_t n = 0; n < ranges_.size(); ++n)
    unit_ends_[n] = balance::end_s(1, speeds.current()[n], threads_[n]) / end_s_;
  const std::span<const uint8_t> probed =
      probes_.choose(ranges_, unit_ends_, speeds.quickened(), class_begins);
  if (!probed.empty()) share_out(class_begins, speeds.current(), probed);
  return ranges_;
}

void ClassPlan::share_out(std::span<const int64_t> class_begins, std::span<const double> speeds,
                          std::span<const uint8_t> probed) {
  CHECK(speeds.size() == ranges_.size() && threads_.size() == ranges_.size(), "one speed per node");
  end_s_ = 0;
  for (int c = 0; c + 1 < std::ssize(class_begins); ++c) {
    class_speeds_.clear();
    class_threads_.clear();
    class_probed_.clear();
    for (size_t n = 0; n < ranges_.size(); ++n) {
      if (class_of_node_[n] != c) continue;
      class_speeds_.push_back(speeds[n]);
      class_threads_.push_back(threads_[n]);
      if (!probed.empty()) class_probed_.push_back(probed[n]);
    }
    planner_.plan(class_begins[c + 1] - class_begins[c], class_speeds_, class_threads_, class_probed_,
                  begins_);
    size_t place = 0;
    for (size_t n = 0; n < ranges_.size(); ++n) {
      if (class_of_node_[n] != c) continue;
      ranges_[n] = {class_begins[c] + begins_[place], class_begins[c] + begins_[place + 1]};
      ends_s_[n] = balance::end_s(ranges_[n].size(), speeds[n], threads_[n]);
      end_s_ = std::max(end_s_, ends_s_[n]);
      ++place;
    }
  }
}

}  // namespace lepton::balance
