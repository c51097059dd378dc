// SPDX-License-Identifier: Apache-2.0
// For tests of how rows reach the nodes that compute them: a dataset whose rows can be told apart, random
// plans of rounds, and whether a node has the rows of a unit.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/datasets.h"
#include "data/exchange.h"

namespace lepton::data {

inline constexpr int64_t samples = 500, width = 9, largest = 120;
inline constexpr int64_t row_bytes = width + 2;  ///< a second input and the target

struct Plan {
  int64_t round = 0;
  SplitKind split = SplitKind::train;
  std::vector<int64_t> ids, begins;
  std::vector<int> nodes;
  int64_t begin(int32_t unit) const { return begins[static_cast<size_t>(unit)]; }
  RoundRows rows() const { return {round, split, ids, begins, nodes}; }
};

/// The same on every rank.
inline Plan random_plan(int64_t round, const Dataset& dataset, int nodes) {
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

/// Value i of the first input of row r is (r * width + i) % 251, its second input (r + 7) % 256 and its
/// target r % 256.
class Rows {
 public:
  explicit Rows(const comm::World& world)
      : scratch(world),
        file(scratch.make("a.h5",
                          {{"x", testing::u8, {samples, width}, testing::ramp(samples * width, 0, 1, 251)},
                           {"z", testing::u8, {samples}, second()},
                           {"y", testing::u8, {samples}, testing::ramp(samples, 0, 1, 256)}})),
        dataset(world, spec(file)),
        store(world, dataset, testing::shm, nullptr),
        exchange(world, dataset, store, largest, testing::shm) {}
  static std::vector<double> second() {
    const std::vector<double> all = testing::ramp(samples + 7, 0, 1, 256);
    return {all.begin() + 7, all.end()};
  }
  static DataSpec spec(const std::string& file) {
    DataSpec spec = testing::spec_of(testing::split_of({file}, "x", "y"));
    spec.train->inputs.push_back({"second", "z"});
    spec.test = spec.train;
    spec.train->fraction = 0.7;
    spec.test->fraction = 0.3;
    return spec;
  }
  int64_t row_of(const Plan& plan, int64_t position) const {
    return dataset.row_of(plan.split, plan.ids[static_cast<size_t>(position)]);
  }
  int owner(const Plan& plan, int64_t position) const {
    return store.owner(dataset.split(plan.split).source, row_of(plan, position));
  }
  /// How many rows of a unit `machine` does not hold.
  int64_t foreign(const Plan& plan, int32_t unit, int machine) const {
    int64_t rows = 0;
    for (int64_t p = plan.begin(unit); p < plan.begin(unit + 1); ++p) rows += owner(plan, p) != machine;
    return rows;
  }
  /// The rows of a unit are this node's to read, with their own bytes, in place where its machine holds them.
  void check_unit(const comm::World& world, const Plan& plan, int32_t unit) const {
    for (int64_t p = plan.begin(unit); p < plan.begin(unit + 1); ++p) {
      const int64_t row = row_of(plan, p);
      const std::byte* bytes = exchange.row(plan.round, p);
      for (int64_t i = 0; i < width; ++i)
        ASSERT_EQ(static_cast<int64_t>(bytes[i]), (row * width + i) % 251)
            << "round " << plan.round << ", " << p;
      ASSERT_EQ(static_cast<int64_t>(bytes[width]), (row + 7) % 256);
      ASSERT_EQ(static_cast<int64_t>(bytes[width + 1]), row % 256);
      if (owner(plan, p) == world.machine()) {
        ASSERT_EQ(bytes, store.row(dataset.split(plan.split).source, row)) << "not read in place";
      }
    }
  }
  /// The unit never was this node's.
  void check_elsewhere(const Plan& plan, int32_t unit) const {
    testing::expect_error(Exit::software, "another node",
                          [&] { exchange.row(plan.round, plan.begin(unit)); });
  }
  testing::SharedScratch scratch;
  std::string file;
  Dataset dataset;
  SampleStore store;
  RowExchange exchange;
};

}  // namespace lepton::data
