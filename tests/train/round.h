// SPDX-License-Identifier: Apache-2.0
// For tests of units: a node that is about to do one round of a small run.
#pragma once

#include <numeric>
#include <thread>

#include "data/batch.h"
#include "ops/quantise.h"
#include "ops/table.h"
#include "small_runs.h"
#include "train/job.h"
#include "train/resume.h"
#include "train/unit_runner.h"

namespace lepton::train {

constexpr int round_scale = 40;
constexpr int64_t round_samples = 34, round_unit_size = 12;

/// A node that is about to do the units of one round: 34 samples in 3 units, cut over the nodes in turn.
class Round {
 public:
  Round(const SmallRuns& runs, int ranks_per_node, const std::string& deck_name, exact::RoundKind kind,
        bool confusion, std::vector<Override> overrides = {})
      : world(60, ranks_per_node),
        deck(load_deck(world, runs.options(deck_name, "run", std::move(overrides)))),
        job(world, deck, nullptr, true, confusion),
        resources{deck,
                  job.graph,
                  job.dataset,
                  job.exchange,
                  job.loss,
                  job.assemblers,
                  job.node,
                  world.node(),
                  job.tally,
                  job.device ? &*job.device : nullptr,
                  job.host.precision} {
    initialise_state(world, job.graph, 3, job.node);
    begins = data::cut_units(round_samples, round_unit_size);
    ids.resize(round_samples);
    std::iota(ids.begin(), ids.end(), int64_t{5});
    const std::vector<int> unit_node = {0, 1 % world.nodes(), 2 % world.nodes()};
    for (int u = 0; u < 3; ++u)
      if (unit_node[u] == world.node()) mine.push_back(u);
    world.node_barrier();
    const data::SplitKind split =
        kind == exact::RoundKind::train ? data::SplitKind::train : data::SplitKind::test;
    if (world.leads()) {
      std::copy(ids.begin(), ids.end(), job.node.samples(0).begin());
      std::copy(begins.begin(), begins.end(), job.node.unit_begins(0).begin());
      std::fill(job.node.scales().begin(), job.node.scales().end(), round_scale);
      std::fill(job.node.overflow_bits().begin(), job.node.overflow_bits().end(),
                ops::power_of_two_bits(51 - round_scale));
      RoundHeader& header = job.node.control().header;
      header.id = {1, kind, 7, 1};
      header.samples = round_samples;
      header.units = 3;
      header.split = split;
      header.run = true;
    }
    if (world.leads()) {
      job.exchange.begin({0, split, ids, begins, unit_node});
      job.exchange.finish(0, [] {});
    }
    world.node_barrier();
  }
  ~Round() {
    world.node_barrier();
    if (world.leads()) job.exchange.end(0);
    world.barrier();
  }

  /// **Collective.** This node's units (one queue for each run of consecutive ones) on `threads` threads of
  /// each rank. Returns the node's lanes on leaders.
  exact::Lanes run(int threads) {
    for (size_t i = 0, end; i < mine.size(); i = end) {
      for (end = i + 1; end < mine.size() && mine[end] == mine[end - 1] + 1;) ++end;
      if (world.leads()) job.node.queue().fill({mine[i], mine[end - 1] + 1});
      world.node_barrier();
      std::vector<std::thread> team;
      for (int t = 0; t < threads; ++t)
        team.emplace_back([this, threads, t] {
          ops::prepare_compute_thread();
          UnitRunner runner(resources, job.sizes, job.share.node_first + t, threads * world.node_size(),
                            world.nodes());
          runner.run_queue({});
          runner.finish_units(1);
        });
      for (std::thread& thread : team) thread.join();
      world.node_barrier();
    }
    exact::Lanes lanes = make_lanes(job.graph, world.nodes(), job.tally);
    if (world.leads()) job.node.lanes().take(1, lanes);
    world.node_barrier();
    return lanes;
  }

  const comm::World world;
  const Deck deck;
  Job job;
  UnitResources resources;
  std::vector<int64_t> begins, ids;
  std::vector<int> mine;
};

}  // namespace lepton::train
