// SPDX-License-Identifier: Apache-2.0
// Copies of the state: made when they are due, counted once their parity is on all nodes, found by a later
// start, also where a node has lost everything; and not made where nobody needs them.
#include "train/redundant_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "loaded.h"
#include "small_runs.h"
#include "train/job.h"
#include "train/kept_copies.h"
#include "train/kept_search.h"
#include "train/phases.h"
#include "train/resume.h"

namespace lepton::train {
namespace {

namespace fs = std::filesystem;

/// A job with copies in a directory of its own.
class CopiedRun {
 public:
  CopiedRun(const SmallRuns& runs, const char* deck_name, std::vector<Override> overrides = {})
      : world_(60, 1),
        shm_(runs.file("copies-shm")),
        deck_(load_deck(world_, runs.options(deck_name, "run", with_shm(std::move(overrides))))),
        job_(world_, deck_, nullptr, true, false, "") {
    if (world_.rank() == 0) {
      fs::remove_all(shm_);
      fs::create_directories(shm_);
    }
    world_.barrier();
    redundant_.emplace(job_, copies_name(deck_.run.directory, 1, world_.node()), 1,
                       checkpoint::Identity{"cpu", {}, "data"}, [this] { ++removals_; });
  }
  ~CopiedRun() { world_.barrier(); }
  const comm::World& world() const { return world_; }
  const std::string& shm() const { return shm_; }
  Job& job() { return job_; }
  RedundantState& copies() { return *redundant_; }
  int removals() const { return removals_; }  ///< of what former starts have left
  std::vector<std::string> files() const {
    world_.barrier();
    return storage_files();
  }

  static float value(int64_t step, int array, int64_t i) {
    return static_cast<float>(step * 1000 + array * 100) + static_cast<float>(i % 97);
  }
  void fill(int64_t step) {
    NodeState& node = job_.node;
    for (int64_t i = 0; i < job_.graph.layout.elements(); ++i)
      node.parameters(0)[static_cast<size_t>(i)] = value(step, 0, i);
    for (int m = 0; m < node.moments(); ++m)
      for (int64_t i = node.slice_begin(); i < node.slice_end(); ++i)
        node.moment(0, m)[static_cast<size_t>(i - node.slice_begin())] = value(step, 1 + m, i);
  }
  /// A round of this step's votes; whether a copy was due, and was made.
  bool step(int64_t step, bool end_it = true) {
    fill(step);
    vote(step);
    const int slot = redundant_->take_due(job_.node);
    if (slot < 0) return false;
    copy_state(job_.node, redundant_->copy(slot));
    RunState state;
    state.step = step;
    state.last_ledger_line = "step";
    redundant_->begin(state);
    if (!end_it) return true;
    redundant_->finish();
    vote(-1);
    return true;
  }
  void vote(int64_t step, bool sound = true) {
    exact::Lanes lanes(1, world_.nodes(), 0, 0);
    redundant_->vote(lanes, step);
    std::vector<int64_t> words(lanes.values().begin(), lanes.values().end());
    world_.all_sum(words);
    std::copy(words.begin(), words.end(), lanes.values().begin());
    redundant_->observe(lanes, sound);
    redundant_->after_release();
  }
  /// What a later start finds, and whether all of it has this step's values.
  void expect_found(int64_t step, int lost) {
    world_.barrier();  // all have counted it
    const std::optional<KeptWhole> whole =
        find_kept(world_, shm_, deck_.run.directory, 9, [](const RunState&) { return true; });
    ASSERT_TRUE(whole);
    EXPECT_EQ(whole->state.step, step);
    EXPECT_EQ(whole->told().find("from the parity of others") != std::string::npos, lost > 0)
        << whole->told();
    fill(0);
    load_kept(world_, *whole, job_.node);
    NodeState& node = job_.node;
    int64_t wrong = 0;
    for (int64_t i = 0; i < job_.graph.layout.elements(); ++i)
      wrong += node.parameters(0)[static_cast<size_t>(i)] != value(step, 0, i);
    for (int m = 0; m < node.moments(); ++m)
      for (int64_t i = node.slice_begin(); i < node.slice_end(); ++i)
        wrong += node.moment(0, m)[static_cast<size_t>(i - node.slice_begin())] != value(step, 1 + m, i);
    EXPECT_EQ(wrong, 0);
  }

 private:
  std::vector<Override> with_shm(std::vector<Override> overrides) const {
    overrides.push_back({"run.shm_dir", "\"" + shm_ + "\""});
    return overrides;
  }
  std::vector<std::string> storage_files() const {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(shm_))
      if (entry.path().filename().string().ends_with("-copy")) files.push_back(entry.path().string());
    std::sort(files.begin(), files.end());
    return files;
  }

  comm::World world_;
  std::string shm_;
  Deck deck_;
  Job job_;
  int removals_ = 0;
  std::optional<RedundantState> redundant_;
};

TEST(RedundantState, IsFoundByALaterStartAlsoWithoutOneOfItsNodes) {
  const SmallRuns runs;
  CopiedRun run(runs, "dense.toml", {{"run.redundancy_every", "\"2 steps\""}});
  if (run.world().nodes() == 1) {
    EXPECT_FALSE(run.copies().exists()) << "there is no other node, and the living state stays";
    return;
  }
  ASSERT_TRUE(run.copies().exists());
  EXPECT_TRUE(run.step(1)) << "the first is due at once";
  run.expect_found(1, 0);
  EXPECT_EQ(run.removals(), 0) << "other nodes may not have counted it yet";
  EXPECT_FALSE(run.step(2));
  EXPECT_EQ(run.removals(), 1);
  EXPECT_TRUE(run.step(3));
  run.expect_found(3, 0);
  const std::optional<RedundantCopy> copied = run.copies().take_copied();
  ASSERT_TRUE(copied && copied->step == 3);
  EXPECT_LE(copied->cost_s, copied->seconds);
  EXPECT_FALSE(run.copies().take_copied()) << "told once";
  EXPECT_TRUE(run.step(5, false));
  run.expect_found(3, 0);  // the one that is under way does not count, the one before does
  run.copies().finish();
  run.vote(-1, false);
  run.expect_found(3, 0);  // nor one of a state that the round has found to be damaged
  EXPECT_FALSE(run.copies().take_copied());
  EXPECT_TRUE(run.step(8));
  EXPECT_TRUE(run.step(10));
  run.expect_found(10, 0);
  EXPECT_EQ(run.removals(), 1);
  const std::vector<std::string> files = run.files();
  ASSERT_EQ(std::ssize(files), run.world().nodes());
  run.world().barrier();
  if (run.world().rank() == 0) fs::remove(files.back());
  run.world().barrier();
  run.expect_found(10, 1);
  if (run.world().rank() == 0 && files.size() > 2) fs::remove(files.front());
  run.world().barrier();
  if (files.size() > 2) {
    EXPECT_FALSE(find_kept(run.world(), run.shm(), run.job().deck.run.directory, 9, [](const RunState&) {
      return true;
    })) << "more is lost than may be";
  }
}

TEST(RedundantState, DamageCountsAsLost) {
  const SmallRuns runs;
  CopiedRun run(runs, "dense.toml");
  if (!run.copies().exists()) GTEST_SKIP() << "one node";
  EXPECT_TRUE(run.step(1));
  const std::vector<std::string> files = run.files();
  if (run.world().rank() == 0) {
    std::fstream file(files.front(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(KeptState::head_bytes(run.job().small_state_bytes())) + 1024);
    file.put('\x55');
  }
  run.world().barrier();
  run.expect_found(1, 1);
  if (run.world().rank() == 0) fs::resize_file(files.front(), fs::file_size(files.front()) / 2);
  run.world().barrier();
  run.expect_found(1, 1);
}

TEST(RedundantState, IsNotMadeWhereNobodyNeedsIt) {
  const SmallRuns runs;
  EXPECT_FALSE(CopiedRun(runs, "dense.toml", {{"run.redundancy", "0"}}).copies().exists());
  const char* without_moments = "\"sgd\"";
  EXPECT_FALSE(CopiedRun(runs, "dense.toml", {{"optimizer.type", without_moments}}).copies().exists())
      << "parameters are whole on each node";
  CopiedRun device(runs, "dense.toml", {{"run.redundancy", "0"}, {"train.device", "\"debug\""}});
  EXPECT_TRUE(device.copies().exists()) << "the living state goes with the process";
}

}  // namespace
}  // namespace lepton::train
