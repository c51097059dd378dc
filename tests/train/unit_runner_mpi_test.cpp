// SPDX-License-Identifier: Apache-2.0
// One round of units through the threads of each node against the same units one after another by hand: the
// sums, the lanes that prove them, and the flags that a bad unit raises.
#include "train/unit_runner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <thread>

#include "data/batch.h"
#include "exact/scale.h"
#include "ops/quantise.h"
#include "ops/table.h"
#include "small_runs.h"
#include "train/job.h"
#include "train/resume.h"

namespace lepton::train {
namespace {

constexpr int scale = 40;
constexpr int64_t samples = 34, unit_size = 12;

/// A node that is about to do the units of one round: 34 samples in 3 units, cut over the nodes in turn.
class Round {
 public:
  Round(const SmallRuns& runs, int ranks_per_node, const std::string& deck_name, exact::RoundKind kind,
        bool confusion)
      : world(60, ranks_per_node),
        deck(load_deck(world, runs.options(deck_name, "run"))),
        job(world, deck, nullptr, true, confusion),
        resources{deck,           job.graph, job.dataset,  job.exchange,         job.loss,
                  job.assemblers, job.node,  world.node(), job.confusion_classes} {
    initialise_state(world, job.graph, 3, job.node);
    begins = data::cut_units(samples, unit_size);
    ids.resize(samples);
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
      std::fill(job.node.scales().begin(), job.node.scales().end(), scale);
      std::fill(job.node.overflow_bits().begin(), job.node.overflow_bits().end(),
                ops::power_of_two_bits(51 - scale));
      RoundHeader& header = job.node.control().header;
      header.id = {1, kind, 7, 1};
      header.samples = samples;
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

  /// **Collective.** This node's units (one queue for each, because they need not be consecutive) on
  /// `threads` threads of each rank. Returns the node's lanes on leaders.
  exact::Lanes run(int threads) {
    for (const int unit : mine) {
      if (world.leads()) job.node.control().queue.fill(unit, unit + 1);
      world.node_barrier();
      std::vector<std::thread> team;
      for (int t = 0; t < threads; ++t)
        team.emplace_back([this, t] {
          ops::prepare_compute_thread();
          UnitRunner runner(resources, job.sizes, job.thread_base + t, world.nodes());
          runner.run_queue([] {});
          runner.finish_units(1);
        });
      for (std::thread& thread : team) thread.join();
      world.node_barrier();
    }
    exact::Lanes lanes = make_lanes(job.graph, world.nodes(), job.confusion_classes);
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

/// Quantises what the executor hands out, as the accumulator does.
class SumSink : public model::GradientSink {
 public:
  explicit SumSink(const ArenaLayout& layout) : layout_(layout), sums(layout.elements(), 0) {}
  void gradient(int tensor, int64_t first, std::span<const float> values) override {
    const ArenaTensor& t = layout_.tensors()[tensor];
    const std::span<int64_t> to = std::span<int64_t>(sums).subspan(t.offset + first, values.size());
    largest = std::max(largest, ops::quantise_add(values, scale, to).magnitude_bits);
  }

 private:
  const ArenaLayout& layout_;

 public:
  std::vector<int64_t> sums;
  uint32_t largest = 0;
};

TEST(UnitRunner, AddsWhatTheUnitsGiveByHand) {
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "conv.toml"})
    for (const int ranks_per_node : {1000, 1, 2}) {
      Round round(runs, ranks_per_node, deck, exact::RoundKind::train, false);
      exact::Lanes lanes = round.run(2);
      if (!round.world.leads()) continue;
      const model::Graph& graph = round.job.graph;
      model::Executor executor(graph, round.deck.run.seed, round.job.sizes.training, {});
      SumSink sink(graph.layout);
      ops::LossSums sums;
      uint64_t hash = 0;
      for (const int unit : round.mine) {
        const int64_t first = round.begins[unit], n = round.begins[unit + 1] - first;
        std::vector<const std::byte*> rows;
        for (int64_t i = 0; i < n; ++i) rows.push_back(round.job.exchange.row(0, first + i));
        std::vector<int32_t> classes(n);
        round.job.assemblers[0]->inputs(rows, executor.input(n, true));
        round.job.assemblers[0]->classes(rows, classes);
        const std::span<const int64_t> ids = std::span<const int64_t>(round.ids).subspan(first, n);
        const float* parameters = round.job.node.parameters(0).data();
        const std::span<const float> scores = executor.forward(n, true, parameters, ids, 7);
        round.job.loss.run(scores, {classes, {}}, executor.output_gradient(n), sums);
        executor.backward(n, parameters, ids, 7, sink);
        hash += exact::unit_hash({1, exact::RoundKind::train, 7, 1}, unit);
      }
      const std::span<int64_t> elements = round.job.node.accumulator().elements();
      EXPECT_TRUE(std::equal(elements.begin(), elements.end(), sink.sums.begin())) << deck << ranks_per_node;
      EXPECT_EQ(lanes.units(), static_cast<int64_t>(round.mine.size()));
      EXPECT_EQ(lanes.unit_hash_sum(), hash);
      EXPECT_EQ(lanes.count(static_cast<int>(Count::samples)), sums.samples);
      EXPECT_EQ(lanes.count(static_cast<int>(Count::correct)), sums.correct);
      EXPECT_EQ(lanes.exact(static_cast<int>(Exact::loss)).value(), sums.loss.value());
      EXPECT_EQ(lanes.node_units(round.world.node()), lanes.units());
      EXPECT_EQ(lanes.node_busy_ns(round.world.node()) > 0, !round.mine.empty());
      EXPECT_FALSE(lanes.overflow());
      EXPECT_FALSE(lanes.non_finite());
      int64_t largest = 0;
      for (size_t t = 0; t < graph.layout.tensors().size(); ++t)
        largest = std::max(largest, lanes.magnitude_bits(static_cast<int>(t)));
      EXPECT_EQ(largest, sink.largest);
      for (int64_t b = 0; b < graph.layout.blocks(); ++b) EXPECT_TRUE(round.job.node.accumulator().intact(b));
    }
}

TEST(UnitRunner, EvaluationCountsAndAddsNoGradient) {
  const SmallRuns runs;
  Round round(runs, 1000, "dense.toml", exact::RoundKind::test, true);
  exact::Lanes lanes = round.run(1);
  if (!round.world.leads()) return;
  EXPECT_EQ(lanes.count(static_cast<int>(Count::samples)), samples);
  int64_t confused = 0, diagonal = 0;
  const std::span<const int64_t> counts = lanes.counts().subspan(static_cast<size_t>(Count::fixed_counts));
  ASSERT_EQ(counts.size(), 16u);
  for (int64_t i = 0; i < 16; ++i) confused += counts[i];
  for (int64_t c = 0; c < 4; ++c) diagonal += counts[c * 5];
  EXPECT_EQ(confused, samples);
  EXPECT_EQ(diagonal, lanes.count(static_cast<int>(Count::correct)));
  for (const int64_t element : round.job.node.accumulator().elements()) ASSERT_EQ(element, 0);
}

TEST(UnitRunner, NonFiniteScoresBlameTheFirstUnitAndLayer) {
  const SmallRuns runs;
  Round round(runs, 1000, "dense.toml", exact::RoundKind::train, false);
  const ArenaTensor& weight = round.job.graph.layout.tensors()[2];  // of the second dense layer
  if (round.world.leads()) round.job.node.parameters(0)[weight.offset] = INFINITY;
  round.world.node_barrier();
  exact::Lanes lanes = round.run(2);
  if (!round.world.leads()) return;
  EXPECT_TRUE(lanes.non_finite());
  EXPECT_EQ(lanes.first_non_finite_unit(), 0);
  const int place = lanes.first_non_finite_place();
  ASSERT_LT(place, static_cast<int>(round.job.graph.nodes.size()));
  EXPECT_EQ(round.job.graph.nodes[place].name, "dense_2");
  EXPECT_EQ(lanes.units(), 3);  // counted all the same
}

TEST(UnitRunner, ValuesBeyondTheScaleAreFlaggedAndNotAdded) {
  const SmallRuns runs;
  Round round(runs, 1000, "dense.toml", exact::RoundKind::train, false);
  if (round.world.leads()) {
    std::fill(round.job.node.scales().begin(), round.job.node.scales().end(), 90);
    std::fill(round.job.node.overflow_bits().begin(), round.job.node.overflow_bits().end(),
              ops::power_of_two_bits(51 - 90));
  }
  round.world.node_barrier();
  exact::Lanes lanes = round.run(1);
  if (!round.world.leads()) return;
  EXPECT_TRUE(lanes.overflow());
  EXPECT_GT(lanes.magnitude_bits(0), 0);  // M is complete all the same
}

TEST(UnitRunner, LanesHoldTheConfusionMatrixBehindTheCounts) {
  const model::Graph graph;
  EXPECT_EQ(make_lanes(graph, 2, 0).counts().size(), static_cast<size_t>(Count::fixed_counts));
  EXPECT_EQ(make_lanes(graph, 2, 10).counts().size(), static_cast<size_t>(Count::fixed_counts) + 100);
}

}  // namespace
}  // namespace lepton::train
