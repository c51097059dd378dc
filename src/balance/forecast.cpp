// SPDX-License-Identifier: Apache-2.0
// Planner and simulator, round after round. See the header.
#include "balance/forecast.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "balance/class_shares.h"
#include "balance/plan.h"
#include "base/error.h"
#include "base/philox.h"

namespace lepton::balance {

namespace {

std::vector<int> threads_of(const ForecastJob& job) {
  std::vector<int> threads;
  for (const ForecastNode& node : job.nodes) threads.push_back(node.threads);
  return threads;
}

std::vector<int> classes_of(const ForecastJob& job) {
  std::vector<int> classes;
  for (const ForecastNode& node : job.nodes) classes.push_back(node.node_class);
  return classes;
}

/// Adds a round to the sums that forecast() divides.
void add(const RoundResult& round, Forecast& sum) {
  sum.units_s += round.closed_s;
  sum.shortest_s = std::min(sum.shortest_s, round.closed_s);
  sum.longest_s = std::max(sum.longest_s, round.closed_s);
  sum.messages += static_cast<double>(round.messages);
  sum.rank_0_messages += static_cast<double>(round.rank_0_messages);
  sum.rank_0_busy_s += round.rank_0_busy_s;
  for (const Moved& moved : round.moved) sum.moved += static_cast<double>(moved.taken);
}

}  // namespace

// z of mean 0 and deviation 1 by Box and Muller 1958; with s^2 = ln(1 + noise^2) the variable exp(s z -
// s^2/2) has mean 1 and deviation `noise`.
double noise_factor(uint64_t seed, int64_t round, int64_t unit, double noise) {
  if (noise <= 0) return 1;
  const uint64_t bits =
      mix64(mix64(mix64(seed) ^ static_cast<uint64_t>(round)) ^ static_cast<uint64_t>(unit));
  const double radius = (static_cast<double>(bits >> 32) + 0.5) * 0x1p-32,
               angle = static_cast<double>(bits & 0xffffffffu) * 0x1p-32;
  const double z = std::sqrt(-2 * std::log(radius)) * std::cos(2 * std::numbers::pi * angle);
  const double variance = std::log1p(noise * noise);
  return std::exp(std::sqrt(variance) * z - variance / 2);
}

std::vector<double> speeds_of(const ForecastJob& job) {
  std::vector<double> speeds;
  for (const ForecastNode& node : job.nodes) speeds.push_back(node.threads / node.unit_s);
  return speeds;
}

double sum_of_speeds(const ForecastJob& job) {
  double sum = 0;
  for (const double speed : speeds_of(job)) sum += speed;
  return sum;
}

double whole_units_s(const ForecastJob& job) {
  ClassShares shares(job.shares);
  std::vector<int64_t> class_begins;
  shares.cut(0, job.units, class_begins);
  ClassPlan plan(classes_of(job), threads_of(job));
  plan.plan(class_begins, std::span<const double>(speeds_of(job)));
  return plan.end_s();
}

Forecast forecast(const ForecastJob& job) {
  CHECK(job.units > 0 && job.rounds > 0 && !job.nodes.empty(), "a job to forecast");
  const std::vector<int> threads = threads_of(job);
  Simulator simulator(threads, job.units, job.network);
  Planner planner(job.policy, threads, classes_of(job), job.shares);
  const bool steal = job.policy == Policy::steal && job.nodes.size() > 1;
  const LookTime look_time = [&](int) {
    return job.look_s > 0 ? job.look_s : std::numeric_limits<double>::infinity();
  };
  std::array<RoundPlan, 2> plans;  // of this round and, made while it runs, of the next
  planner.plan(Purpose::train, 0, job.units, plans[0]);
  Forecast mean{.shortest_s = std::numeric_limits<double>::infinity()};
  for (int64_t round = 0; round < job.warm_up_rounds + job.rounds; ++round) {
    const RoundPlan& plan = plans[static_cast<size_t>(round % 2)];
    planner.plan(Purpose::train, round + 1, job.units, plans[static_cast<size_t>((round + 1) % 2)]);
    const UnitTime unit_time = [&](int number, int, int64_t unit, double) {
      const ForecastNode& node = job.nodes[static_cast<size_t>(number)];
      return node.unit_s * noise_factor(job.seed, round, unit, node.noise);
    };
    const RoundResult& result =
        simulator.round({round + 1, 0, round + 1, 1}, plan.nodes, plan.ranges, steal, unit_time, look_time);
    planner.observe(Purpose::train, result.units, result.busy_ns);
    if (round >= job.warm_up_rounds) add(result, mean);
  }
  const auto rounds = static_cast<double>(job.rounds);
  for (double* figure :
       {&mean.units_s, &mean.messages, &mean.rank_0_messages, &mean.moved, &mean.rank_0_busy_s})
    *figure /= rounds;
  return mean;
}

}  // namespace lepton::balance
