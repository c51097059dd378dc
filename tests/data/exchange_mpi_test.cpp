// SPDX-License-Identifier: Apache-2.0
// Random plans on one to many nodes: every row that a node computes is there with its own bytes, several
// rounds in flight, and nothing is allocated per round once buffers are large enough.
#include "data/exchange.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>

#include "allocations.h"
#include "data/batch.h"
#include "data/datasets.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

constexpr int64_t samples = 500, width = 9, largest = 120;

struct Plan {
  int64_t round = 0;
  SplitKind split = SplitKind::train;
  std::vector<int64_t> ids, begins;
  std::vector<int> nodes;
  RoundRows rows() const { return {round, split, ids, begins, nodes}; }
};

/// The same on every rank.
Plan random_plan(int64_t round, const Dataset& dataset, int nodes) {
  std::mt19937 random(static_cast<unsigned>(round));
  Plan plan;
  plan.round = round;
  plan.split = random() % 2 ? SplitKind::train : SplitKind::test;
  const int64_t n = dataset.split(plan.split).samples;
  const int64_t count = 1 + static_cast<int64_t>(random()) % largest;
  for (int64_t i = 0; i < count; ++i) plan.ids.push_back(static_cast<int64_t>(random()) % n);
  plan.begins = cut_units(count, 1 + static_cast<int64_t>(random()) % 30);
  for (size_t unit = 1; unit < plan.begins.size(); ++unit)
    plan.nodes.push_back(round % 5 == 0 ? nodes - 1
                                        : static_cast<int>(random() % static_cast<unsigned>(nodes)));
  return plan;
}

/// Input i of row r is (r * width + i) % 251, its target r % 256: see make below.
void check_rows(const RowExchange& exchange, const Plan& plan, const Dataset& dataset, int node) {
  for (size_t unit = 0; unit < plan.nodes.size(); ++unit)
    for (int64_t p = plan.begins[unit]; p < plan.begins[unit + 1]; ++p) {
      if (plan.nodes[unit] != node) {
        if (node == 0 && p == plan.begins[unit]) {
          expect_error(Exit::software, "another node", [&] { exchange.row(plan.round, p); });
        }
        continue;
      }
      const int64_t row = dataset.row_of(plan.split, plan.ids[static_cast<size_t>(p)]);
      const std::byte* bytes = exchange.row(plan.round, p);
      for (int64_t i = 0; i < width; ++i)
        ASSERT_EQ(static_cast<int64_t>(bytes[i]), (row * width + i) % 251)
            << "round " << plan.round << ", " << p;
      ASSERT_EQ(static_cast<int64_t>(bytes[width]), row % 256);
    }
}

class Rows {
 public:
  explicit Rows(const comm::World& world)
      : scratch(world),
        file(scratch.make("a.h5", {{"x", u8, {samples, width}, ramp(samples * width, 0, 1, 251)},
                                   {"y", u8, {samples}, ramp(samples, 0, 1, 256)}})),
        dataset(world, spec(file)),
        store(world, dataset, shm, nullptr),
        exchange(world, dataset, store, largest, shm) {}
  static DataSpec spec(const std::string& file) {
    DataSpec spec = spec_of(split_of({file}, "x", "y"));
    spec.test = spec.train;
    spec.train->fraction = 0.7;
    spec.test->fraction = 0.3;
    return spec;
  }
  SharedScratch scratch;
  std::string file;
  Dataset dataset;
  SampleStore store;
  RowExchange exchange;
};

TEST(RowExchange, RandomPlansOnAnyNodes) {
  for_each_nodes([](const comm::World& world) {
    Rows setup(world);
    for (int depth = 1; depth <= RowExchange::slots; ++depth) {  // rounds in flight
      std::deque<Plan> flying;
      for (int64_t round = depth * 1000; round < depth * 1000 + 60 || !flying.empty(); ++round) {
        if (round < depth * 1000 + 60) {
          flying.push_back(random_plan(round, setup.dataset, world.nodes()));
          if (world.leads()) setup.exchange.begin(flying.back().rows());
          if (static_cast<int>(flying.size()) < depth) continue;
        }
        if (world.leads()) {
          setup.exchange.progress();
          setup.exchange.finish(flying.front().round, {});
        }
        world.node_barrier();
        check_rows(setup.exchange, flying.front(), setup.dataset, world.node());
        world.node_barrier();
        if (world.leads()) setup.exchange.end(flying.front().round);
        flying.pop_front();
      }
    }
  });
}

TEST(RowExchange, AllocatesNothingPerRound) {
  for_each_nodes([](const comm::World& world) {
    Rows setup(world);
    std::vector<Plan> plans;
    for (int64_t round = 0; round < 60; ++round)
      plans.push_back(random_plan(round, setup.dataset, world.nodes()));
    for (int pass = 0; pass < 2; ++pass) {
      const int64_t count = allocations_of([&] {
        for (Plan& plan : plans) {
          plan.round += 60;
          if (!world.leads()) continue;
          setup.exchange.begin(plan.rows());
          setup.exchange.finish(plan.round, {});
          setup.exchange.end(plan.round);
        }
      });
      if (pass == 1) {
        EXPECT_EQ(count, 0);
      }
    }
  });
}

TEST(RowExchange, MisuseIsABug) {
  const comm::World world(60, 1000);
  Rows setup(world);
  if (!world.leads()) return;
  const Plan plan = random_plan(7, setup.dataset, 1);
  expect_error(Exit::software, "has not begun", [&] { setup.exchange.finish(7, {}); });
  expect_error(Exit::software, "round 7", [&] { setup.exchange.row(7, 0); });
  setup.exchange.begin(plan.rows());
  expect_error(Exit::software, "slot in use",
               [&] { setup.exchange.begin(random_plan(11, setup.dataset, 1).rows()); });
  expect_error(Exit::software, "position", [&] { setup.exchange.row(7, largest); });
  setup.exchange.end(7);
  expect_error(Exit::software, "has not begun", [&] { setup.exchange.end(7); });
}

}  // namespace
}  // namespace lepton::data
