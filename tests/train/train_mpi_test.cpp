// SPDX-License-Identifier: Apache-2.0
// The command `train` around the run itself: what a run directory holds, restarts on other nodes and from
// damaged checkpoints, --fresh, --from, refused changes. Kills by signal: tests/e2e.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "checkpoint/reader.h"
#include "small_runs.h"

namespace lepton::train {
namespace {

bool exists(const std::string& path) {
  return std::filesystem::exists(path);
}

TEST(Train, LeavesWhatTheDesignPromises) {
  const SmallRuns runs;
  EXPECT_EQ(runs.train(runs.options("dense.toml", "run")), Exit::done);
  if (runs.world().rank() != 0) return;
  for (const char* name :
       {"deck.toml", "log.txt", "metrics.jsonl", "ledger.txt", "run.json", "model.safetensors"})
    EXPECT_TRUE(exists(runs.file("run") + "/" + name)) << name;
  const std::vector<std::string> checkpoints = checkpoint::list_checkpoints(runs.file("run/checkpoints"));
  ASSERT_GE(checkpoints.size(), 1u);  // 4, 8 and 12 are put off while the one before is in flight
  EXPECT_LE(checkpoints.size(), 3u);  // keep
  EXPECT_TRUE(checkpoints[0].ends_with("step-00000015"));
  for (const std::string& path : checkpoints) EXPECT_TRUE(checkpoint::verify(path).empty()) << path;
}

TEST(Train, RestartsOnOtherNodesGiveTheSameRun) {
  const SmallRuns runs;
  runs.train(runs.options("conv.toml", "whole"));
  Options options = runs.options("conv.toml", "pieces");
  int ranks_per_node = 1;
  for (const int64_t end : {3, 4, 7, 11, 15}) {
    options.max_steps = end;
    EXPECT_EQ(runs.train(options, ranks_per_node++), Exit::done);
  }
  EXPECT_EQ(runs.train(options), Exit::done);  // nothing left to do
  if (runs.world().rank() == 0) {
    EXPECT_EQ(runs.ledger("pieces"), runs.ledger("whole"));
  }
}

TEST(Train, ADamagedNewestCheckpointIsSkippedForTheOneBefore) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "whole"));
  Options options = runs.options("dense.toml", "damaged");
  options.max_steps = 11;
  runs.train(options);
  if (runs.world().rank() == 0) {
    const std::string newest = checkpoint::list_checkpoints(runs.file("damaged/checkpoints")).front();
    EXPECT_TRUE(newest.ends_with("step-00000011"));
    std::fstream file(newest + "/shard-00000.h5", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(3000);
    file.put('x');
  }
  runs.world().barrier();
  options.max_steps = 0;
  EXPECT_EQ(runs.train(options), Exit::done);
  if (runs.world().rank() != 0) return;
  EXPECT_EQ(runs.ledger("damaged"), runs.ledger("whole"));
  EXPECT_FALSE(exists(runs.file("damaged/ledger.set-aside")));  // all recomputed and equal
  EXPECT_NE(read_text(runs.file("damaged/log.txt")).find("step-00000011"), std::string::npos);  // named
}

TEST(Train, CheckpointsOfAllCutsAreTheSameBytes) {
  const SmallRuns runs;
  std::map<std::string, std::string> first;
  for (const int ranks_per_node : {1000, 1, 2}) {
    const std::string run = "cut" + std::to_string(ranks_per_node);
    runs.train(runs.options("conv.toml", run), ranks_per_node);
    if (runs.world().rank() != 0) continue;
    for (const char* name : {"manifest.json", "state.bin", "shard-00000.h5"}) {
      const std::string bytes = read_text(runs.file(run) + "/checkpoints/step-00000015/" + name);
      EXPECT_GT(bytes.size(), 100u);
      if (ranks_per_node == 1000) first[name] = bytes;
      EXPECT_TRUE(bytes == first[name]) << name << " with " << ranks_per_node << " ranks per node";
    }
  }
}

TEST(Train, FreshMovesTheOldRunAside) {
  const SmallRuns runs;
  Options options = runs.options("dense.toml", "run");
  options.max_steps = 3;
  runs.train(options);
  const std::string before = runs.world().rank() == 0 ? runs.ledger("run") : "";
  options.fresh = true;
  options.overrides.push_back({"run.seed", "9"});  // other mathematics is welcome now
  options.max_steps = 2;
  EXPECT_EQ(runs.train(options), Exit::done);
  if (runs.world().rank() != 0) return;
  EXPECT_EQ(lines_of(runs.file("run/ledger.txt")).size(), 2u);
  bool kept = false;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(runs.file("")))
    kept = kept || (entry.path().filename() == "ledger.txt" && read_text(entry.path()) == before);
  EXPECT_TRUE(kept) << "the old run is gone";
}

TEST(Train, FromTakesParametersAndRecordsParentage) {
  const SmallRuns runs;
  Options options = runs.options("dense.toml", "parent");
  runs.train(options);
  options = runs.options("dense.toml", "child", {{"optimizer.learning_rate", "1e-9"}, {"run.seed", "8"}});
  options.from = runs.file("parent");
  options.max_steps = 1;
  EXPECT_EQ(runs.train(options), Exit::done);
  if (runs.world().rank() != 0) return;
  EXPECT_NE(read_text(runs.file("child/run.json")).find("\"parent\""), std::string::npos);
  const auto loss = [&](const std::string& run) {
    const std::string line = lines_of(runs.file(run) + "/ledger.txt").front();
    return std::stod(line.substr(line.find("loss=") + 5));
  };
  EXPECT_LT(loss("child"), 0.5 * loss("parent"));  // it begins trained
}

TEST(Train, ChangedMathematicsIsRefusedWithTheKey) {
  const SmallRuns runs;
  Options options = runs.options("dense.toml", "run");
  options.max_steps = 2;
  runs.train(options);
  const std::vector<Override> changes = {{"run.seed", "4"},
                                         {"train.batch_size", "33"},
                                         {"optimizer.beta1", "0.8"},
                                         {"data.normalize", "\"unit\""}};
  for (const Override& change : changes) {
    Options changed = options;
    changed.overrides.push_back(change);
    std::string message;
    EXPECT_EQ(runs.code_of(changed, &message), static_cast<int>(Exit::deck));
    EXPECT_NE(message.find(change.key), std::string::npos) << message;
  }
  options.overrides.push_back({"checkpoint.keep", "2"});
  options.overrides.push_back({"train.epochs", "7"});
  options.max_steps = 4;
  EXPECT_EQ(runs.code_of(options), 0);  // operational keys may change
}

TEST(Train, BadInputEndsOnAllRanksWithTheRightCode) {
  const SmallRuns runs;
  const auto code = [&](std::vector<Override> overrides, const std::string& part, int ranks_per_node = 1000) {
    std::string message;
    const int result =
        runs.code_of(runs.options("dense.toml", "bad", std::move(overrides)), &message, ranks_per_node);
    EXPECT_NE(message.find(part), std::string::npos) << message;
    return result;
  };
  for (const int ranks_per_node : {1000, 1}) {
    EXPECT_EQ(code({{"data.file", "\"missing.h5\""}}, "missing.h5", ranks_per_node), 66);
    EXPECT_EQ(code({{"data.train.inputs", "\"train/pictures\""}}, "train/pictures", ranks_per_node), 65);
    EXPECT_EQ(code({{"data.train.targets", "\"test/labels\""}}, "test/labels", ranks_per_node), 65);
    EXPECT_EQ(code({{"data.classes", "3"}}, "label 3", ranks_per_node), 65);
    EXPECT_EQ(code({{"model.layers", "[{ type = \"dense\", units = 5 }]"}}, "dense_1", ranks_per_node), 78);
    EXPECT_EQ(code({{"train.unit_sice", "8"}}, "unit_size", ranks_per_node), 78);
  }
  Options options = runs.options("dense.toml", "bad");
  options.target = runs.file("no-such-deck.toml");
  EXPECT_EQ(runs.code_of(options), 66);
}

TEST(Train, ACosineScheduleKeepsTheLengthOfItsFirstStart) {
  const SmallRuns runs;
  const std::vector<Override> cosine = {{"schedule.type", "\"cosine\""}};
  runs.train(runs.options("dense.toml", "whole", cosine));
  Options options = runs.options("dense.toml", "longer", cosine);
  runs.train(options);
  options.overrides.push_back({"train.epochs", "4"});
  EXPECT_EQ(runs.code_of(options), 0);
  if (runs.world().rank() != 0) return;
  EXPECT_EQ(lines_of(runs.file("longer/ledger.txt")).size(), 20u);
  EXPECT_TRUE(runs.ledger("longer").starts_with(runs.ledger("whole")));
}

}  // namespace
}  // namespace lepton::train
