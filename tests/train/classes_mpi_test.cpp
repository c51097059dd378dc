// SPDX-License-Identifier: Apache-2.0
// Classes: what ranks that compute alike or differently make of a job under each policy; the arithmetic class
// that a restart is compared with; and that all ranks of a job come to the same.
#include "train/classes.h"

#include <gtest/gtest.h>

#include <set>

#include "ops/table.h"
#include "small_runs.h"
#include "train/loaded.h"
#include "train/setup.h"

namespace lepton::train {
namespace {

using Texts = std::vector<std::string>;

const std::string gpu = "cuda NVIDIA H200, 1", other_gpu = "cuda NVIDIA A100, 2", cpu = "cpu avx512 3";

Deck deck_of(ClassPolicy policy, std::vector<ClassShare> shares = {}) {
  Deck deck;
  deck.path = "a.toml";
  deck.balance.classes = policy;
  deck.balance.shares = std::move(shares);
  return deck;
}

/// One rank per node.
Classes sorted(const Deck& deck, const Texts& of_rank) {
  std::vector<int> nodes;
  for (size_t rank = 0; rank < of_rank.size(); ++rank) nodes.push_back(static_cast<int>(rank));
  return sort_classes(deck, of_rank, nodes);
}

std::string refusal(Exit code, const Deck& deck, const Texts& of_rank) {
  try {
    sorted(deck, of_rank);
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "";
}

void expect_parts(const std::string& message, const Texts& parts) {
  for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST(Classes, OfOneKindAreThatKind) {
  const Classes classes = sorted(deck_of(ClassPolicy::refuse), {cpu, cpu, cpu});
  EXPECT_EQ(classes.arithmetic, cpu);
  EXPECT_EQ(classes.members, Texts{cpu});
  EXPECT_EQ(classes.of_node, (std::vector<int>{0, 0, 0}));
  EXPECT_EQ(classes.shares, std::vector<int64_t>{1});
}

TEST(Classes, OfSeveralKindsAreRefusedUnlessTheDeckAllows) {
  expect_parts(refusal(Exit::deck, deck_of(ClassPolicy::refuse), {cpu, cpu, gpu}),
               {"rank 0", cpu, "rank 2", gpu, "balance.classes"});
}

TEST(Classes, FreeIsOneWhateverComes) {
  const Classes classes = sorted(deck_of(ClassPolicy::free), {gpu, cpu, gpu, other_gpu});
  EXPECT_EQ(classes.arithmetic, "free");
  EXPECT_EQ(classes.members, (Texts{gpu, cpu, other_gpu}));
  EXPECT_EQ(classes.of_node, (std::vector<int>{0, 0, 0, 0}));
  EXPECT_EQ(sorted(deck_of(ClassPolicy::free), {cpu}).arithmetic, "free") << "a restart on less goes on";
}

TEST(Classes, FixedGivesEachClassItsShareByTheFirstNameThatFits) {
  const Deck deck = deck_of(ClassPolicy::fixed, {{5, "cuda NVIDIA H"}, {3, "cuda"}, {1, "cpu"}});
  const Classes classes = sorted(deck, {cpu, other_gpu, gpu, cpu});
  EXPECT_EQ(classes.shares, (std::vector<int64_t>{5, 3, 1}));
  EXPECT_EQ(classes.of_node, (std::vector<int>{2, 1, 0, 2}));
  expect_parts(classes.arithmetic, {"5 of [" + gpu + "]", "3 of [" + other_gpu + "]", "1 of [" + cpu + "]"});
  EXPECT_EQ(sorted(deck, {gpu, cpu, other_gpu}).arithmetic, classes.arithmetic)
      << "whoever comes, and how many";
  EXPECT_NE(sorted(deck_of(ClassPolicy::fixed, {{5, "cuda NVIDIA H"}, {3, "cuda"}, {2, "cpu"}}),
                   {gpu, cpu, other_gpu})
                .arithmetic,
            classes.arithmetic)
      << "other shares, other bits";
}

TEST(Classes, FixedRefusesWhatItCannotKeep) {
  const Deck deck = deck_of(ClassPolicy::fixed, {{8, "cuda"}, {1, "cpu"}});
  expect_parts(refusal(Exit::no_device, deck, {cpu, cpu}), {"'cuda'", "no rank"});
  expect_parts(refusal(Exit::deck, deck, {gpu, cpu, "debug device"}),
               {"rank 2", "debug device", "balance.shares"});
  expect_parts(refusal(Exit::deck, deck, {gpu, other_gpu, cpu}), {"'cuda'", gpu, other_gpu});
}

TEST(Classes, RanksOfANodeCountOnce) {
  const Texts of_rank{gpu, cpu, cpu};
  const std::vector<int> nodes{1, 0, 0};
  const Classes classes =
      sort_classes(deck_of(ClassPolicy::fixed, {{1, "cpu"}, {1, "cuda"}}), of_rank, nodes);
  EXPECT_EQ(classes.of_node, (std::vector<int>{0, 1}));
}

TEST(Classes, AreOneForAllRanksAndStable) {
  const SmallRuns runs;
  const std::string isa = ops::cap_instruction_set("auto");
  ops::prepare_compute_thread();
  std::set<std::string> classes;
  for (const int ranks_per_node : {1000, 1}) {
    const comm::World world(60, ranks_per_node);
    const Loaded loaded(runs, "conv.toml");
    const model::Graph graph = graph_for(world, loaded.deck, loaded.dataset);
    const comm::SharedMemory memory(world, "/dev/shm", "test", graph.layout.elements() * sizeof(float));
    classes.insert(settle_classes(world, loaded.deck, graph, isa, memory.as<float>(), nullptr).arithmetic);
    world.barrier();
  }
  ASSERT_EQ(classes.size(), 1u);
  EXPECT_TRUE(classes.begin()->starts_with("cpu " + isa + " oneDNN")) << *classes.begin();
}

TEST(Classes, RanksThatDifferAreRefusedByAll) {
  const SmallRuns runs;
  if (runs.world().size() == 1) GTEST_SKIP() << "needs two ranks";
  ops::prepare_compute_thread();
  const comm::World world(60, 1);
  const Loaded loaded(runs, "dense.toml");
  const model::Graph graph = graph_for(world, loaded.deck, loaded.dataset);
  std::vector<float> scratch(graph.layout.elements(), 0);
  const std::string isa = world.rank() + 1 == world.size() ? "avx1024" : "avx512";
  std::string message;
  try {
    settle_classes(world, loaded.deck, graph, isa, scratch, nullptr);
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    EXPECT_TRUE(error.agreed());
    message = error.what();
  }
  EXPECT_NE(message.find("rank " + std::to_string(world.size() - 1)), std::string::npos) << message;
  EXPECT_NE(message.find("avx1024"), std::string::npos) << message;
}

}  // namespace
}  // namespace lepton::train
