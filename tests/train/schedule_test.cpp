// SPDX-License-Identifier: Apache-2.0
// The sequence of rounds: what a run does from its first step to its last, and that a run which was stopped
// anywhere and started again does the rest of the same sequence.
#include "train/schedule.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lepton::train {
namespace {

using exact::RoundKind;

/// "1 2 v2.0 v2.1 3": training steps, and evaluation parts behind the step they follow.
std::string text_of(const Work& work) {
  if (work.kind == RoundKind::train) return std::to_string(work.step);
  return (work.kind == RoundKind::validation ? "v" : "t") + std::to_string(work.step) + "." +
         std::to_string(work.part);
}

std::vector<Work> rounds_from(const Schedule& schedule, std::optional<Work> work) {
  std::vector<Work> rounds;
  for (; work && rounds.size() < 1000; work = schedule.next(*work)) rounds.push_back(*work);
  return rounds;
}

std::string course(const Schedule& schedule, int64_t step = 0, Pending pending = Pending::nothing,
                   bool stopped_early = false) {
  std::string text;
  for (const Work& work : rounds_from(schedule, schedule.first(step, pending, stopped_early)))
    text += (text.empty() ? "" : " ") + text_of(work);
  return text;
}

Schedule with_validation() {
  return {.last_step = 5,
          .evaluate_every = 2,
          .monitor = RoundKind::validation,
          .monitor_parts = 2,
          .test_at_end = true,
          .test_parts = 3};
}

TEST(Schedule, OnlyStepsWithoutAnySplit) {
  EXPECT_EQ(course({.last_step = 4, .monitor = {}}), "1 2 3 4");
  EXPECT_EQ(course({.last_step = 4, .evaluate_every = 2, .monitor = {}}), "1 2 3 4");
}

TEST(Schedule, ValidationDuringAndTestAtTheEnd) {
  EXPECT_EQ(course(with_validation()), "1 2 v2.0 v2.1 3 4 v4.0 v4.1 5 v5.0 v5.1 t5.0 t5.1 t5.2");
}

TEST(Schedule, TestAsMonitorIsNotRepeatedAtTheEnd) {
  const Schedule schedule{
      .last_step = 4, .evaluate_every = 2, .monitor = RoundKind::test, .monitor_parts = 1};
  EXPECT_EQ(course(schedule), "1 2 t2.0 3 4 t4.0");
}

TEST(Schedule, OnlyAtTheEnd) {
  Schedule schedule{.last_step = 3, .evaluate_every = 0, .monitor = RoundKind::test, .monitor_parts = 2};
  EXPECT_EQ(course(schedule), "1 2 3 t3.0 t3.1");
  schedule.monitor = RoundKind::validation;
  EXPECT_EQ(course(schedule), "1 2 3 v3.0 v3.1");
}

TEST(Schedule, AnEvaluationAtTheLastStepHappensOnce) {
  Schedule schedule = with_validation();
  schedule.last_step = 4;
  EXPECT_EQ(course(schedule), "1 2 v2.0 v2.1 3 4 v4.0 v4.1 t4.0 t4.1 t4.2");
}

TEST(Schedule, RegularEvaluationsAreThoseOfTheInterval) {
  const Schedule schedule = with_validation();
  EXPECT_FALSE(schedule.regular_evaluation(0));
  EXPECT_FALSE(schedule.regular_evaluation(1));
  EXPECT_TRUE(schedule.regular_evaluation(2));
  EXPECT_FALSE(schedule.regular_evaluation(5));  // where --max-steps ends a run must not steer early stopping
  EXPECT_TRUE(schedule.evaluation_due(5));
  EXPECT_FALSE(schedule.evaluation_due(3));
  EXPECT_FALSE((Schedule{.last_step = 3, .evaluate_every = 1, .monitor = {}}.evaluation_due(3)));
}

TEST(Schedule, LastPartsOfBothSplits) {
  const Schedule schedule = with_validation();
  EXPECT_FALSE(schedule.last_part({RoundKind::validation, 2, 0}));
  EXPECT_TRUE(schedule.last_part({RoundKind::validation, 2, 1}));
  EXPECT_FALSE(schedule.last_part({RoundKind::test, 5, 1}));
  EXPECT_TRUE(schedule.last_part({RoundKind::test, 5, 2}));
}

TEST(Schedule, ARunThatIsCompleteHasNothingToDo) {
  EXPECT_EQ(course(with_validation(), 5), "");
  EXPECT_EQ(course(with_validation(), 9), "");  // epochs were reduced
}

TEST(Schedule, TheTrainSplitCanBeEvaluated) {
  const Schedule schedule{.last_step = 4, .monitor = RoundKind::evaluate_train, .monitor_parts = 2};
  EXPECT_EQ(rounds_from(schedule, schedule.first(4, Pending::monitor, false)).size(), 2u);
}

TEST(Schedule, ALongerRunGoesOn) {
  Schedule schedule = with_validation();
  schedule.last_step = 7;
  EXPECT_EQ(course(schedule, 5), "6 v6.0 v6.1 7 v7.0 v7.1 t7.0 t7.1 t7.2");
}

TEST(Schedule, ARestartAfterAnyStepDoesTheRest) {
  for (const int64_t every : {0, 1, 2, 3}) {
    Schedule schedule = with_validation();
    schedule.evaluate_every = every;
    const std::vector<Work> all = rounds_from(schedule, schedule.first(0, Pending::nothing, false));
    for (size_t i = 0; i < all.size(); ++i) {
      // A stop leaves what comes next undone and says so in the state; an evaluation begins anew.
      const std::optional<Work> next = schedule.next(all[i]);
      if (next && next->part > 0) continue;
      EXPECT_EQ(rounds_from(schedule, schedule.first(all[i].step, schedule.pending(next), false)),
                std::vector<Work>(all.begin() + i + 1, all.end()));
    }
  }
}

TEST(Schedule, EarlyStoppingStillTests) {
  const Schedule schedule = with_validation();
  const std::vector<Work> rounds = rounds_from(schedule, schedule.closing(2));
  ASSERT_EQ(rounds.size(), 3u);
  EXPECT_EQ(text_of(rounds.front()), "t2.0");
  EXPECT_EQ(text_of(rounds.back()), "t2.2");                                 // and does not go on with step 3
  EXPECT_EQ(course(schedule, 2, Pending::closing, true), "t2.0 t2.1 t2.2");  // also when started again
  EXPECT_EQ(course(schedule, 2, Pending::nothing, true), "");
  EXPECT_FALSE((Schedule{.last_step = 3, .monitor = RoundKind::test, .monitor_parts = 1}.closing(2)));
}

}  // namespace
}  // namespace lepton::train
