// SPDX-License-Identifier: Apache-2.0
// When nodes report, and who gives what to whom. See the header. Called by worker and coordinator.
#include "balance/policy.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace lepton::balance {

// ---- A node

void NodePolicy::begin(const NodePlan& plan) {
  *this = {};
  plan_ = plan;
  unit_s_ = plan.unit_s;
  if (plan.unit_s <= 0) return;
  believed_end_s_ = plan.end_s;
  for (int i = 0; i < 3; ++i) recent_.take(plan.unit_s, plan.unit_s);  // what was known counts
}

void NodePolicy::learn(double now_s, const Progress& progress) {
  if (progress.done != done_ || progress.started == progress.done) advanced_s_ = now_s;
  done_ = progress.done;
  const double busy_s = progress.busy_s - measured_busy_s_;
  const int64_t enough = std::max<int64_t>(1, plan_.units / 16);
  if (done_ == measured_) return;
  if (unit_s_ <= 0 || done_ - measured_ >= enough || busy_s >= static_cast<double>(enough) * unit_s_)
    measure(progress);
}

/// Time of a unit. Each measurement is of a sixteenth of the plan, because what single short units take says
/// little of many.
void NodePolicy::measure(const Progress& progress) {
  const double value = (progress.busy_s - measured_busy_s_) / static_cast<double>(progress.done - measured_);
  measured_ = progress.done;
  measured_busy_s_ = progress.busy_s;
  recent_.take(value, unit_s_ > 0 ? unit_s_ : value);
  unit_s_ = recent_.middle();
}

/// Where units have just been done, those under way are half done in the mean, but that of the thread that
/// looks has begun; later they are nearer to their end.
double NodePolicy::end_s(double now_s, const Progress& progress) const {
  const double threads = plan_.threads;
  const double under_way = static_cast<double>(progress.started - progress.done) / threads;
  const double begun_s = under_way * ((0.5 + 0.5 / threads) * unit_s_ - (now_s - advanced_s_));
  return now_s + turns(progress) * unit_s_ + std::max(0.0, begun_s);
}

/// Of a thread, until what is left is done.
double NodePolicy::turns(const Progress& progress) const {
  return std::ceil(static_cast<double>(progress.left + progress.coming) / plan_.threads);
}

double NodePolicy::tolerance_s(double left_s) const {
  return std::max({unit_s_, worth_s, report_slack * left_s});
}

bool NodePolicy::ends(const Progress& progress) const {
  if (progress.left + progress.coming == 0) return true;
  return unit_s_ > 0 && !late_ && turns(progress) * unit_s_ <= worth_s;
}

std::optional<Report> NodePolicy::look(double now_s, const Progress& progress) {
  learn(now_s, progress);
  if (taken_ > 0 && !reported_)
    return report(now_s, progress);  // rank 0 trusted it to be where the plan says
  if (progress.idle()) {
    if (!idle_since_s_) {
      idle_since_s_ = now_s;
      told_ = reported_ && believed_end_s_ && *believed_end_s_ <= now_s + tolerance_s(0);
    }
    // Who was silent must be known to be alive.
    if (told_ || now_s - *idle_since_s_ <= tolerance_s(0)) return std::nullopt;
    return report(now_s, progress);
  }
  idle_since_s_.reset();
  if (unit_s_ <= 0) return std::nullopt;
  if (!believed_end_s_) return report(now_s, progress);
  const double end = end_s(now_s, progress), tolerance = tolerance_s(end - now_s);
  // Rank 0 may know the end from a report that crossed its order, and yet not that what it ordered is left.
  const double expected_s = std::min(*believed_end_s_, took_end_s_.value_or(*believed_end_s_));
  const bool late = progress.left > progress.kept && end > expected_s + tolerance;
  late_ = late_ || late;
  // Nor does it know when units that were on their way have become such as can be given.
  const bool came = progress.left - progress.kept > 1 && progress.coming < coming_;
  if (!late && !came && end >= *believed_end_s_ - tolerance) return std::nullopt;
  return report(now_s, progress);
}

Report NodePolicy::report(double now_s, const Progress& progress) {
  learn(now_s, progress);
  believed_end_s_ = end_s(now_s, progress);
  coming_ = progress.coming;
  took_end_s_.reset();
  reported_ = told_ = true;
  return {now_s, progress.left - progress.kept, *believed_end_s_, unit_s_, gives_seen_, taken_, {}};
}

void NodePolicy::gave(double end_s) {
  ++gives_seen_;
  believed_end_s_ = end_s;
}

void NodePolicy::took(int64_t units, double end_s) {
  taken_ += units;
  believed_end_s_ = took_end_s_ = end_s;
}

// ---- Rank 0

void MovePolicy::begin(std::span<const NodePlan> plans) {
  views_.resize(plans.size());
  int classes = 1;
  for (size_t n = 0; n < plans.size(); ++n) {
    View& view = views_[n];
    view.gives.clear();
    view.plan = plans[n];
    view.unit_s = plans[n].unit_s;
    view.end_s = plans[n].end_s;
    view.left = std::max<int64_t>(0, plans[n].units - plans[n].threads);  // each thread has started one
    view.left_at_s = 0;
    view.reported = view.gave = view.took = view.guessed = false;
    view.ordered_to = 0;
    classes = std::max(classes, plans[n].node_class + 1);
  }
  undecided_.assign(static_cast<size_t>(classes), 0);
  due_s_ = std::numeric_limits<double>::infinity();
}

/// A report and orders may cross: what the node had not heard of is reckoned with here.
void MovePolicy::report(int node, const Report& report) {
  for (const Move& missing : report.missing) {
    View& taker = views_[static_cast<size_t>(missing.node)];
    taker.ordered_to -= missing.units;
    taker.end_s -= static_cast<double>(missing.units) * taker.per_unit_s();
  }
  View& view = views_[static_cast<size_t>(node)];
  if (report.unit_s > 0) {
    view.unit_s = report.unit_s;
    view.guessed = false;
  }
  int64_t leaving = 0;
  for (size_t g = static_cast<size_t>(report.gives_seen); g < view.gives.size(); ++g)
    leaving += view.gives[g];
  leaving = std::min(leaving, report.left);
  const int64_t coming = std::max<int64_t>(0, view.ordered_to - report.taken);
  view.left = report.left - leaving;
  view.left_at_s = report.at_s;
  view.end_s = report.end_s + static_cast<double>(coming - leaving) * view.per_unit_s();
  view.reported = true;
  wait(view.plan.node_class, 0);
}

void MovePolicy::decide(double now_s, std::vector<Order>& orders) {
  orders.clear();
  due_s_ = std::numeric_limits<double>::infinity();
  guess(now_s);
  for (size_t c = 0; c < undecided_.size(); ++c)
    if (std::exchange(undecided_[c], 0)) match(now_s, static_cast<int>(c), orders);
  for (Order& order : orders) {
    order.give.end_s = views_[static_cast<size_t>(order.from)].end_s;
    int64_t units = 0;
    for (const Move& move : order.give.moves) units += move.units;
    views_[static_cast<size_t>(order.from)].gives.push_back(units);
  }
}

/// Speeds of those that were never measured: who has nothing to compute is taken for as fast as the others;
/// who has not ended its first unit yet, and would have said so, takes at least so long.
void MovePolicy::guess(double now_s) {
  const double mean_s = mean_unit_s();
  if (mean_s == 0) return;
  for (View& view : views_) {
    if (view.known() && !view.guessed) continue;
    view.guessed = true;
    view.unit_s = view.silent() ? std::max(mean_s, now_s) : mean_s;
    if (!view.silent()) continue;
    view.left_at_s = now_s;
    view.end_s = now_s + static_cast<double>(view.left) * view.per_unit_s();
  }
}

/// There is more to decide at `at_s`.
void MovePolicy::wait(int node_class, double at_s) {
  undecided_[static_cast<size_t>(node_class)] = 1;
  due_s_ = std::min(due_s_, at_s);
}

double MovePolicy::mean_unit_s() const {
  double sum = 0;
  int64_t known = 0;
  for (const View& view : views_) {
    if (view.guessed) continue;
    sum += view.unit_s;
    known += view.known();
  }
  return known > 0 ? sum / static_cast<double>(known) : 0;
}

int64_t MovePolicy::left(const View& view, double now_s) const {
  if (!view.known()) return view.reported ? view.left : 0;
  return std::max<int64_t>(0, view.left - static_cast<int64_t>((now_s - view.left_at_s) / view.per_unit_s()));
}

/// So many units may be on their way to a node that has not shown in this round how fast it is: one where
/// nobody ever measured it, else one for each thread.
int64_t MovePolicy::trust(const View& view) const {
  if (view.guessed) return 1 - view.ordered_to;
  return view.reported ? INT64_MAX : view.plan.threads - view.ordered_to;
}

/// Who has said nothing and should have ended is stuck, or idle for less than it takes to say so.
bool MovePolicy::alive(const View& view, double now_s) const {
  return view.known() && (view.reported || view.end_s + view.unit_s >= now_s);
}

double MovePolicy::level_s(double now_s, int node_class) const {
  double work = 0, speed = 0;
  for (const View& view : views_) {
    if (view.plan.node_class != node_class || !alive(view, now_s)) continue;
    work += view.free_s(now_s) / view.per_unit_s();
    speed += 1 / view.per_unit_s();
  }
  return speed > 0 ? work / speed : now_s;
}

int MovePolicy::most_behind(double now_s, double level_s, int node_class) const {
  int found = -1;
  for (size_t n = 0; n < views_.size(); ++n) {
    const View& view = views_[n];
    if (view.plan.node_class != node_class || view.passed || !view.known() || left(view, now_s) == 0)
      continue;
    const double units_behind = (view.end_s - level_s) / view.per_unit_s();
    if (units_behind < 0.5) continue;
    if (found < 0 || view.end_s > views_[static_cast<size_t>(found)].end_s) found = static_cast<int>(n);
  }
  return found;
}

int MovePolicy::earliest(double now_s, int node_class, int but) const {
  int found = -1;
  double found_end_s = 0;
  for (size_t n = 0; n < views_.size(); ++n) {
    const View& view = views_[n];
    if (static_cast<int>(n) == but || view.plan.node_class != node_class) continue;
    if (!alive(view, now_s) || view.silent() || trust(view) <= 0) continue;
    const double free_s = view.free_s(now_s);
    const double end_s = free_s + view.unit_s;
    if (found < 0 || end_s < found_end_s) {
      found = static_cast<int>(n);
      found_end_s = end_s;
    }
  }
  return found;
}

/// An order must be on its way so long before the taker ends: rank 0 looks between its units at the latest,
/// the giver too, and the taker shall not have to ask.
double MovePolicy::lead_s(const View& giver, const View& taker) const {
  return views_.front().unit_s + giver.unit_s + 2 * taker.unit_s + worth_s;
}

/// As many as bring both to the level, at most half of what is left; none where the pair would not end
/// earlier. A giver answers at the end of a unit at the latest, in the mean after half of one.
int64_t MovePolicy::units_to_move(const View& giver, const View& taker, double now_s, double level_s) const {
  const int64_t there = left(giver, now_s);
  const auto surplus = static_cast<int64_t>((giver.end_s - level_s) / giver.per_unit_s() + 0.5);
  const auto room = static_cast<int64_t>((level_s - taker.free_s(now_s)) / taker.per_unit_s() + 0.5);
  int64_t units = std::min({(there + 1) / 2, surplus, std::max<int64_t>(room, 1), trust(taker)});
  const double begin_s = std::max(taker.free_s(now_s), now_s + 0.5 * giver.unit_s);
  const auto end_s = [&](int64_t count) {
    return begin_s + std::max(taker.unit_s, static_cast<double>(count) * taker.per_unit_s());
  };
  const double won_s = worth_s + (giver.took || taker.gave ? 2 : 0.5) * taker.unit_s;
  while (units > 0 && end_s(units) + won_s >= giver.end_s) --units;
  return units;
}

namespace {

/// One Give per giver, one Move per taker.
void add_move(std::vector<Order>& orders, int from, const Move& move) {
  auto order = std::find_if(orders.begin(), orders.end(), [&](const Order& o) { return o.from == from; });
  if (order == orders.end()) order = orders.insert(order, Order{from, {}});
  std::vector<Move>& moves = order->give.moves;
  const auto same =
      std::find_if(moves.begin(), moves.end(), [&](const Move& m) { return m.node == move.node; });
  if (same == moves.end()) {
    moves.push_back(move);
  } else {
    same->units += move.units;
    same->end_s = move.end_s;
  }
}

}  // namespace

void MovePolicy::match(double now_s, int node_class, std::vector<Order>& orders) {
  const double level = level_s(now_s, node_class);
  for (View& view : views_) {
    view.passed = false;
    // By then it is known to be slower, if it is still silent.
    if (view.silent() && view.left > 0 && view.plan.node_class == node_class) wait(node_class, 1.25 * now_s);
  }
  for (;;) {
    const int from = most_behind(now_s, level, node_class);
    if (from < 0) return;
    const int to = earliest(now_s, node_class, from);
    if (to < 0) return;
    View &giver = views_[static_cast<size_t>(from)], &taker = views_[static_cast<size_t>(to)];
    // Who ends next has no earlier taker and must win as much: all others would be asked for nothing, which
    // with a thousand nodes at the end of a balanced round takes rank 0 longer than its units.
    const double won_s = worth_s + (taker.gave ? 2 : 0.5) * taker.unit_s;
    if (giver.end_s <= taker.free_s(now_s) + taker.unit_s + won_s) return;
    // Not before it must be: what is known then is better, and what looks late may be a delay of all nodes,
    // of which others have not reported yet.
    const double wait_until_s = taker.free_s(now_s) - lead_s(giver, taker);
    if (wait_until_s > now_s) {
      wait(node_class, wait_until_s);
      return;
    }
    const int64_t units = units_to_move(giver, taker, now_s, level);
    if (units <= 0) {
      giver.passed = true;
      continue;
    }
    giver.left = left(giver, now_s) - units;
    giver.left_at_s = now_s;
    giver.end_s -= static_cast<double>(units) * giver.per_unit_s();
    taker.end_s =
        taker.free_s(now_s) + std::max(taker.unit_s, static_cast<double>(units) * taker.per_unit_s());
    taker.ordered_to += units;
    giver.gave = taker.took = true;
    add_move(orders, from, {to, units, taker.end_s});
  }
}

}  // namespace lepton::balance
