// SPDX-License-Identifier: Apache-2.0
// Seeded simulation of stealing: protocol_sim [FIRST [COUNT]]. Each seed is a small job in virtual time
// (balance/simulator, which runs the shipped queues, policy, workers and coordinator): slow ranks, ranks that
// change speed within a round, ranks stopped for long, plans that are wrong or know nothing, more ranks than
// units, late and reordered messages, several classes. Checked after every event: each unit is in one place
// and starts once; nobody idles for long while another holds two untouched units that it could have; messages
// are bounded; the round ends. A seed that fails is printed, and replays: protocol_sim SEED 1.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <string>
#include <vector>

#include "balance/simulator.h"
#include "base/error.h"
#include "base/philox.h"

namespace {

using namespace lepton;
using namespace lepton::balance;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(mix64(seed + 0x9e3779b97f4a7c15ull)) {}
  uint64_t next() { return state_ = mix64(state_ + 0x9e3779b97f4a7c15ull); }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  double uniform(double low, double high) {
    return low + (high - low) * static_cast<double>(next() >> 11) * 0x1p-53;
  }
  /// Between low and high, each magnitude as likely.
  double spread(double low, double high) { return low * std::pow(high / low, uniform(0, 1)); }
  bool chance(double p) { return uniform(0, 1) < p; }

 private:
  uint64_t state_;
};

/// What a node really does, which plans may not know.
struct Speed {
  double unit_s = 0, noise = 0;
  double changes_at_s = 0, then = 1;     ///< from then on units take so many times as long
  double stops_at_s = 0, stopped_s = 0;  ///< the unit under way then takes so much longer
  double outliers = 0;                   ///< share of units that take ten times as long
  double look_s = 0;
};

struct Job {
  std::vector<int> threads, classes;
  std::vector<Speed> speeds;
  SimulatedNetwork network;
  int64_t units = 0;
  std::vector<NodePlan> plans;
  std::vector<UnitRange> ranges;
  double latency_max_s = 0;
  bool steady = true;  ///< no unit takes longer than its node's others
};

Speed draw_speed(Random& random, double unit_s) {
  Speed speed;
  speed.unit_s = unit_s * (random.chance(0.5) ? 1 : random.spread(0.125, 64));
  speed.noise = random.chance(0.5) ? random.uniform(0, 0.3) : 0;
  speed.look_s = random.chance(0.5) ? speed.unit_s / 10 : std::numeric_limits<double>::infinity();
  if (random.chance(0.15)) {
    speed.changes_at_s = unit_s * random.uniform(0, 12);
    speed.then = random.spread(0.1, 40);
  }
  if (random.chance(0.1)) {
    speed.stops_at_s = unit_s * random.uniform(0, 12);
    speed.stopped_s = unit_s * random.spread(1, 300);
  }
  if (random.chance(0.1)) speed.outliers = 0.1;
  return speed;
}

/// Units in proportion to what the plan believes of each node; units of a class stay together.
void draw_plan(Random& random, double unit_s, Job& job) {
  const bool knows = random.chance(0.75), right = random.chance(0.4);
  const size_t nodes = job.threads.size();
  std::vector<double> rates(nodes);
  for (size_t n = 0; n < nodes; ++n) {
    const double believed_s =
        right ? job.speeds[n].unit_s : unit_s * (random.chance(0.7) ? 1 : random.spread(0.1, 10));
    rates[n] = job.threads[n] / believed_s;
    NodePlan plan;
    plan.threads = job.threads[n];
    plan.node_class = job.classes[n];
    plan.unit_s = knows ? believed_s : 0;
    job.plans.push_back(plan);
  }
  job.ranges.resize(nodes);
  const int classes = *std::max_element(job.classes.begin(), job.classes.end()) + 1;
  int64_t begin = 0;
  for (int c = 0; c < classes; ++c) {
    double all = 0, before = 0;
    for (size_t n = 0; n < nodes; ++n) all += job.classes[n] == c ? rates[n] : 0;
    const int64_t first = begin, units = job.units * (c + 1) / classes - job.units * c / classes;
    for (size_t n = 0; n < nodes; ++n) {
      if (job.classes[n] != c) continue;
      before += rates[n];
      const int64_t end =
          first + static_cast<int64_t>(std::llround(static_cast<double>(units) * before / all));
      job.ranges[n] = {begin, end};
      begin = end;
      job.plans[n].units = job.ranges[n].size();
      const double turns = std::ceil(static_cast<double>(job.plans[n].units) / job.threads[n]);
      job.plans[n].end_s = turns * job.plans[n].unit_s;
    }
  }
}

Job draw(Random& random) {
  Job job;
  const int64_t nodes = 1 + random.below(random.chance(0.1) ? 40 : 9);
  const double unit_s = random.spread(1e-3, 1);
  const int64_t classes = random.chance(0.2) ? std::min<int64_t>(nodes, 2) : 1;
  for (int64_t n = 0; n < nodes; ++n) {
    job.threads.push_back(static_cast<int>(random.chance(0.6) ? 1 : 1 + random.below(6)));
    job.classes.push_back(static_cast<int>(n < classes ? n : random.below(classes)));
    job.speeds.push_back(draw_speed(random, unit_s));
    const Speed& speed = job.speeds.back();
    job.steady = job.steady && speed.then == 1 && speed.stopped_s == 0 && speed.outliers == 0;
  }
  job.units = random.chance(0.15) ? random.below(nodes + 2) : random.below(24 * nodes) + 1;
  job.network.latency_s = random.spread(1e-6, unit_s);
  job.network.row_s_per_unit = random.chance(0.5) ? 0 : job.network.latency_s * random.uniform(0, 3);
  job.network.in_order = random.chance(0.7);
  const double jitter_s = random.chance(0.5) ? 0 : job.network.latency_s * random.uniform(0, 10);
  job.latency_max_s =
      job.network.latency_s + jitter_s + job.network.row_s_per_unit * 24 * static_cast<double>(nodes);
  if (jitter_s > 0)
    job.network.delay_s = [delays = Random(random.next()), jitter_s]() mutable {
      return delays.uniform(0, jitter_s);
    };
  draw_plan(random, unit_s, job);
  return job;
}

/// Looks at a simulation after every event.
class Watch {
 public:
  Watch(const Job& job, Simulator& simulator)
      : job_(job),
        simulator_(simulator),
        since_s_(job.threads.size(), -1),
        holds_since_s_(job.threads.size(), -1),
        longest_s_(job.threads.size(), 0) {}

  void unit_takes(int node, double takes_s) {
    double& longest_s = longest_s_[static_cast<size_t>(node)];
    longest_s = std::max(longest_s, takes_s);
  }
  void look(double now_s) {
    conserve();
    for (size_t n = 0; n < since_s_.size(); ++n) {
      const int node = static_cast<int>(n);
      follow(since_s_[n], simulator_.idle(node) && !simulator_.closed(node), now_s);
      follow(holds_since_s_[n], simulator_.untouched(node) >= 2, now_s);
    }
    for (size_t idle = 0; idle < since_s_.size(); ++idle)
      for (size_t holder = 0; since_s_[idle] >= 0 && holder < since_s_.size(); ++holder)
        compare(idle, holder, now_s);
  }

 private:
  static void follow(double& since_s, bool holds, double now_s) {
    if (!holds)
      since_s = -1;
    else if (since_s < 0)
      since_s = now_s;
  }
  /// Started, untouched, or under way (also as rows): together all units, each once.
  void conserve() const {
    int64_t started = 0, untouched = 0;
    for (int64_t unit = 0; unit < job_.units; ++unit) {
      CHECK(simulator_.starts(unit) <= 1, "unit " + std::to_string(unit) + " started twice");
      started += simulator_.starts(unit);
    }
    for (int node = 0; node < simulator_.nodes(); ++node) untouched += simulator_.untouched(node);
    CHECK(started + untouched + simulator_.travelling() <= job_.units, "more units than there are");
  }
  /// An idle node at least as fast as one that holds two untouched units gets of them, after what it takes at
  /// most that it and the holder and rank 0 have noticed: some of their longest units (a holder believes in a
  /// change after two, and obeys at the end of one), and messages. It may also have been promised units of a
  /// third one, which obeys when it has ended what it is at.
  void compare(size_t idle, size_t holder, double now_s) const {
    if (holds_since_s_[holder] < 0 || job_.classes[idle] != job_.classes[holder] || !job_.steady) return;
    if (job_.plans[idle].unit_s > 1.5 * job_.speeds[idle].unit_s) return;  // it is taken for a slow one
    if (job_.speeds[idle].unit_s * (1 + job_.speeds[idle].noise) > job_.speeds[holder].unit_s / 2) return;
    const double third_s = *std::max_element(longest_s_.begin(), longest_s_.end());
    const double bound_s = third_s + 4 * (longest_s_[idle] + longest_s_[holder] + longest_s_[0]) +
                           10 * worth_s + 12 * job_.latency_max_s;
    const double lasts_s = now_s - std::max(since_s_[idle], holds_since_s_[holder]);
    CHECK(lasts_s < bound_s, "node " + std::to_string(idle) + " idles for " + std::to_string(lasts_s) +
                                 " s while node " + std::to_string(holder) + " holds " +
                                 std::to_string(simulator_.untouched(static_cast<int>(holder))) +
                                 " untouched units");
  }

  const Job& job_;
  Simulator& simulator_;
  std::vector<double> since_s_, holds_since_s_;
  std::vector<double> longest_s_;
};

double unit_time(const Speed& speed, Random& random, double at_s) {
  double takes_s = speed.unit_s * (1 + speed.noise * random.uniform(-1, 1));
  if (speed.changes_at_s > 0 && at_s >= speed.changes_at_s) takes_s *= speed.then;
  if (speed.stopped_s > 0 && at_s <= speed.stops_at_s && at_s + takes_s > speed.stops_at_s)
    takes_s += speed.stopped_s;
  if (speed.outliers > 0 && random.chance(speed.outliers)) takes_s *= 10;
  return takes_s;
}

struct Totals {
  int64_t rounds = 0, messages = 0, moved = 0, worse = 0;
  double ratio = 0;
};

void run_seed(uint64_t seed, Totals& totals) {
  Random random(seed);
  const Job job = draw(random);
  const uint64_t times_seed = random.next();
  RoundResult results[2];
  for (const bool steal : {false, true}) {
    Random times(times_seed);
    Simulator simulator(job.threads, std::max<int64_t>(1, job.units), job.network);
    Watch watch(job, simulator);
    simulator.watch([&](double now_s) {
      if (steal) watch.look(now_s);
    });
    const auto takes = [&](int node, int, int64_t, double at_s) {
      const double takes_s = unit_time(job.speeds[static_cast<size_t>(node)], times, at_s);
      watch.unit_takes(node, takes_s);
      return takes_s;
    };
    const auto looks = [&](int node) { return job.speeds[static_cast<size_t>(node)].look_s; };
    results[steal] = simulator.round({1, 0, 1, 1}, job.plans, job.ranges, steal, takes, looks);
  }
  const RoundResult& stolen = results[1];
  int64_t given = 0, taken = 0;
  for (const Moved& moved : stolen.moved) {
    given += moved.given;
    taken += moved.taken;
  }
  CHECK(given == taken, "what is given is taken");
  // A unit moves rarely, and each node reports rarely: some messages per move and per node.
  const int64_t nodes = std::ssize(job.threads);
  CHECK(stolen.messages <= 4 * taken + 8 * nodes + 2 * job.units,
        std::to_string(stolen.messages) + " messages for " + std::to_string(taken) + " moved units");
  ++totals.rounds;
  totals.messages += stolen.messages;
  totals.moved += taken;
  totals.ratio += std::log(std::max(1e-9, results[1].units_s) / std::max(1e-9, results[0].units_s));
  totals.worse += results[1].units_s > 1.05 * results[0].units_s;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t first = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  const uint64_t count = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1000;
  Totals totals;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    try {
      run_seed(seed, totals);
    } catch (const std::exception& failure) {
      std::printf("seed %llu failed: %s\n  replay: protocol_sim %llu 1\n",
                  static_cast<unsigned long long>(seed), failure.what(),
                  static_cast<unsigned long long>(seed));
      return 1;
    }
  }
  std::printf(
      "%lld seeds: %lld units moved, %lld messages; a round takes %.3f of what it takes without stealing "
      "(geometric mean); longer by 5 %% in %lld\n",
      static_cast<long long>(totals.rounds), static_cast<long long>(totals.moved),
      static_cast<long long>(totals.messages),
      std::exp(totals.ratio / static_cast<double>(std::max<int64_t>(1, totals.rounds))),
      static_cast<long long>(totals.worse));
  return 0;
}
