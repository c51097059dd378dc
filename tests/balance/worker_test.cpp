// SPDX-License-Identifier: Apache-2.0
// Workers of several nodes with an outside that is made by hand: what each sends when, who answers for what,
// and that the barrier is entered once, by who answers for nothing any more.
#include "balance/worker.h"

#include <gtest/gtest.h>

#include <vector>

#include "nodes.h"

namespace lepton::balance {
namespace {

TEST(Worker, AloneItSaysNothingAndIsClosedFromTheStart) {
  Job job(2, true);
  EXPECT_TRUE(job.worker(0).closed());
  EXPECT_EQ(job.worker(0).stamp(), stamp);
  for (const double now_s : {0.0, 100.0}) job.worker(0).poll(now_s);
  EXPECT_EQ(job.node(0).compute(), 0);
  job.run_dry(0);
  EXPECT_TRUE(job.between.sent.empty());
  EXPECT_EQ(job.node(0).entered, 0);
}

TEST(Worker, ABalancedRoundCostsNoMessage) {
  Job job(2);
  for (int unit = 0; unit < 10; ++unit)
    for (int n = 0; n < 2; ++n) {
      EXPECT_FALSE(job.worker(n).closed());
      EXPECT_EQ(job.node(n).compute(), 10 * n + unit);
      job.worker(n).poll(unit + 1);
    }
  EXPECT_TRUE(job.between.sent.empty());
  for (int n = 0; n < 2; ++n) {
    EXPECT_EQ(job.node(n).entered, 1);
    job.worker(n).poll(10);
    EXPECT_TRUE(job.worker(n).closed());
    EXPECT_EQ(job.worker(n).moved().given + job.worker(n).moved().taken, 0);
  }
}

TEST(Worker, EntersTheBarrierOnceWhenItsLastUnitIsStarted) {
  Job job(2);
  for (int unit = 0; unit < 9; ++unit) job.node(0).compute();
  job.worker(0).poll(9);
  EXPECT_EQ(job.node(0).entered, 0);
  EXPECT_FALSE(job.node(0).queue.take().empty());  // started, not done
  job.worker(0).poll(9);
  EXPECT_EQ(job.node(0).entered, 1);
  for (int again = 0; again < 3; ++again) job.worker(0).poll(9);
  EXPECT_EQ(job.node(0).entered, 1);
  EXPECT_FALSE(job.worker(0).closed());  // node 1 has not
  job.run_dry(1);
  EXPECT_TRUE(job.worker(1).closed());
  EXPECT_FALSE(job.worker(0).closed());  // until it looks
  job.worker(0).poll(9);
  EXPECT_TRUE(job.worker(0).closed());
}

/// The barrier completes while they are computed. (That rank 0 should hear of them as such that could be
/// given made it order them again and again.)
TEST(Worker, KeepsTheUnitsThatEndBeforeAMessageWouldBeWorthIt) {
  constexpr double unit_s = 0.3 * worth_s;
  Job job(3, false, 10, unit_s);
  for (int unit = 0; unit < 6; ++unit) job.node(0).compute(unit_s);
  job.worker(0).poll(6 * unit_s);
  EXPECT_EQ(job.node(0).entered, 0);  // four are left
  job.node(0).compute(unit_s);
  job.worker(0).poll(7 * unit_s);
  EXPECT_EQ(job.node(0).entered, 1);
  job.give(0, {{1, 2, 5e-3}});
  EXPECT_TRUE(job.waiting<Offer>().empty());
  ASSERT_EQ(job.waiting<Report>().size(), 1u);
  EXPECT_EQ(job.waiting<Report>()[0].second.missing, (std::vector<Move>{{1, 2, 0}}));
  EXPECT_EQ(job.waiting<Report>()[0].second.left, 0);

  // What it takes after that it may give on.
  job.give(2, {{0, 2, 5e-3}});
  job.deliver();
  job.worker(0).poll(7 * unit_s);
  EXPECT_EQ(job.node(0).queue.left(), 5);
  job.give(0, {{1, 4, 5e-3}});
  ASSERT_EQ(job.waiting<Offer>().size(), 1u);
  EXPECT_EQ(job.waiting<Offer>()[0].second.units, (Units{28, 29}));
  job.deliver();

  for (const int n : {1, 2, 1}) {
    job.run_dry(n);
    job.deliver();
  }
  for (const int n : {0, 1, 2, 0}) job.worker(n).poll(8 * unit_s);
  EXPECT_TRUE(job.worker(0).closed());
  for (int unit = 7; unit < 10; ++unit) EXPECT_EQ(job.node(0).compute(unit_s), unit);
}

TEST(Worker, GivesFromTheBackAndSendsTheRows) {
  Job job(3);
  job.give(0, {{1, 3, 7.5}, {2, 2, 8.5}});
  ASSERT_EQ(job.between.sent.size(), 2u);
  const auto offers = job.waiting<Offer>();
  EXPECT_EQ(offers[0].first, 1);
  EXPECT_EQ(offers[0].second.units, (Units{7, 8, 9}));
  EXPECT_EQ(offers[0].second.end_s, 7.5);
  EXPECT_EQ(offers[1].first, 2);
  EXPECT_EQ(offers[1].second.units, (Units{5, 6}));
  EXPECT_EQ(offers[1].second.end_s, 8.5);
  EXPECT_NE(offers[0].second.number, offers[1].second.number);
  EXPECT_EQ(job.between.sent[0].message.stamp, stamp);
  EXPECT_EQ(job.node(0).lent, (std::vector<Node::Rows>{{1, offers[0].second.number, {7, 8, 9}},
                                                       {2, offers[1].second.number, {5, 6}}}));
  EXPECT_EQ(job.worker(0).moved().given, 5);
  EXPECT_EQ(job.node(0).queue.left(), 5);
}

TEST(Worker, TheTakerComputesThemAndSaysSoOnceAllAreStarted) {
  Job job(2);
  job.give(0, {{1, 2, 12}});
  const int64_t number = job.waiting<Offer>()[0].second.number;
  job.deliver();
  EXPECT_EQ(job.worker(1).moved().taken, 2);
  EXPECT_EQ(job.node(1).borrows, (std::vector<Node::Rows>{{0, number, {8, 9}}}));
  EXPECT_EQ(job.node(1).queue.left(), 10);  // runnable from the next look on
  for (int unit = 10; unit < 20; ++unit) EXPECT_EQ(job.node(1).compute(), unit);
  job.worker(1).poll(10);
  EXPECT_EQ(job.node(1).compute(), 8);
  job.worker(1).poll(11);
  EXPECT_TRUE(job.waiting<Started>().empty());
  EXPECT_EQ(job.node(1).compute(), 9);
  job.worker(1).poll(12);
  ASSERT_EQ(job.waiting<Started>().size(), 1u);
  EXPECT_EQ(job.waiting<Started>()[0].first, 0);
  EXPECT_EQ(job.waiting<Started>()[0].second.number, number);
  EXPECT_EQ(job.between.sent[0].message.stamp, stamp);
  job.worker(1).poll(13);
  EXPECT_EQ(job.waiting<Started>().size(), 1u);
}

TEST(Worker, TheGiverEntersTheBarrierOnlyWhenTheyAreStarted) {
  Job job(2);
  job.give(0, {{1, 2, 12}});
  job.deliver();
  job.run_dry(0);
  EXPECT_EQ(job.node(0).entered, 0);
  job.run_dry(1);
  EXPECT_EQ(job.node(1).entered, 0);  // what came is in its queue since that look
  job.run_dry(1);
  EXPECT_EQ(job.node(1).entered, 1);
  job.worker(0).poll(12);
  EXPECT_EQ(job.node(0).entered, 0);  // it was not told
  job.deliver();
  job.worker(0).poll(12);
  EXPECT_EQ(job.node(0).entered, 1);
  job.worker(1).poll(12);
  EXPECT_TRUE(job.worker(0).closed() && job.worker(1).closed());
}

TEST(Worker, UnitsWhoseRowsAreNotHereAreNotRunnable) {
  Job job(2);
  job.between.rows_wait = true;
  job.give(0, {{1, 2, 12}, {1, 1, 13}});
  job.deliver();
  for (int unit = 10; unit < 20; ++unit) EXPECT_EQ(job.node(1).compute(), unit);
  for (int again = 0; again < 3; ++again) {
    job.worker(1).poll(10);
    EXPECT_EQ(job.node(1).compute(), -1);
    EXPECT_EQ(job.node(1).entered, 0);  // it answers for them
  }
  job.between.rows_here.insert({0, 1});  // those of the second offer
  job.worker(1).poll(11);
  EXPECT_EQ(job.node(1).compute(), 7);
  EXPECT_EQ(job.node(1).compute(), -1);
  job.worker(1).poll(12);
  EXPECT_EQ(job.waiting<Started>().size(), 1u);
  EXPECT_EQ(job.waiting<Started>()[0].second.number, 1);
  job.between.rows_here.insert({0, 0});
  job.worker(1).poll(12);
  job.worker(1).poll(12);  // appended once
  EXPECT_EQ(job.node(1).compute(), 8);
  EXPECT_EQ(job.node(1).compute(), 9);
  EXPECT_EQ(job.node(1).compute(), -1);
}

TEST(Worker, WhatItCannotGiveItReportsAsMissing) {
  Job job(3);
  for (int unit = 0; unit < 7; ++unit) job.node(0).compute();
  job.give(0, {{1, 2, 12}, {2, 4, 12}}, 7);
  EXPECT_EQ(job.waiting<Offer>()[1].second.units, (Units{7}));
  const auto reports = job.waiting<Report>();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].first, 0);
  EXPECT_EQ(reports[0].second.missing, (std::vector<Move>{{2, 3, 0}}));
  EXPECT_EQ(reports[0].second.gives_seen, 1);
  EXPECT_EQ(reports[0].second.left, 0);
  job.give(0, {{1, 1, 12}});
  EXPECT_EQ(job.waiting<Offer>().size(), 2u);  // none of nothing
  EXPECT_EQ(job.waiting<Report>()[1].second.missing, (std::vector<Move>{{1, 1, 0}}));
  EXPECT_EQ(job.waiting<Report>()[1].second.gives_seen, 2);
}

TEST(Worker, ReportsToRank0WithWhatItTook) {
  Job job(3);
  job.give(0, {{2, 3, 30}});
  job.deliver();
  for (int unit = 0; unit < 2; ++unit) job.node(2).compute(5);
  job.worker(2).poll(10);
  const auto reports = job.waiting<Report>();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].first, 0);
  EXPECT_EQ(reports[0].second.taken, 3);
  EXPECT_EQ(reports[0].second.left, 11);
  EXPECT_EQ(reports[0].second.unit_s, 1);  // one measurement, which may be an outlier
  job.worker(2).poll(10);
  EXPECT_EQ(job.waiting<Report>().size(), 1u);
  job.worker(2).poll(100);  // nothing was done meanwhile: its unit takes far longer than it reckoned with
  EXPECT_EQ(job.waiting<Report>().size(), 2u);
}

/// Rank 0 says when it then expects whom to end. Who gives and will do so is silent; who takes says once that
/// it is alive.
TEST(Worker, WhoWillEndAsOrderedHasLittleToSay) {
  Job job(2);
  job.give(0, {{1, 3, 13}}, 7);
  job.deliver();
  for (int n = 0; n < 2; ++n) {
    job.node(n).compute();
    job.node(n).queue.take();
    job.worker(n).poll(1);
  }
  ASSERT_EQ(job.waiting<Report>().size(), 1u);
  EXPECT_EQ(job.waiting<Report>()[0].second.taken, 3);
  for (int n = 0; n < 2; ++n) job.worker(n).poll(1);
  EXPECT_EQ(job.waiting<Report>().size(), 1u);
}

TEST(Worker, WhatIsOrderedByABeliefThatIsWrongIsCorrectedAtOnce) {
  Job job(2);
  job.node(1).queue.take();
  job.worker(1).poll(0.1);
  job.give(0, {{1, 3, 40}});  // it will be idle at 13
  job.deliver();
  EXPECT_TRUE(job.waiting<Report>().empty());
  job.worker(1).poll(0.2);
  ASSERT_EQ(job.waiting<Report>().size(), 1u);
  EXPECT_NEAR(job.waiting<Report>()[0].second.end_s, 13, 1e-9);
}

TEST(Worker, LooksAtTheTimeWhileIdle) {
  Job job(2);
  job.run_dry(0);
  EXPECT_TRUE(job.waiting<Report>().empty());
  job.worker(0).poll(12);
  ASSERT_EQ(job.waiting<Report>().size(), 1u);
  EXPECT_EQ(job.waiting<Report>()[0].second.left, 0);
}

TEST(Worker, AClosedNodeIgnoresWhatRank0StillWants) {
  Job job(2);
  job.run_dry(0);
  job.run_dry(1);
  job.worker(0).poll(10);
  ASSERT_TRUE(job.worker(0).closed());
  job.give(0, {{1, 2, 12}});
  job.worker(0).poll(50);
  EXPECT_TRUE(job.between.sent.empty());
  EXPECT_EQ(job.worker(0).moved().given, 0);
}

}  // namespace
}  // namespace lepton::balance
