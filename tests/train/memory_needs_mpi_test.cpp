// SPDX-License-Identifier: Apache-2.0
// What a node needs of its memory and a machine for the rows, how it is divided among them, and the refusal
// where there is not as much.
#include "train/memory_needs.h"

#include <gtest/gtest.h>

#include "small_runs.h"
#include "train/setup.h"

namespace lepton::train {
namespace {

struct Planned {
  explicit Planned(const SmallRuns& runs, const std::string& name = "wide.toml")
      : deck(load_deck(runs.world(), runs.options(name, "run"))),
        dataset(runs.world(), deck.data),
        graph(graph_for(runs.world(), deck, dataset)),
        sizes(unit_sizes(deck, dataset)) {}
  MemoryNeeds needs(const NodeCut& cut) const { return memory_needs(dataset, graph, sizes, cut); }
  const Deck deck;
  const data::Dataset dataset;
  const model::Graph graph;
  UnitSizes sizes;
};

TEST(MemoryNeeds, AreDividedAmongNodesAndMultipliedByThreads) {
  const SmallRuns runs;
  const Planned plan(runs);
  const MemoryNeeds one = plan.needs({1, 1, 2, 2}), two = plan.needs({2, 2, 2, 2}),
                    plain = plan.needs({1, 1, 2, 0});
  EXPECT_EQ(one.data, (train_rows + test_rows) * 37);
  EXPECT_EQ(two.data, one.data / 2);
  EXPECT_EQ(one.staging, 0);
  EXPECT_GT(two.staging, 0);
  EXPECT_LT(two.state, one.state);
  EXPECT_LT(plain.state, one.state);
  EXPECT_EQ(one.checkpoint, plan.graph.layout.elements() * 4 * 3);
  EXPECT_EQ(one.threads, 2);
  EXPECT_EQ(one.total(), one.data + one.state + one.checkpoint + 2 * one.per_thread);
}

TEST(MemoryNeeds, RowsCountOncePerMachine) {
  const SmallRuns runs;
  const Planned plan(runs);
  const MemoryNeeds one = plan.needs({1, 1, 1, 2}), beside = plan.needs({2, 1, 1, 2}),
                    apart = plan.needs({2, 2, 1, 2});
  EXPECT_EQ(beside.data, one.data) << "two nodes of a machine read the same rows";
  EXPECT_EQ(beside.staging, 0) << "and none has to be sent";
  EXPECT_EQ(beside.state, apart.state);
  EXPECT_EQ(beside.checkpoint, apart.checkpoint);
  EXPECT_EQ(beside.node(), beside.state + beside.checkpoint + beside.per_thread);
  EXPECT_EQ(beside.total({2, 1}), beside.data + 2 * beside.node());
  EXPECT_EQ(apart.total({2, 2}), 2 * apart.total());
}

TEST(MemoryNeeds, WithoutTrainingNoCheckpointAndNoGradients) {
  const SmallRuns runs;
  Planned plan(runs);
  const MemoryNeeds training = plan.needs({1, 1, 1, 0});
  plan.sizes.training.clear();
  const MemoryNeeds evaluating = plan.needs({1, 1, 1, 0});
  EXPECT_EQ(evaluating.checkpoint, 0);
  EXPECT_LT(evaluating.per_thread, training.per_thread);
}

TEST(MemoryNeeds, RoundedOperandsTakeRoomToo) {
  const std::string refusal = ops::precision_refusal("auto", ops::Precision::bf16);
  if (!refusal.empty()) GTEST_SKIP() << refusal;
  const SmallRuns runs;
  Planned plan(runs);
  plan.sizes.training.clear();  // one unit in hand
  NodeCut cut{1, 1, 1};
  constexpr int64_t largest_weights = 600 * 600 * 2;
  EXPECT_LT(plan.needs(cut).per_thread, largest_weights);
  cut.precision = ops::Precision::bf16;
  EXPECT_GT(plan.needs(cut).per_thread, largest_weights);
}

TEST(MemoryNeeds, FeasibleNodesAreTheLeast) {
  const SmallRuns runs;
  const Planned plan(runs);
  const NodeCut cut{1, 1, 1, 2};
  EXPECT_EQ(feasible_nodes(plan.dataset, plan.graph, plan.sizes, cut, plan.needs(cut).total()), 1);
  EXPECT_EQ(feasible_nodes(plan.dataset, plan.graph, plan.sizes, cut, 1000), 0);
  for (int nodes = 2; nodes <= 20; ++nodes) {
    const int64_t available = plan.needs({nodes, nodes, 1, 2}).total();
    int least = 1;
    while (plan.needs({least, least, 1, 2}).total() > available) ++least;
    EXPECT_EQ(feasible_nodes(plan.dataset, plan.graph, plan.sizes, cut, available), least) << nodes;
  }
}

MemoryNeeds sample_needs() {
  MemoryNeeds needs;
  needs.data = 1 << 20;
  needs.state = 8 << 20;
  needs.checkpoint = 2 << 20;
  needs.per_thread = 1 << 20;
  needs.threads = 4;
  return needs;
}

TEST(MemoryNeeds, LargestPartsComeFirst) {
  EXPECT_EQ(sample_needs().largest_parts(),
            "state 8.0 MiB, 4 x 1.0 MiB for compute threads, checkpoint copy 2.0 MiB");
  MemoryNeeds small;
  small.state = 1 << 20;
  EXPECT_EQ(small.largest_parts(), "state 1.0 MiB");
}

TEST(MemoryNeeds, MoreThanThereIsIsAnErrorWithNumbers) {
  const MemoryNeeds needs = sample_needs();  // 15 MiB
  const auto require_on = [&](const OnHost& host, int64_t available, const std::string& where) {
    require_memory(needs, needs.total(host), host, available, where);
  };
  EXPECT_NO_THROW(require_on({1, 1}, 15 << 20, "deck.toml"));
  EXPECT_NO_THROW(require_on({2, 2}, 30 << 20, "deck.toml"));
  EXPECT_NO_THROW(require_on({2, 1}, 29 << 20, "deck.toml")) << "the rows are there once";
  EXPECT_THROW(require_on({2, 1}, (29 << 20) - 1, "deck.toml"), Error);
  for (const int nodes : {1, 2}) {
    try {
      require_on({nodes, nodes}, 15 * nodes * (1 << 20) - 1, "deck.toml");
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::memory);
      EXPECT_EQ(error.where(), "deck.toml");
      const std::string needed =
          nodes == 1 ? "needs 15.0 MiB of memory," : "needs 30.0 MiB of memory for the 2 nodes on it,";
      EXPECT_NE(error.problem().find(needed), std::string::npos) << error.what();
      EXPECT_NE(error.problem().find("are available; the largest parts of a node: state 8.0 MiB"),
                std::string::npos)
          << error.what();
      EXPECT_NE(error.hint().find("train.unit_size"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace lepton::train
