// SPDX-License-Identifier: Apache-2.0
// Bookkeeper without a run: when checkpoints are due, lines of ledger and metrics, the best model. Shapes of
// files: tests/report.
#include "train/bookkeeper.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/log.h"
#include "deck_helpers.h"
#include "errors.h"
#include "ops/parameters_hash.h"
#include "scratch.h"
#include "storage/safetensors.h"

namespace lepton::train {
namespace {

/// A bookkeeper over a scratch run directory; 4 steps per epoch of 100 samples, batches of 32.
class BookkeeperTest : public ::testing::Test {
 protected:
  BookkeeperTest() { start_log(1, 1); }  // only warnings
  ~BookkeeperTest() override { start_log(0, 1); }
  Deck deck_with(std::vector<Override> overrides) const {
    overrides.push_back({"run.dir", "\"" + run_.path() + "\""});
    overrides.push_back({"run.progress_every", "\"1h\""});
    return with(overrides);
  }
  /// Chained to the one before.
  StepReport report_of(int64_t step, const std::string& note = "") {
    StepReport report;
    report.line.step = step;
    report.line.epoch = (step - 1) / 4 + 1;
    report.line.samples = step % 4 == 0 ? 4 : 32;
    report.line.weight = static_cast<double>(report.line.samples);
    report.line.loss = 0.5;
    report.counted = report.line.samples;
    report.correct = report.line.samples / 4;
    report.classifies = true;
    report.line.note = note;
    chain_ = report.line.chain = report.line.chain_after(chain_);
    return report;
  }
  static Bookkeeper make(const Deck& deck) { return {deck, std::nullopt, 0, true, 4, 100, 12}; }
  const Scratch run_;
  uint64_t chain_ = 0;
};

TEST_F(BookkeeperTest, LedgerLinesAreChained) {
  const Deck deck = deck_with({});
  Bookkeeper bookkeeper = make(deck);
  std::vector<std::string> encoded;
  for (int64_t step = 1; step <= 3; ++step) {
    const StepReport report = report_of(step, step == 1 ? "note" : "");
    encoded.push_back(report.line.encode());
    bookkeeper.step(report);
  }
  StepReport unchained = report_of(4);
  unchained.line.chain = 0;
  EXPECT_THROW(bookkeeper.step(unchained), Error);
  bookkeeper.close();
  std::vector<std::string> written = lines_of(run_.file("ledger.txt"));
  written.pop_back();  // the one that was refused
  EXPECT_EQ(written, encoded);
  EXPECT_NE(encoded[0].find("note=note"), std::string::npos);
  EXPECT_EQ(encoded[1].find("note="), std::string::npos);  // the next line only
  int64_t broken_at = -1;
  EXPECT_EQ(report::read_ledger(run_.file("ledger.txt"), broken_at).size(), 4u);
  EXPECT_EQ(broken_at, 0);
}

TEST_F(BookkeeperTest, MetricsAtTheEndOfEachEpochAndOfEachEvaluation) {
  const Deck deck = deck_with({});
  Bookkeeper bookkeeper = make(deck);
  for (int64_t step = 1; step <= 8; ++step) bookkeeper.step(report_of(step));
  EvaluationReport evaluation;
  evaluation.kind = exact::RoundKind::validation;
  evaluation.step = 8;
  evaluation.classifies = true;
  evaluation.accuracy = 0.5;
  bookkeeper.evaluation(evaluation);
  bookkeeper.close();
  const std::vector<std::string> lines = lines_of(run_.file("metrics.jsonl"));
  ASSERT_EQ(lines.size(), 3u);
  const nlohmann::json first = nlohmann::json::parse(lines[0]), last = nlohmann::json::parse(lines[2]);
  EXPECT_EQ(first["kind"], "train");
  EXPECT_EQ(first["step"], 4);
  EXPECT_EQ(first["epoch"], 1.0);
  EXPECT_EQ(first["loss"], 0.5);
  EXPECT_EQ(first["accuracy"], 0.25);
  EXPECT_GT(first["samples_per_second"].get<double>(), 0);
  EXPECT_EQ(last["kind"], "validation");
  EXPECT_EQ(last["accuracy"], 0.5);
}

TEST_F(BookkeeperTest, AnUndefinedFigureIsNullInMetrics) {
  const Deck deck = deck_with({{"model.loss", "mse"}});
  Bookkeeper bookkeeper = make(deck);
  EvaluationReport evaluation;
  evaluation.step = 4;
  evaluation.r2 = NAN;
  bookkeeper.evaluation(evaluation);
  bookkeeper.close();
  const nlohmann::json line = nlohmann::json::parse(lines_of(run_.file("metrics.jsonl")).back());
  EXPECT_TRUE(line["r2"].is_null()) << line;
  EXPECT_EQ(line["rmse"], 0.0);
}

TEST_F(BookkeeperTest, CheckpointsEverySoManySteps) {
  const Deck deck = deck_with({{"checkpoint.every", "\"3 steps\""}});
  Bookkeeper bookkeeper = make(deck);
  EXPECT_FALSE(bookkeeper.checkpoint_due(1, 0));
  EXPECT_FALSE(bookkeeper.checkpoint_due(2, 0));
  EXPECT_TRUE(bookkeeper.checkpoint_due(3, 0));
  EXPECT_TRUE(bookkeeper.checkpoint_due(4, 0));  // until it has begun: the one before may be in flight
  bookkeeper.checkpoint_begun();
  EXPECT_FALSE(bookkeeper.checkpoint_due(5, 0));
  EXPECT_TRUE(bookkeeper.checkpoint_due(6, 0));
  bookkeeper.close();
}

TEST_F(BookkeeperTest, CheckpointsEverySoManyEpochsOrSeconds) {
  const Deck epochs = deck_with({{"checkpoint.every", "\"2 epochs\""}});
  Bookkeeper by_epoch = make(epochs);
  EXPECT_FALSE(by_epoch.checkpoint_due(4, 0));
  EXPECT_TRUE(by_epoch.checkpoint_due(8, 0));
  by_epoch.close();
  const Deck seconds = deck_with({{"checkpoint.every", "\"50ms\""}});
  Bookkeeper by_time = make(seconds);
  EXPECT_FALSE(by_time.checkpoint_due(1, 0));
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  EXPECT_TRUE(by_time.checkpoint_due(2, 0));
  by_time.checkpoint_begun();
  EXPECT_FALSE(by_time.checkpoint_due(3, 0));
  by_time.close();
}

/// The steps of the lines of kind balance after `steps` steps and the end of the run.
std::vector<int64_t> balance_steps(const Deck& deck, Bookkeeper bookkeeper, const std::string& file,
                                   int64_t steps, int pause_ms = 0) {
  WorkRecord record(std::vector<int>{1, 2});
  for (int64_t step = 1; step <= steps; ++step) {
    exact::Lanes lanes(1, 2, 0, 0);
    lanes.node_units(0) += 3;
    lanes.node_units(1) += 5;
    balance::RoundPlan plan;
    plan.ranges = {{0, 3}, {3, 8}};
    record.begin(8, 0);
    record.end(plan, lanes, std::vector<double>{1, 2}, 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
    bookkeeper.balance(step, record);
  }
  bookkeeper.balance(steps, record, true);
  bookkeeper.close();
  std::vector<int64_t> found;
  int64_t done = 0;
  for (const std::string& text : lines_of(file)) {
    const nlohmann::json line = nlohmann::json::parse(text);
    EXPECT_EQ(line["kind"], "balance") << deck.balance.record_every_s;
    found.push_back(line["step"]);
    EXPECT_EQ(line["epoch"], static_cast<double>(found.back()) / 4);
    done += line["done"][1].get<int64_t>();
  }
  EXPECT_EQ(done, 5 * steps);  // each step in one line
  return found;
}

TEST_F(BookkeeperTest, BalanceIsRecordedNowAndThenAndAtTheEnd) {
  using Steps = std::vector<int64_t>;
  const auto steps = [&](const char* every, int64_t count, int pause_ms = 0) {
    std::filesystem::remove(run_.file("metrics.jsonl"));
    const Deck deck = deck_with({{"balance.record_every", every}});
    return balance_steps(deck, make(deck), run_.file("metrics.jsonl"), count, pause_ms);
  };
  EXPECT_EQ(steps("\"3 steps\"", 8), (Steps{3, 6, 8}));
  EXPECT_EQ(steps("\"3 steps\"", 6), (Steps{3, 6}));  // the end has its line already
  EXPECT_EQ(steps("\"1 epochs\"", 9), (Steps{4, 8, 9}));
  EXPECT_EQ(steps("\"1h\"", 5), (Steps{5}));
  const Steps by_time = steps("\"20ms\"", 6, 11);
  EXPECT_GE(by_time.size(), 2u);
  EXPECT_LE(by_time.size(), 5u);
}

TEST_F(BookkeeperTest, WhatACheckpointTookIsRecorded) {
  const Deck deck = deck_with({});
  make(deck).checkpoint_committed(
      {.step = 4, .seconds = 0.5, .writing_s = 0.25, .bytes = 1000, .own_bytes = 600}, 0.125);
  const std::string line = read_text(run_.file("metrics.jsonl"));
  for (const char* part : {"\"kind\":\"checkpoint\",\"step\":4", "\"seconds\":0.5", "\"stood_s\":0.125",
                           "\"writing_s\":0.25", "\"bytes\":1000"})
    EXPECT_NE(line.find(part), std::string::npos) << line;
}

TEST_F(BookkeeperTest, WhatACopyOfTheStateTookIsRecorded) {
  const Deck deck = deck_with({});
  make(deck).copied({.step = 4, .seconds = 0.5, .cost_s = 0.25, .bytes = 600});
  const std::string line = read_text(run_.file("metrics.jsonl"));
  for (const char* part :
       {"\"kind\":\"copy\",\"step\":4", "\"seconds\":0.5", "\"cost_s\":0.25", "\"own_bytes\":600"})
    EXPECT_NE(line.find(part), std::string::npos) << line;
}

TEST_F(BookkeeperTest, TheBestModelIsWrittenWithItsLayout) {
  ArenaLayout layout;
  layout.add("dense_1.weight", {3, 5}, TensorRole::parameter, true);
  layout.add("dense_1.bias", {3}, TensorRole::parameter, false);
  layout.finish();
  std::vector<float> arena(layout.elements(), 0);
  for (const ArenaTensor& t : layout.tensors())
    for (int64_t i = 0; i < t.count; ++i) arena[t.offset + i] = static_cast<float>(t.offset + i) + 0.5f;
  const std::vector<float> at_call = arena;
  const Deck deck = deck_with({});
  Bookkeeper bookkeeper = make(deck);
  EvaluationReport evaluation;
  evaluation.step = 7;
  evaluation.classifies = true;
  evaluation.accuracy = 0.875;
  bookkeeper.keep_best(layout, arena, ops::parameters_hash(arena), evaluation);
  arena.assign(arena.size(), -1);  // training goes on while it is written
  bookkeeper.close();
  const storage::SafetensorsFile file = storage::read_safetensors(run_.file("best.safetensors"));
  EXPECT_EQ(file.metadata.at("step"), "7");
  EXPECT_EQ(file.metadata.at("accuracy"), "0.875");
  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_EQ(file.tensors.at("dense_1.weight").shape, (Shape{3, 5}));
  const nlohmann::json places = nlohmann::json::parse(file.metadata.at("lepton.layout"));
  std::vector<float> again(places["elements"].get<size_t>(), 0);
  for (const auto& [name, tensor] : file.tensors)
    std::copy(tensor.values.begin(), tensor.values.end(),
              again.begin() + places["offsets"][name].get<int64_t>());
  EXPECT_EQ(ops::parameters_hash(again), ops::parameters_hash(at_call));
}

TEST_F(BookkeeperTest, ParametersThatChangedInMemoryAreNoModel) {
  ArenaLayout layout;
  layout.add("w", {3}, TensorRole::parameter, true);
  layout.finish();
  std::vector<float> arena(layout.elements(), 0.5f);
  const uint64_t hash = ops::parameters_hash(arena);
  arena[1] = -0.5f;  // one bit
  expect_error_of([&] { write_model(run_.file("model.safetensors"), layout, arena, hash, {}); }, Exit::io,
                  {"model.safetensors", "flipped", "checkpoints are whole"});
  EXPECT_FALSE(std::filesystem::exists(run_.file("model.safetensors")));
}

TEST_F(BookkeeperTest, ABestModelThatCannotBeWrittenIsAWarning) {
  ArenaLayout layout;
  layout.add("w", {3}, TensorRole::parameter, true);
  layout.finish();
  const Deck deck = deck_with({});
  Bookkeeper bookkeeper = make(deck);
  std::filesystem::create_directories(run_.file("best.safetensors/in-the-way"));
  std::filesystem::create_directories(run_.file("best.safetensors.tmp/in-the-way"));
  const std::vector<float> arena(layout.elements());
  bookkeeper.keep_best(layout, arena, ops::parameters_hash(arena), {});
  ::testing::internal::CaptureStderr();
  EXPECT_NO_THROW(bookkeeper.close());
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("best.safetensors was not written"),
            std::string::npos);
}

}  // namespace
}  // namespace lepton::train
