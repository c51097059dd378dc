// SPDX-License-Identifier: Apache-2.0
// Plans, queue and messages of a leader. See the header.
#include "train/balancer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "balance/grain.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/waiting.h"

namespace lepton::train {

namespace {

balance::Purpose purpose_of(exact::RoundKind kind) {
  return kind == exact::RoundKind::train ? balance::Purpose::train : balance::Purpose::evaluate;
}

}  // namespace

Balancer::Balancer(const comm::World& world, balance::Policy policy, const std::vector<int>& threads_per_node,
                   const Classes& classes, NodeState& node, data::RowExchange& exchange)
    : world_(world),
      node_(node),
      exchange_(exchange),
      planner_(policy, threads_per_node, classes.of_node, classes.shares),
      mailbox_(world),
      barrier_(world),
      worker_(node.units_max(), node.queue(), *this),
      units_scratch_(static_cast<size_t>(world.nodes())),
      busy_scratch_(static_cast<size_t>(world.nodes())) {
  unit_node_.reserve(static_cast<size_t>(node.units_max()));
  if (world.rank() != 0) return;
  left_out_.assign(threads_per_node.size(), 0);
  coordinator_.emplace(static_cast<balance::Outside&>(*this));
  record_.emplace(threads_per_node);
}

bool Balancer::moves_units() const {
  return planner_.policy() == balance::Policy::steal && world_.nodes() > 1;
}

std::span<const int> Balancer::plan(int64_t ticket, exact::RoundKind kind, int64_t number, int64_t units) {
  balance::RoundPlan& plan = plan_of(ticket);
  planner_.plan(purpose_of(kind), number, units, plan);
  if (record_ && kind == exact::RoundKind::train && plan.end_s > 0) tell_of_idle_nodes(plan);
  unit_node_.resize(static_cast<size_t>(units));
  for (int node = 0; node < world_.nodes(); ++node) {
    const balance::UnitRange range = plan.ranges[static_cast<size_t>(node)];
    std::fill(unit_node_.begin() + range.begin, unit_node_.begin() + range.end, node);
  }
  return unit_node_;
}

/// A single unit may be a probe.
void Balancer::tell_of_idle_nodes(const balance::RoundPlan& plan) {
  const auto name = [&](size_t node) {
    return fmt::format("node {} (rank {})", node, world_.leader_of(static_cast<int>(node)));
  };
  for (size_t n = 0; n < left_out_.size(); ++n) {
    const balance::NodePlan& node = plan.nodes[n];
    if (node.units == 0 && !left_out_[n] && node.unit_s > 2 * plan.end_s) {
      left_out_[n] = 1;
      log_warning(fmt::format(
          "{} takes {:.3g} s for a unit, longer than all units of a step take the others: it is planned "
          "none, but for one now and then to see whether it has recovered.",
          name(n), node.unit_s));
    } else if (node.units > 1 && left_out_[n]) {
      left_out_[n] = 0;
      log_info(fmt::format("{} has recovered and is planned units again.", name(n)));
    }
  }
}

void Balancer::begin(const RoundHeader& header) {
  stamp_ = {header.id.round, static_cast<int32_t>(header.id.kind), header.id.step, header.id.attempt};
  purpose_ = purpose_of(header.id.kind);
  ticket_ = header.ticket;
  began_s_ = now_s();
  const balance::RoundPlan& plan = plan_of(ticket_);
  const auto mine = static_cast<size_t>(world_.node());
  if (record_) record_->begin(header.units, began_s_);
  if (coordinator_ && moves_units()) coordinator_->begin(stamp_, plan.nodes);
  worker_.begin(stamp_, plan.nodes[mine], plan.ranges[mine], !moves_units());
}

double Balancer::round_s() const {
  return now_s() - began_s_;
}

void Balancer::poll() {
  // What comes after the closing has nothing to say any more, and is taken in the next round: looking for it
  // would delay the sums.
  if (!moves_units() || worker_.closed()) return;
  // Nobody is more than one round ahead: (c) of a round ends on no node before all have begun it.
  while (!early_.empty() && early_.front().second.stamp.round <= stamp_.round) {
    const std::pair<int, balance::Message> letter = std::move(early_.front());
    early_.erase(early_.begin());
    take(letter.first, letter.second);
  }
  read_letters();
  worker_.poll(round_s());
  // What rank 0 says to itself shall not wait for the end of its next unit: it may be the slow one.
  if (std::exchange(said_to_itself_, false)) read_letters();
  if (barrier_.entered() && since_entered_.count() > world_.deadline_s())
    throw DeadlineError("units of this step", world_.deadline_s(), barrier_.missing());
}

/// Decisions follow once no more letters are there; they may be letters to rank 0 itself.
void Balancer::read_letters() {
  do {
    while (std::optional<comm::Letter> letter = mailbox_.receive())
      take(letter->from, balance::decode(letter->bytes));
  } while (coordinator_ && !worker_.closed() && coordinator_->decide(round_s()));
}

void Balancer::take(int from, const balance::Message& message) {
  if (message.stamp.round > stamp_.round) {
    early_.emplace_back(from, message);
    return;
  }
  const bool report = std::holds_alternative<balance::Report>(message.body);
  if (message.stamp.round < stamp_.round) {
    CHECK(report || std::holds_alternative<balance::Give>(message.body), "units of a round that is over");
    return;
  }
  if (report)
    coordinator_->receive(from, message);
  else
    worker_.receive(round_s(), from, message);
}

void Balancer::units_ended() {
  units_ns_ = static_cast<int64_t>(round_s() * 1e9);
}

void Balancer::vote(exact::Lanes& lanes) const {
  lanes.node_taken(world_.node()) += worker_.moved().taken;
}

void Balancer::observe(exact::Lanes& total) {
  for (int node = 0; node < world_.nodes(); ++node) {
    busy_scratch_[static_cast<size_t>(node)] = total.node_busy_ns(node);
    units_scratch_[static_cast<size_t>(node)] = total.node_units(node);
  }
  planner_.observe(purpose_, units_scratch_, busy_scratch_);
  if (record_ && purpose_ == balance::Purpose::train)
    record_->end(plan_of(ticket_), total, planner_.speeds(purpose_).current(), now_s());
}

std::string Balancer::grain_warning(int64_t batch_size, int64_t unit_size) const {
  constexpr double tolerable = 0.1;
  const balance::Speeds& speeds = planner_.speeds(balance::Purpose::train);
  const int64_t units = (batch_size + unit_size - 1) / unit_size;
  const double loss = balance::grain_loss(units, speeds.current(), speeds.threads());
  const int threads = std::accumulate(speeds.threads().begin(), speeds.threads().end(), 0);
  // That there are fewer units than threads was said at the start.
  if (!speeds.measured() || loss <= tolerable || units < threads) return "";
  const balance::Grain finer =
      balance::finer_grain(batch_size, unit_size, speeds.current(), speeds.threads());
  return report::coarse_units_text(units, threads, loss, finer.unit_size, finer.loss);
}

void Balancer::warn_of_grain(const TrainSpec& spec, int64_t rounds) {
  if (grain_told_ || record_->rounds() < rounds) return;
  grain_told_ = true;
  if (const std::string warning = grain_warning(spec.batch_size, spec.unit_size); !warning.empty())
    log_warning(warning);
}

void Balancer::close() {
  if (moves_units()) mailbox_.drain();
}

void Balancer::send(int node, const balance::Message& message) {
  said_to_itself_ = said_to_itself_ || node == world_.node();
  mailbox_.send(node, balance::encode(message));
}

void Balancer::lend(int node, int64_t number, std::span<const int32_t> units) {
  exchange_.lending().lend(ticket_, node, number, units);
}

void Balancer::borrow(int node, int64_t number, std::span<const int32_t> units) {
  exchange_.lending().borrow(ticket_, node, number, units);
}

bool Balancer::borrowed(int node, int64_t number) {
  return exchange_.lending().borrowed(ticket_, node, number);
}

void Balancer::enter_barrier() {
  barrier_.enter();
  since_entered_.restart();
}

bool Balancer::barrier_complete() {
  return barrier_.complete();
}

}  // namespace lepton::train
