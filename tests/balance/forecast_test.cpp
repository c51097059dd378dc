// SPDX-License-Identifier: Apache-2.0
// Forecasts: perfect where a job is, bounded by whole units where it is not, better with stealing than
// without where speeds vary, the same for the same seed; and the job that the design is made for.
#include "balance/forecast.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace lepton::balance {
namespace {

ForecastJob job_of(size_t nodes, int threads, double unit_s, double noise, int64_t units) {
  ForecastJob job;
  job.nodes.assign(nodes, {threads, unit_s, noise, 0});
  job.units = units;
  job.network.latency_s = 2e-6;
  return job;
}

TEST(Forecast, EvenNodesWithoutNoiseTakeWhatTheirSpeedsSay) {
  const Forecast even = forecast(job_of(4, 2, 0.01, 0, 80));
  EXPECT_NEAR(even.units_s, 0.1, 1e-4);
  EXPECT_EQ(even.moved, 0);
  EXPECT_EQ(even.rank_0_messages, 0) << "a balanced step costs no message";
  EXPECT_NEAR(even.shortest_s, even.longest_s, 1e-4);
}

TEST(Forecast, AUnitMoreThanThreadsTakesATurnMore) {
  const ForecastJob job = job_of(1, 4, 0.01, 0, 9);
  EXPECT_NEAR(forecast(job).units_s, 0.03, 1e-6);
  EXPECT_NEAR(whole_units_s(job), 0.03, 1e-9);
  EXPECT_NEAR(sum_of_speeds(job), 400, 1e-9);
}

TEST(Forecast, SlowNodesArePlannedLessOnceTheyAreKnown) {
  ForecastJob job = job_of(2, 1, 0.01, 0, 30);
  job.nodes[1].unit_s = 0.02;
  EXPECT_NEAR(whole_units_s(job), 0.2, 1e-9);
  EXPECT_NEAR(forecast(job).units_s, 0.2, 0.002);
  job.policy = Policy::static_;
  EXPECT_NEAR(forecast(job).units_s, 0.3, 1e-6) << "half of the units each";
  job.policy = Policy::proportional;
  EXPECT_NEAR(forecast(job).units_s, 0.2, 0.002);
  job.warm_up_rounds = 0;
  job.rounds = 1;
  EXPECT_NEAR(forecast(job).units_s, 0.3, 1e-6) << "nothing is known in the first round";
}

TEST(Forecast, SharesOfClassesAreKept) {
  ForecastJob job = job_of(2, 1, 0.01, 0, 40);
  job.nodes[1].node_class = 1;
  job.shares = {3, 1};
  EXPECT_NEAR(whole_units_s(job), 0.3, 1e-9);
  const Forecast fixed = forecast(job);
  EXPECT_NEAR(fixed.units_s, 0.3, 0.001);
  EXPECT_EQ(fixed.moved, 0) << "the other class idles";
}

TEST(Forecast, TheSameSeedGivesTheSameFiguresAndAnotherOthers) {
  ForecastJob job = job_of(3, 2, 0.01, 0.1, 60);
  const Forecast once = forecast(job), again = forecast(job);
  EXPECT_EQ(once.units_s, again.units_s);
  EXPECT_EQ(once.messages, again.messages);
  job.seed = 1;
  EXPECT_NE(forecast(job).units_s, once.units_s);
}

TEST(Forecast, NoiseHasTheMeanAndTheDeviationThatItSays) {
  constexpr int count = 200'000;
  for (const double noise : {0.02, 0.5}) {
    double sum = 0, squares = 0;
    for (int unit = 0; unit < count; ++unit) {
      const double factor = noise_factor(7, unit % 3, unit, noise);
      ASSERT_GT(factor, 0);
      sum += factor;
      squares += factor * factor;
    }
    const double mean = sum / count;
    EXPECT_NEAR(mean, 1, 4 * noise / std::sqrt(count));
    EXPECT_NEAR(std::sqrt(squares / count - mean * mean), noise, 0.02 * noise);
  }
  EXPECT_EQ(noise_factor(7, 1, 1, 0), 1);
}

TEST(Forecast, DecidingKeepsRankZeroBusy) {
  ForecastJob job = job_of(8, 2, 0.01, 0.3, 320);
  const Forecast free = forecast(job);
  EXPECT_GT(free.rank_0_messages, 0);
  EXPECT_NEAR(free.rank_0_busy_s, free.rank_0_messages * job.network.handling_s, 1e-9);
  job.network.deciding_s_per_node = 1e-6;
  EXPECT_GT(forecast(job).rank_0_busy_s, free.rank_0_busy_s + 7e-6);
}

// 10,000 ranks on 1,250 nodes, one in twenty half as fast, 32 units of 12.5 ms each.
TEST(Forecast, TenThousandRanksLoseLittleAndRankZeroHasTime) {
  ForecastJob job = job_of(1250, 8, 0.0125, 0.02, 320'000);
  for (size_t node = 10; node < job.nodes.size(); node += 20) job.nodes[node].unit_s *= 2;
  job.network.deciding_s_per_node = 40e-9;
  job.rounds = 2;
  const Forecast large = forecast(job);
  const double ideal_s = static_cast<double>(job.units) / sum_of_speeds(job);
  EXPECT_GT(ideal_s / large.units_s, 0.95);
  EXPECT_LE(ideal_s, large.units_s);
  EXPECT_LT(large.rank_0_busy_s / large.units_s, 0.05);
}

TEST(Forecast, AJobWithoutNodesOrUnitsIsOurBug) {
  EXPECT_THROW(forecast(job_of(0, 1, 1, 0, 1)), Error);
  EXPECT_THROW(forecast(job_of(1, 1, 1, 0, 0)), Error);
}

}  // namespace
}  // namespace lepton::balance
