// SPDX-License-Identifier: Apache-2.0
// Where a run begins: saved states are found, compared and read back bit for bit on any cut into nodes; what
// does not fit is refused by all ranks with the name of what differs.
#include "train/resume.h"

#include <gtest/gtest.h>

#include <cstring>

#include "ops/parameters_hash.h"
#include "report/ledger.h"
#include "small_runs.h"
#include "train/job.h"

namespace lepton::train {
namespace {

const checkpoint::Identity identity = {
    "cpu avx2 oneDNN 2.6.3 aa", {{"run.seed", "7"}, {"train.batch_size", "32"}}, "ff"};

/// What check_identity says, or "" when it is content.
std::string refusal(const checkpoint::Identity& now, bool accept = false,
                    const std::string& checkpoint = "") {
  try {
    check_identity(identity, now, "runs/x", checkpoint, accept);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    return error.what();
  }
}

TEST(CheckIdentity, TheSameIsTheSame) {
  EXPECT_FALSE(check_identity(identity, identity, "runs/x", "", false));
  EXPECT_FALSE(check_identity(identity, identity, "runs/x", "", true));
}

TEST(CheckIdentity, ChangedMathematicsNamesTheKeyAndBothValues) {
  checkpoint::Identity now = identity;
  now.mathematical["train.batch_size"] = "64";
  const std::string text = refusal(now, true, "runs/x/checkpoints/step-00000004");
  for (const char* part : {"train.batch_size", "32", "64", "runs/x", "--fresh", "run.dir",
                           "--from runs/x/checkpoints/step-00000004"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  EXPECT_EQ(refusal(now).find("--from"), std::string::npos);  // where there is no state to begin from
}

TEST(CheckIdentity, KeysThatCameOrWentCountToo) {
  checkpoint::Identity more = identity, fewer = identity;
  more.mathematical["model.l2"] = "0.1";
  fewer.mathematical.erase("run.seed");
  EXPECT_NE(refusal(more).find("model.l2"), std::string::npos);
  EXPECT_NE(refusal(fewer).find("run.seed"), std::string::npos);
}

TEST(CheckIdentity, OtherDataIsRefused) {
  checkpoint::Identity now = identity;
  now.data_fingerprint = "00";
  EXPECT_NE(refusal(now, true).find("data"), std::string::npos);
}

TEST(CheckIdentity, AnotherClassNeedsConsent) {
  checkpoint::Identity now = identity;
  now.arithmetic_class = "cpu avx512 oneDNN 2.6.3 bb";
  const std::string text = refusal(now);
  for (const char* part : {"avx2", "avx512", "--accept-new-arithmetic"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  EXPECT_TRUE(check_identity(identity, now, "runs/x", "", true));
}

template <class Work>
std::string error_of(Exit code, Work&& work) {
  try {
    work();
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "";
}

TEST(SavedStates, NothingIsFoundWhereNothingIs) {
  const SmallRuns runs;
  EXPECT_FALSE(find_saved(runs.world(), runs.file("nowhere")));
  const std::string text = error_of(Exit::no_input, [&] { open_saved(runs.world(), runs.file("nowhere")); });
  EXPECT_NE(text.find("nowhere"), std::string::npos);
}

TEST(SavedStates, AreFoundByRunAndByCheckpoint) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  const std::optional<SavedState> newest = find_saved(runs.world(), runs.file("run"));
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->state.step, 15);
  EXPECT_TRUE(newest->path.ends_with("step-00000015"));
  EXPECT_EQ(newest->state.scales.size(), 4u);
  EXPECT_FALSE(newest->state.statistics.empty());
  EXPECT_TRUE(newest->state.has_best);
  EXPECT_EQ(open_saved(runs.world(), runs.file("run")).path, newest->path);
  EXPECT_EQ(open_saved(runs.world(), newest->path).state.step, 15);
}

/// Rank 0 does it while the others wait.
template <class Work>
void alone(const SmallRuns& runs, Work&& work) {
  runs.world().barrier();
  if (runs.world().rank() == 0) work();
  runs.world().barrier();
}

TEST(Beginnings, AreNothingAStateOrAnIdentity) {
  const SmallRuns runs;
  const Options options = runs.options("dense.toml", "run");
  const auto find = [&](bool fresh = false) {
    Options now = options;
    now.fresh = fresh;
    return find_beginning(runs.world(), runs.file("run"), now);
  };
  const Beginning nothing = find();
  EXPECT_FALSE(nothing.saved || nothing.kept || nothing.parent);
  EXPECT_FALSE(nothing.check(identity, "run", false));
  runs.train(options);
  const Beginning state = find();
  ASSERT_TRUE(state.saved && state.kept);
  EXPECT_EQ(state.kept->identity, state.saved->reader.manifest().identity);
  EXPECT_EQ(state.origin, Parent{});
  EXPECT_FALSE(find(true).saved || find(true).kept);
  alone(runs, [&] { std::filesystem::remove_all(runs.file("run/checkpoints")); });
  const Beginning begun = find();
  EXPECT_FALSE(begun.saved);
  EXPECT_EQ(begun.kept, state.kept);
  EXPECT_EQ(error_of(Exit::deck, [&] { begun.check(identity, "run", false); }).find("--from"),
            std::string::npos);
}

TEST(Beginnings, ADamagedIdentityMattersOnlyWithoutAState) {
  const SmallRuns runs;
  const Options options = runs.options("dense.toml", "run");
  runs.train(options);
  alone(runs, [&] { write_text(runs.file("run/identity.json"), "{}"); });
  const Beginning found = find_beginning(runs.world(), runs.file("run"), options);
  EXPECT_TRUE(found.saved);
  EXPECT_FALSE(found.kept);
  alone(runs, [&] { std::filesystem::remove_all(runs.file("run/checkpoints")); });
  error_of(Exit::data, [&] { find_beginning(runs.world(), runs.file("run"), options); });
}

TEST(Beginnings, TheParentIsTheOneOfTheFirstStart) {
  const SmallRuns runs;
  Options parent = runs.options("dense.toml", "parent");
  parent.max_steps = 4;
  runs.train(parent);
  Options options = runs.options("dense.toml", "child");
  options.from = runs.file("parent");
  options.max_steps = 1;
  runs.train(options);
  alone(runs, [&] { std::filesystem::remove_all(runs.file("child/checkpoints")); });
  parent.max_steps = 9;
  runs.train(parent);  // its newest checkpoint is another one now
  const std::string first = runs.file("parent/checkpoints/step-00000004");
  const auto find = [&](const std::string& from) {
    Options now = options;
    now.from = from;
    return find_beginning(runs.world(), runs.file("child"), now);
  };
  for (const std::string& from :
       {std::string(), runs.file("parent"), runs.file("parent/"), runs.file("child/../parent"), first}) {
    const Beginning found = find(from);
    ASSERT_TRUE(found.parent) << from;
    EXPECT_EQ(found.parent->state.step, 4) << from;
    EXPECT_EQ(found.origin.path, runs.file("parent"));
  }
  const std::string other = error_of(Exit::usage, [&] { find(runs.file("dense.toml")); });
  for (const char* part : {"dense.toml", "child", "parent", "run.dir", "--fresh"})
    EXPECT_NE(other.find(part), std::string::npos) << part << " in " << other;
  Options stranger = runs.options("dense.toml", "stranger", {{"run.seed", "9"}});
  stranger.max_steps = 4;
  runs.train(stranger);
  alone(runs, [&] {
    std::filesystem::remove_all(first);
    std::filesystem::copy(runs.file("stranger/checkpoints/step-00000004"), first);
  });
  EXPECT_NE(error_of(Exit::data, [&] { find(""); }).find("another state"), std::string::npos);
  alone(runs, [&] { std::filesystem::remove_all(first); });
  EXPECT_NE(error_of(Exit::no_input, [&] { find(runs.file("parent")); }).find("gone"), std::string::npos);
}

TEST(SavedStates, AreReadBackBitForBitOnAnyNodes) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"), 2);
  uint64_t expected = 0;
  int64_t broken_at = 0;
  if (runs.world().rank() == 0)
    expected = report::read_ledger(runs.file("run/ledger.txt"), broken_at).back().parameters;
  std::vector<float> moments;
  for (const int ranks_per_node : {1000, 1, 3}) {
    const comm::World world(60, ranks_per_node);
    const Deck deck = load_deck(world, runs.options("dense.toml", "run"));
    Job job(world, deck, nullptr, true, false);
    load_state(world, open_saved(world, runs.file("run")), job.optimizer.moments(), job.node, true);
    world.barrier();
    if (world.rank() == 0) {
      EXPECT_EQ(ops::parameters_hash(job.node.parameters(0)), expected);
    }
    // Every node's slice of the moments, put together, is the same whatever the cut.
    for (int m = 0; m < 2; ++m) {
      const std::span<const float> mine = job.node.moment(0, m);
      const std::string bytes(reinterpret_cast<const char*>(mine.data()),
                              world.leads() ? mine.size_bytes() : 0);
      std::string all;
      for (const std::string& part : world.all_gather(bytes)) all += part;
      std::vector<float> whole(all.size() / sizeof(float));
      std::memcpy(whole.data(), all.data(), all.size());
      EXPECT_EQ(whole.size(), static_cast<size_t>(job.graph.layout.elements()));
      if (static_cast<int>(moments.size()) <= m * job.graph.layout.elements())
        moments.insert(moments.end(), whole.begin(), whole.end());
      EXPECT_TRUE(std::equal(whole.begin(), whole.end(), moments.begin() + m * job.graph.layout.elements()));
    }
    world.barrier();
  }
  EXPECT_TRUE(std::any_of(moments.begin(), moments.end(), [](float x) { return x != 0; }));
}

TEST(SavedStates, ANetworkOfAnotherSizeIsRefused) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  const Deck deck = load_deck(runs.world(), runs.options("conv.toml", "run"));
  Job job(runs.world(), deck, nullptr, true, false);
  const SavedState saved = open_saved(runs.world(), runs.file("run"));
  error_of(Exit::deck, [&] { load_state(runs.world(), saved, {}, job.node, false); });
}

TEST(SafetensorsModel, IsReadByNameAndRefusedWhereItDoesNotFit) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  const std::string model = runs.file("run/model.safetensors");
  for (const int ranks_per_node : {1000, 1}) {
    const comm::World world(60, ranks_per_node);
    const Deck deck = load_deck(world, runs.options("dense.toml", "run"));
    Job job(world, deck, nullptr, false, false), again(world, deck, nullptr, false, false);
    load_safetensors(world, model, job.graph, job.node);
    load_state(world, open_saved(world, runs.file("run")), {}, again.node, false);
    world.barrier();
    EXPECT_EQ(ops::parameters_hash(job.node.parameters(0)), ops::parameters_hash(again.node.parameters(0)));
    world.barrier();
  }
  const auto refused = [&](const char* deck_name, std::vector<Override> overrides) {
    const Deck deck = load_deck(runs.world(), runs.options(deck_name, "run", std::move(overrides)));
    Job job(runs.world(), deck, nullptr, false, false);
    return error_of(Exit::data, [&] { load_safetensors(runs.world(), model, job.graph, job.node); });
  };
  EXPECT_NE(refused("conv.toml", {}).find("conv2d_1"), std::string::npos);  // the tensor that is missing
  const std::string wider =
      "[{ type = \"flatten\" }, { type = \"dense\", units = 17, activation = \"relu\" }, "
      "{ type = \"dense\", units = 4 }]";
  EXPECT_NE(refused("dense.toml", {{"model.layers", wider}}).find("[16, 36]"),
            std::string::npos);  // both shapes
}

TEST(InitialState, IsTheSameOnAnyNodesAndDependsOnTheSeed) {
  const SmallRuns runs;
  std::vector<uint64_t> hashes;
  for (const int ranks_per_node : {1000, 1, 2}) {
    const comm::World world(60, ranks_per_node);
    const Deck deck = load_deck(world, runs.options("conv.toml", "run"));
    Job job(world, deck, nullptr, true, false), other(world, deck, nullptr, true, false);
    initialise_state(world, job.graph, 3, job.node);
    initialise_state(world, other.graph, 4, other.node);
    world.barrier();
    hashes.push_back(ops::parameters_hash(job.node.parameters(0)));
    EXPECT_EQ(hashes.back(), hashes.front());
    EXPECT_NE(ops::parameters_hash(other.node.parameters(0)), hashes.front());
    world.barrier();
  }
}

}  // namespace
}  // namespace lepton::train
