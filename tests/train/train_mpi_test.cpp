// SPDX-License-Identifier: Apache-2.0
// The command `train` around the run itself: what a run directory holds, restarts on other nodes and from
// damaged checkpoints or from none, --fresh, --from, refused changes. Kills by signal: tests/e2e.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>

#include "checkpoint/reader.h"
#include "small_runs.h"
#include "storage/file.h"
#include "storage/ownership.h"
#include "train/run_record.h"

namespace lepton::train {
namespace {

bool exists(const std::string& path) {
  return std::filesystem::exists(path);
}

/// What no refused start may change.
std::map<std::string, std::string> files_of(const SmallRuns& runs, const std::string& run) {
  std::map<std::string, std::string> files;
  for (const char* name : {"deck.toml", "ledger.txt", "run.json", "identity.json", "metrics.jsonl"})
    files[name] = read_text(runs.file(run) + "/" + name);
  return files;
}

/// As if it had been killed before its first checkpoint.
void lose_checkpoints(const SmallRuns& runs, const std::string& run) {
  runs.world().barrier();
  if (runs.world().rank() == 0) std::filesystem::remove_all(runs.file(run) + "/checkpoints");
  runs.world().barrier();
}

TEST(Train, LeavesWhatTheDesignPromises) {
  const SmallRuns runs;
  EXPECT_EQ(runs.train(runs.options("dense.toml", "run")), Exit::done);
  if (runs.world().rank() != 0) return;
  for (const char* name : {"deck.toml", "log.txt", "metrics.jsonl", "ledger.txt", "run.json", "identity.json",
                           "model.safetensors"})
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

TEST(Train, ChangedMathematicsIsRefusedBeforeTheFirstCheckpointToo) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "whole"));
  Options options = runs.options("dense.toml", "run");
  options.max_steps = 2;
  runs.train(options);
  lose_checkpoints(runs, "run");
  const std::map<std::string, std::string> before = files_of(runs, "run");
  const std::vector<Override> changes = {
      {"run.seed", "4"}, {"train.batch_size", "33"}, {"optimizer.beta1", "0.8"}};
  for (const Override& change : changes) {
    Options changed = options;
    changed.overrides.push_back(change);
    std::string message;
    EXPECT_EQ(runs.code_of(changed, &message), static_cast<int>(Exit::deck));
    for (const std::string& part : {change.key, std::string("--fresh"), std::string("run.dir")})
      EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_EQ(files_of(runs, "run"), before);
  }
  options.overrides.push_back({"checkpoint.keep", "2"});
  options.max_steps = 0;
  EXPECT_EQ(runs.code_of(options), 0);  // operational keys may change
  if (runs.world().rank() == 0) {
    EXPECT_EQ(runs.ledger("run"), runs.ledger("whole"));
  }
}

TEST(Train, AnotherArithmeticClassNeedsConsentBeforeTheFirstCheckpointToo) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "whole"));
  Options options = runs.options("dense.toml", "run");
  options.max_steps = 2;
  runs.train(options);
  lose_checkpoints(runs, "run");
  if (runs.world().rank() == 0) {
    RunIdentity kept = *read_identity(runs.file("run"));
    kept.identity.arithmetic_class = "cpu of another kind";
    write_identity(runs.file("run"), kept);
  }
  runs.world().barrier();
  const std::map<std::string, std::string> before = files_of(runs, "run");
  std::string message;
  EXPECT_EQ(runs.code_of(options, &message), static_cast<int>(Exit::deck));
  EXPECT_NE(message.find("--accept-new-arithmetic"), std::string::npos) << message;
  EXPECT_EQ(files_of(runs, "run"), before);
  options.accept_new_arithmetic = true;
  EXPECT_EQ(runs.code_of(options), 0);
  lose_checkpoints(runs, "run");
  options.accept_new_arithmetic = false;  // the new class is the run's now, and its lines are compared
  options.max_steps = 0;
  EXPECT_EQ(runs.code_of(options), 0);
  if (runs.world().rank() != 0) return;
  EXPECT_EQ(runs.ledger("run"), runs.ledger("whole"));  // nothing of the old class is in it: no mark
  EXPECT_EQ(lines_of(runs.file("run/ledger.not-compared")).size(), 2u);
}

TEST(Train, FromIsRefusedWhereThereIsARun) {
  const SmallRuns runs;
  Options options = runs.options("dense.toml", "run");
  options.max_steps = 2;
  runs.train(options);
  runs.train(runs.options("dense.toml", "other"));
  options.from = runs.file("other");
  for (const bool with_state : {true, false}) {
    if (!with_state) lose_checkpoints(runs, "run");
    const std::map<std::string, std::string> before = files_of(runs, "run");
    std::string message;
    EXPECT_EQ(runs.code_of(options, &message), static_cast<int>(Exit::usage));
    for (const char* part : {"--from", "run.dir", "--fresh"})
      EXPECT_NE(message.find(part), std::string::npos) << part << " in " << message;
    EXPECT_EQ(files_of(runs, "run"), before);
  }
  options.fresh = true;
  EXPECT_EQ(runs.code_of(options), 0);  // as the message says
  options.fresh = false;
  EXPECT_EQ(runs.code_of(options), 0);
}

TEST(Train, ARunBegunFromAnotherGoesOnWithAndWithoutFrom) {
  const SmallRuns runs;
  Options parent = runs.options("dense.toml", "parent");
  parent.max_steps = 6;
  runs.train(parent);
  const auto child = [&](const std::string& run, int64_t end, bool with_from) {
    Options options = runs.options("dense.toml", run, {{"run.seed", "8"}});
    if (with_from) options.from = runs.file("parent");
    options.max_steps = end;
    return runs.code_of(options);
  };
  EXPECT_EQ(child("whole", 0, true), 0);
  for (const char* run : {"again", "without"}) {
    EXPECT_EQ(child(run, 3, true), 0);
    lose_checkpoints(runs, run);
  }
  parent.max_steps = 8;
  runs.train(parent);  // what --from names is another state now; the children keep to their own beginning
  for (const std::string run : {"again", "without"}) {
    for (const int64_t end : {5, 0})  // from the parent once more, then from its own state
      EXPECT_EQ(child(run, end, run == "again"), 0);
    if (runs.world().rank() != 0) continue;
    EXPECT_EQ(runs.ledger(run), runs.ledger("whole"));
    EXPECT_NE(read_text(runs.file(run) + "/run.json").find("\"parent\": \"" + runs.file("parent") + "\""),
              std::string::npos);
  }
}

TEST(Train, TheParentMayBeTheRunThatGoesAside) {
  const SmallRuns runs;
  Options options = runs.options("dense.toml", "run");
  options.max_steps = 4;
  runs.train(options);
  options.fresh = true;
  options.from = runs.file("run");
  runs.train(options);
  const std::string before = runs.world().rank() == 0 ? runs.ledger("run") : "";
  lose_checkpoints(runs, "run");
  options.fresh = false;
  EXPECT_EQ(runs.code_of(options), 0);
  if (runs.world().rank() == 0) {
    EXPECT_EQ(runs.ledger("run"), before);
  }
}

TEST(Train, ARunDirectoryInUseNamesItsOwner) {
  const SmallRuns runs;
  std::optional<storage::Ownership> owner;
  std::string job = std::getenv("SLURM_JOB_ID") ? std::getenv("SLURM_JOB_ID") : "";
  if (runs.world().rank() == 0) {
    std::filesystem::create_directories(runs.file("run"));
    setenv("SLURM_JOB_ID", "4711", 1);
    owner.emplace(runs.file("run"), storage::this_process());
    if (job.empty()) unsetenv("SLURM_JOB_ID");
    if (!job.empty()) setenv("SLURM_JOB_ID", job.c_str(), 1);
  }
  runs.world().barrier();
  std::string message;
  EXPECT_EQ(runs.code_of(runs.options("dense.toml", "run"), &message), static_cast<int>(Exit::run_directory));
  for (const std::string& part : {"in use by host " + storage::host_name(), std::string(", pid "),
                                  std::string(", Slurm job 4711, since 20")})
    EXPECT_NE(message.find(part), std::string::npos) << part << " in " << message;
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
    EXPECT_EQ(code({{"data.classes", "3"}}, "dense_2", ranks_per_node), 78);
    EXPECT_EQ(code({{"data.classes", "3"},
                    {"model.layers", "[{ type = \"flatten\" }, { type = \"dense\", units = 3 }]"}},
                   "label 3", ranks_per_node),
              65);
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
  Options begun = runs.options("dense.toml", "begun", cosine);
  begun.max_steps = 2;
  runs.train(begun);
  lose_checkpoints(runs, "begun");
  begun.overrides.push_back({"train.epochs", "4"});
  begun.max_steps = 15;
  EXPECT_EQ(runs.code_of(begun), 0);  // also without a checkpoint
  if (runs.world().rank() != 0) return;
  EXPECT_EQ(runs.ledger("begun"), runs.ledger("whole"));
  EXPECT_EQ(lines_of(runs.file("longer/ledger.txt")).size(), 20u);
  EXPECT_TRUE(runs.ledger("longer").starts_with(runs.ledger("whole")));
}

}  // namespace
}  // namespace lepton::train
