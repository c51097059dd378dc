// SPDX-License-Identifier: Apache-2.0
// The small run state: every field survives, equal states give equal bytes, and bytes that are not one are
// refused.
#include "train/run_state.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <vector>

#include "base/error.h"

namespace lepton::train {
namespace {

RunState sample() {
  RunState state;
  state.step = int64_t{1} << 40;
  state.schedule_steps = 12345;
  state.scales = {40, -3, 2147483647, -2147483648};
  state.statistics = {60000, {0.5, -1e-300}, {1.25, 0.1}, {-7, 0}, {std::numeric_limits<double>::max(), 1}};
  state.last_ledger_line = "step=7 loss=0.1 chain=00ff";
  state.pending = Pending::closing;
  state.has_best = true;
  state.best_metric = 0.1 + 0.2;
  state.best_step = 99;
  state.stale_evaluations = 4;
  return state;
}

void expect_equal(const RunState& a, const RunState& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.schedule_steps, b.schedule_steps);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.statistics, b.statistics);
  EXPECT_EQ(a.last_ledger_line, b.last_ledger_line);
  EXPECT_EQ(a.pending, b.pending);
  EXPECT_EQ(a.has_best, b.has_best);
  EXPECT_EQ(a.best_metric, b.best_metric);
  EXPECT_EQ(a.best_step, b.best_step);
  EXPECT_EQ(a.stale_evaluations, b.stale_evaluations);
}

TEST(RunState, SurvivesEncodingAndDecoding) {
  expect_equal(RunState::decode(sample().encode(), "here"), sample());
  expect_equal(RunState::decode(RunState().encode(), "here"), RunState());
}

TEST(RunState, EqualStatesGiveEqualBytes) {
  EXPECT_EQ(sample().encode(), sample().encode());
  EXPECT_EQ(RunState::decode(sample().encode(), "here").encode(), sample().encode());
}

TEST(RunState, EveryFieldIsInTheBytes) {
  const std::vector<std::function<void(RunState&)>> changes = {
      [](RunState& s) { s.step = 1; },
      [](RunState& s) { s.schedule_steps = 1; },
      [](RunState& s) { s.scales[2] = 1; },
      [](RunState& s) { s.scales.pop_back(); },
      [](RunState& s) { s.statistics.count = 1; },
      [](RunState& s) { s.statistics.mean[0] = 1; },
      [](RunState& s) { s.statistics.deviation[0] = 1; },
      [](RunState& s) { s.statistics.minimum[0] = 1; },
      [](RunState& s) { s.statistics.maximum[0] = 1; },
      [](RunState& s) { s.last_ledger_line = "x"; },
      [](RunState& s) { s.pending = Pending::nothing; },
      [](RunState& s) { s.has_best = false; },
      [](RunState& s) { s.best_metric = 1; },
      [](RunState& s) { s.best_step = 1; },
      [](RunState& s) { s.stale_evaluations = 1; }};
  for (size_t i = 0; i < changes.size(); ++i) {
    RunState changed = sample();
    changes[i](changed);
    EXPECT_NE(changed.encode(), sample().encode()) << "change " << i;
    expect_equal(RunState::decode(changed.encode(), "here"), changed);
  }
}

TEST(RunState, BytesThatAreNoStateAreRefusedWithTheirPlace) {
  const std::string bytes = sample().encode();
  for (const std::string& bad : {std::string(), std::string("x"), bytes.substr(0, bytes.size() / 2)}) {
    try {
      RunState::decode(bad, "run/state.bin");
      ADD_FAILURE() << bad.size() << " bytes were accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::data);
      EXPECT_EQ(error.where(), "run/state.bin");
    }
  }
}

TEST(RunState, TheBestMetricAndEvaluationsSince) {
  RunState state;
  EXPECT_FALSE(state.improves(std::numeric_limits<double>::quiet_NaN(), true, 0.1, 5));
  EXPECT_TRUE(state.improves(0.5, true, 0.1, 10));  // the first one is the best whatever it is
  EXPECT_FALSE(state.improves(0.55, true, 0.1, 20));
  EXPECT_FALSE(state.improves(std::numeric_limits<double>::quiet_NaN(), true, 0.1, 30));
  EXPECT_EQ(state.stale_evaluations, 2);
  EXPECT_EQ(state.best_metric, 0.5);
  EXPECT_EQ(state.best_step, 10);
  EXPECT_TRUE(state.improves(0.7, true, 0.1, 40));
  EXPECT_EQ(state.stale_evaluations, 0);
  EXPECT_EQ(state.best_step, 40);
  EXPECT_FALSE(state.improves(0.9, false, 0, 50));
  EXPECT_TRUE(state.improves(0.69, false, 0, 60));
}

TEST(RunState, WhatChangesInEveryStepIsWrittenBehindWhatDoesNot) {
  const RunState begun = sample();
  RunState now = begun;
  now.step += 5;
  now.scales = {1, -2, 3, 4};
  now.last_ledger_line = "step=12 a longer line than the one before";
  now.has_best = true;
  now.best_metric = 0.5;
  now.best_step = 9;
  now.stale_evaluations = 3;
  std::string bytes;
  now.encode_onto(begun.encode(), Pending::monitor, bytes);
  const RunState found = RunState::decode_from(bytes, "here");
  RunState expected = now;
  expected.pending = Pending::monitor;
  EXPECT_EQ(found.encode(), expected.encode());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THROW(RunState::decode_from(std::string_view(bytes).substr(0, size), "here"), Error) << size;
}

}  // namespace
}  // namespace lepton::train
