// SPDX-License-Identifier: Apache-2.0
// One round of units through the threads of each node, one by one and several in hand, against the same units
// one after another by hand: the sums and the lanes that prove them.
#include "train/unit_runner.h"

#include <gtest/gtest.h>

#include <cmath>

#include "round.h"

namespace lepton::train {
namespace {

/// Quantises what the executor hands out, as the accumulator does.
class SumSink : public model::GradientSink {
 public:
  explicit SumSink(const ArenaLayout& layout) : layout_(layout), sums(layout.elements(), 0) {}
  void gradient(int tensor, int64_t first, std::span<const float> values) override {
    const ArenaTensor& t = layout_.tensors()[tensor];
    const std::span<int64_t> to = std::span<int64_t>(sums).subspan(t.offset + first, values.size());
    largest = std::max(largest, ops::quantise_add(values, round_scale, to).magnitude_bits);
  }

 private:
  const ArenaLayout& layout_;

 public:
  std::vector<int64_t> sums;
  uint32_t largest = 0;
};

/// This node's units of a round, one after another with one executor.
struct ByHand {
  explicit ByHand(Round& round) : sink(round.job.graph.layout) {
    model::Executor executor(round.job.graph, round.deck.run.seed, round.job.sizes.training, {});
    for (const int unit : round.mine) add(round, executor, unit);
  }
  void add(Round& round, model::Executor& executor, int unit) {
    const int64_t first = round.begins[unit], n = round.begins[unit + 1] - first;
    std::vector<const std::byte*> rows;
    for (int64_t i = 0; i < n; ++i) rows.push_back(round.job.exchange.row(0, first + i));
    std::vector<int32_t> classes(n);
    round.job.assemblers[0]->inputs(rows, nullptr, executor.input(n, true));
    round.job.assemblers[0]->classes(rows, classes);
    const std::span<const int64_t> ids = std::span<const int64_t>(round.ids).subspan(first, n);
    const float* parameters = round.job.node.parameters(0).data();
    const std::span<const float> scores = executor.forward(n, true, parameters, ids, 7);
    const double loss = round.job.loss.run(scores, {classes, {}}, executor.output_gradient(n), sums);
    if (std::isfinite(loss))
      executor.backward(n, parameters, ids, 7, sink);
    else
      non_finite.push_back(unit);
    hash += exact::unit_hash({1, exact::RoundKind::train, 7, 1}, unit);
  }

  SumSink sink;
  ops::LossSums sums;
  uint64_t hash = 0;
  std::vector<int> non_finite;
};

int units_in_hand(const Round& round) {
  const model::Graph& graph = round.job.graph;
  return units_together(
      graph, model::Executor::workspace_bytes(graph, round.job.sizes.training, round.job.sizes.inference));
}

TEST(UnitRunner, AddsWhatTheUnitsGiveByHand) {
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "conv.toml", "graph.toml", "wide.toml"})
    for (const int threads : {1, 2})
      for (const int ranks_per_node : {1000, 1, 2}) {
        Round round(runs, ranks_per_node, deck, exact::RoundKind::train, false);
        EXPECT_EQ(units_in_hand(round), deck == std::string("wide.toml") ? 4 : 1) << deck;
        exact::Lanes lanes = round.run(threads);
        if (!round.world.leads()) continue;
        const ByHand hand(round);
        const std::span<int64_t> elements = round.job.node.accumulator().elements();
        EXPECT_TRUE(std::equal(elements.begin(), elements.end(), hand.sink.sums.begin()))
            << deck << ranks_per_node;
        EXPECT_EQ(lanes.units(), static_cast<int64_t>(round.mine.size()));
        EXPECT_EQ(lanes.unit_hash_sum(), hand.hash);
        EXPECT_EQ(lanes.count(static_cast<int>(Count::samples)), hand.sums.samples);
        EXPECT_EQ(lanes.count(static_cast<int>(Count::correct)), hand.sums.correct);
        EXPECT_EQ(lanes.exact(static_cast<int>(Exact::loss)).value(), hand.sums.loss.value());
        EXPECT_EQ(lanes.node_units(round.world.node()), lanes.units());
        EXPECT_EQ(lanes.node_busy_ns(round.world.node()) > 0, !round.mine.empty());
        EXPECT_FALSE(lanes.overflow());
        EXPECT_FALSE(lanes.non_finite());
        int64_t largest = 0;
        const model::Graph& graph = round.job.graph;
        for (size_t t = 0; t < graph.layout.tensors().size(); ++t)
          largest = std::max(largest, lanes.magnitude_bits(static_cast<int>(t)));
        EXPECT_EQ(largest, hand.sink.largest);
        for (int64_t b = 0; b < graph.layout.blocks(); ++b)
          EXPECT_TRUE(round.job.node.accumulator().intact(b));
      }
}

// A last layer so large that it overflows for the samples with the strongest features only.
TEST(UnitRunner, OneUnitInHandThatIsNotFiniteDoesNotTaintTheOthers) {
  const SmallRuns runs;
  Round round(runs, 1000, "wide.toml", exact::RoundKind::train, false);
  const ArenaTensor weight = round.job.graph.layout.tensors()[4];
  std::vector<int> blamed;
  for (float scale = 1e35F; blamed.empty() && scale < 3e38F; scale *= 1.02F) {
    if (round.world.leads()) std::fill_n(round.job.node.parameters(0).begin() + weight.offset, 600, scale);
    round.world.node_barrier();
    blamed = ByHand(round).non_finite;
    round.world.node_barrier();
  }
  ASSERT_FALSE(blamed.empty());
  ASSERT_LT(blamed.size(), 3U);
  exact::Lanes lanes = round.run(1);
  if (!round.world.leads()) return;
  EXPECT_TRUE(lanes.non_finite());
  EXPECT_EQ(lanes.first_non_finite_unit(), blamed.front());
  const int place = lanes.first_non_finite_place();
  ASSERT_LT(place, static_cast<int>(round.job.graph.nodes.size()));
  EXPECT_EQ(round.job.graph.nodes[place].name, "dense_3");
  EXPECT_EQ(lanes.units(), 3);
  EXPECT_GT(lanes.magnitude_bits(0), 0);  // the finite ones went on
}

TEST(UnitsTogether, SeveralWhereActivationsAreSmallBesideTheSums) {
  model::Graph graph;
  graph.layout.add("weights", {1000, 1000}, TensorRole::parameter, true);
  graph.layout.finish();  // 8 MB of sums
  EXPECT_EQ(units_together(graph, 100'000), 4);
  EXPECT_EQ(units_together(graph, 2'000'000), 4);
  EXPECT_EQ(units_together(graph, 3'000'000), 2);
  EXPECT_EQ(units_together(graph, 5'000'000), 1);
  EXPECT_EQ(units_together(graph, 500'000'000), 1);
  EXPECT_EQ(units_together(graph, 0), 4);
  model::Graph large;
  large.layout.add("weights", {10'000, 10'000}, TensorRole::parameter, true);
  large.layout.finish();
  EXPECT_EQ(units_together(large, 10'000'000), 2);  // 16 MiB more at most
  EXPECT_EQ(units_together(large, 100'000'000), 1);
}

}  // namespace
}  // namespace lepton::train
