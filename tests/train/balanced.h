// SPDX-License-Identifier: Apache-2.0
// For tests of the balancer: the nodes of a small run with a balancer each, and rounds whose units are slept
// through instead of computed, at each node's own speed; their rows are looked at.
#pragma once

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "comm/reduction.h"
#include "data/batch.h"
#include "small_runs.h"
#include "train/balancer.h"
#include "train/job.h"
#include "train/resume.h"
#include "train/unit.h"

namespace lepton::train {

constexpr int64_t balanced_units = 60, balanced_samples = 120;
constexpr size_t image_bytes = 36;

inline void sleep_ms(double ms) {
  std::this_thread::sleep_for(std::chrono::microseconds(static_cast<int64_t>(1000 * ms)));
}

/// The nodes, and what they need to be balanced.
struct Balanced {
  Balanced(const SmallRuns& runs, int ranks_per_node, balance::Policy policy_, bool alone = false)
      : world(30, ranks_per_node, alone),
        deck(load_deck(world, runs.options("dense.toml", "run",
                                           {{"train.batch_size", "120"}, {"train.unit_size", "2"}}))),
        job(world, deck, nullptr, true, false),
        policy(policy_),
        unit_begins(data::cut_units(balanced_samples, 2)),
        ids(balanced_samples) {
    std::iota(ids.begin(), ids.end(), int64_t{7});
  }

  Balancer make_balancer() {
    return Balancer(world, policy, job.threads_per_node, job.classes, job.node, job.exchange);
  }
  int nodes() const { return world.nodes(); }

  /// **Leaders.** The rows of a round that is planned so.
  void fetch(int64_t ticket, std::span<const int> unit_node) {
    job.exchange.begin({ticket, data::SplitKind::train, ids, unit_begins, unit_node});
    job.exchange.finish(ticket, [] {});
  }
  /// **Leaders.**
  static RoundHeader header_of(int64_t round) {
    RoundHeader header;
    header.id = {round, exact::RoundKind::train, round, 1};
    header.ticket = round;
    header.samples = balanced_samples;
    header.units = balanced_units;
    return header;
  }

  const comm::World world;
  const Deck deck;
  Job job;
  balance::Policy policy;
  std::vector<int64_t> unit_begins, ids;
};

/// Rounds of them all.
class BalancedRounds {
 public:
  BalancedRounds(const SmallRuns& runs, int ranks_per_node, balance::Policy policy, bool alone = false)
      : parts(runs, ranks_per_node, policy, alone), total(1, parts.nodes(), 0, 0) {
    if (!parts.world.leads()) return;
    reduction_.emplace(parts.world);
    balancer.emplace(parts.world, policy, parts.job.threads_per_node, parts.job.classes, parts.job.node,
                     parts.job.exchange);
  }
  ~BalancedRounds() {
    if (balancer) balancer->close();
    parts.world.barrier();
  }

  /// **Collective.** A round in which a unit takes unit_ms[n] on node n. Afterwards `total` holds the lanes
  /// of all nodes on leaders, `planned` the units that each node began with, and each unit was run once.
  void round(const std::vector<double>& unit_ms) {
    const comm::World& world = parts.world;
    const int64_t ticket = ++round_;
    run_.assign(balanced_units, 0);
    rows_.assign(balanced_samples, 0);
    done_.assign(static_cast<size_t>(parts.nodes()), 0);
    planned.assign(static_cast<size_t>(parts.nodes()), 0);
    if (world.leads()) {
      const auto unit_node = balancer->plan(ticket, exact::RoundKind::train, ticket, balanced_units);
      for (const int node : unit_node) ++planned[static_cast<size_t>(node)];
      parts.fetch(ticket, unit_node);
      balancer->begin(Balanced::header_of(ticket));
    }
    world.node_barrier();
    run_units(unit_ms[static_cast<size_t>(world.node())]);
    if (world.leads()) balancer->units_ended();
    world.node_barrier();
    world.all_sum(run_);
    world.all_sum(rows_);
    world.all_sum(done_);
    for (const int64_t times : run_) EXPECT_EQ(times, 1);
    if (reference_.empty()) reference_ = rows_;
    EXPECT_EQ(rows_, reference_);  // wherever they were read
    if (world.leads()) count(unit_ms);
    world.barrier();
  }

  Balanced parts;
  std::optional<Balancer> balancer;
  exact::Lanes total;
  std::vector<int64_t> planned;

 private:
  void run_units(double unit_ms) {
    balance::UnitQueue queue = parts.job.node.queue();
    const double began_s = now_s();
    while (now_s() - began_s < 30) {
      const std::span<const int32_t> unit = queue.take();
      if (balancer) {
        parts.job.exchange.progress();
        balancer->poll();
      }
      if (!unit.empty())
        run(unit[0], unit_ms);
      else if (queue.closed() && queue.left() == 0)
        return;
      else
        sleep_ms(0.05);
    }
    FAIL() << "the round does not end";
  }
  void run(int32_t unit, double unit_ms) {
    const auto u = static_cast<size_t>(unit);
    ++run_[u];
    ++done_[static_cast<size_t>(parts.world.node())];
    for (int64_t p = parts.unit_begins[u]; p < parts.unit_begins[u + 1]; ++p) {
      const std::byte* row = parts.job.exchange.row(round_, p);
      rows_[static_cast<size_t>(p)] += static_cast<int64_t>(hash64({row, image_bytes}));
    }
    sleep_ms(unit_ms);
    parts.job.node.queue().count_done(1, static_cast<int64_t>(unit_ms * 1e6));
  }
  /// **Leaders.** As the end of a round does.
  void count(const std::vector<double>& unit_ms) {
    const int node = parts.world.node();
    const int64_t done = done_[static_cast<size_t>(node)];
    total.clear();
    total.node_units(node) += done;
    total.node_busy_ns(node) +=
        static_cast<int64_t>(static_cast<double>(done) * unit_ms[static_cast<size_t>(node)] * 1e6);
    balancer->vote(total);
    balancer->complete(total);
    reduction_->all_reduce(total.values(), total.sum_count(), {});
    balancer->observe(total);
    parts.job.exchange.end(round_);
  }

  std::optional<comm::LeaderReduction> reduction_;
  int64_t round_ = 0;
  std::vector<int64_t> run_, rows_, done_, reference_;
};

}  // namespace lepton::train
