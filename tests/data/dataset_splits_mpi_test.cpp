// SPDX-License-Identifier: Apache-2.0
// Splits as sets of rows: whole arrays, ranges, shares, lists and masks; what lists leave out is not looked
// at; which rows splits may share. The same on all ranks.
#include <algorithm>
#include <cmath>
#include <set>

#include "data/datasets.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

std::vector<int64_t> rows_of(const Dataset& dataset, SplitKind kind) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < dataset.split(kind).samples; ++i) rows.push_back(dataset.row_of(kind, i));
  for (int64_t row = 0; row < dataset.sources()[static_cast<size_t>(dataset.split(kind).source)].rows();
       ++row)
    EXPECT_EQ(dataset.contains(kind, row), std::find(rows.begin(), rows.end(), row) != rows.end()) << row;
  return rows;
}

TEST(DatasetSplits, WholeArraysAndRanges) {
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string file = scratch.make("a.h5", {{"x", u8, {10, 2, 3}, ramp(60)}, {"y", u8, {10}, ramp(10)}});
  DataSpec spec = spec_of(split_of({file}, "x", "y"), true);
  spec.train->rows = {0, 7};
  spec.test = split_of({file}, "x", "y");
  spec.test->rows = {7, 9};
  const Dataset dataset(world, spec);
  EXPECT_EQ(dataset.sources().size(), 1u);
  EXPECT_EQ(dataset.sources()[0].used_end, 9);
  EXPECT_EQ(rows_of(dataset, SplitKind::train), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(rows_of(dataset, SplitKind::test), (std::vector<int64_t>{7, 8}));
  EXPECT_FALSE(dataset.has(SplitKind::validation));
}

TEST(DatasetSplits, FractionsAreDisjointAndBySeed) {
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string a = scratch.make("a.h5", {{"x", f32, {60, 4}, ramp(240)}});
  const std::string b = scratch.make("b.h5", {{"x", f32, {41, 4}, ramp(164)}});
  DataSpec spec = spec_of(split_of({a, b}, "x"));
  spec.validation = spec.test = spec.train;
  spec.train->fraction = 0.8;
  spec.validation->fraction = spec.test->fraction = 0.1;
  const Dataset dataset(world, spec);
  std::set<int64_t> all;
  size_t count = 0;
  for (const SplitKind kind : all_splits) {
    const auto rows = rows_of(dataset, kind);
    all.insert(rows.begin(), rows.end());
    count += rows.size();
  }
  EXPECT_EQ(count, 101u);
  EXPECT_EQ(all.size(), 101u);
  EXPECT_EQ(dataset.split(SplitKind::train).samples, 81);
  spec.seed = 12;
  EXPECT_NE(rows_of(Dataset(world, spec), SplitKind::train), rows_of(dataset, SplitKind::train));
}

TEST(DatasetSplits, ImpossibleParts) {
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string file = scratch.make("a.h5", {{"x", u8, {10, 4}, ramp(40)}, {"y", u8, {10}, ramp(10)}});
  DataSpec spec;
  const auto expect_refused = [&](Exit code, const std::string& part) {
    expect_agreed(world, code, part, [&] { Dataset(world, spec); });
  };
  spec.position = SourcePosition{"deck.toml", 3, 1};
  expect_refused(Exit::deck, "no split is given");
  spec = spec_of(split_of({file}, "x", "y"), true);
  for (const auto& [from, to] : {std::pair(-1, 3), std::pair(3, 3), std::pair(5, 11)}) {
    spec.train->rows = {from, to};
    expect_refused(Exit::deck, "deck.toml:4:1: train.rows");
  }
  spec.train->rows.reset();
  spec.test = spec.train;
  spec.test->fraction = 0.2;
  expect_refused(Exit::deck, "mix fractions with whole arrays");
  spec.train->fraction = 0.9;
  expect_refused(Exit::deck, "more than 1");
  spec.train->fraction = 0;
  expect_refused(Exit::deck, "not in (0, 1]");
  spec.train->fraction = 0.8;
  spec.train->rows = {0, 5};
  expect_refused(Exit::deck, "rows or a fraction, not both");
  spec.train->rows.reset();
  spec.test->fraction = 0.01;
  expect_refused(Exit::data, "the test split has no rows");
}

/// 12 rows in two files; those of no split hold NaN and labels that are none.
class ListedSplits : public ::testing::Test {
 protected:
  std::string make(const std::string& name, double first, const std::vector<double>& train,
                   const std::vector<double>& test, const std::vector<double>& unused) {
    std::vector<double> x = ramp(12, first * 10), y = ramp(6, 0, 1, 3), mask(6, 0);
    for (const double row : unused) {
      x[static_cast<size_t>(row) * 2] = std::nan("");
      y[static_cast<size_t>(row)] = 200;
    }
    for (const double row : test) mask[static_cast<size_t>(row)] = 1;
    std::vector<double> sorted = train, other = mask;
    std::sort(sorted.begin(), sorted.end());
    if (test.size() > 1) other[static_cast<size_t>(test[0])] = 0;
    const auto listed = static_cast<int64_t>(train.size());
    return scratch.make(name, {{"x", f32, {6, 2}, x},
                               {"y", u8, {6}, y},
                               {"train", i32, {listed}, train},
                               {"test", u8, {6}, mask},
                               {"sorted", i32, {listed}, sorted},
                               {"fewer", i32, {1}, {train.back()}},
                               {"other", u8, {6}, other},
                               {"clash", i32, {2}, {4, train.back()}}});
  }
  DataSpec lists() const {
    DataSpec spec = spec_of(split_of(files, "x", "y"), true);
    spec.test = spec.train;
    spec.train->indices = "train";
    spec.test->mask = "test";
    return spec;
  }
  comm::World world;
  SharedScratch scratch{world};
  const std::vector<std::string> files = {make("a.h5", 0, {5, 1, 2}, {4}, {0, 3}),
                                          make("b.h5", 6, {3, 0}, {1, 2}, {4, 5})};
};

TEST_F(ListedSplits, SamplesAreTheirRowsInAscendingOrder) {
  const Dataset dataset(world, lists());
  EXPECT_EQ(dataset.sources().size(), 1U) << "rows are in memory once";
  EXPECT_EQ(rows_of(dataset, SplitKind::train), (std::vector<int64_t>{1, 2, 5, 6, 9}));
  EXPECT_EQ(rows_of(dataset, SplitKind::test), (std::vector<int64_t>{4, 7, 8}));
  EXPECT_EQ(dataset.sources()[0].used_begin, 1);
  EXPECT_EQ(dataset.sources()[0].used_end, 10);
}

TEST_F(ListedSplits, RowsOfNoSplitAreNotLookedAt) {
  DataSpec spec = lists();
  spec.normalisation = Normalisation::standardize;
  Dataset dataset(world, spec);
  const SampleStore store(world, dataset, shm, nullptr);
  EXPECT_EQ(dataset.outputs(), 3) << "not 201";
  EXPECT_EQ(store.statistics().count, 5) << "of the train split's rows";
  EXPECT_NEAR(store.statistics().mean[0], (2 + 4 + 10 + 60 + 66) / 5.0, 1e-12);
  spec.train = split_of(files, "x", "y");  // all rows
  Dataset all(world, spec);
  expect_agreed(world, Exit::data, "a.h5:x, row 0: the row holds NaN",
                [&] { SampleStore(world, all, shm, nullptr); });
}

TEST_F(ListedSplits, BadRowsAreTakenOut) {
  DataSpec spec = lists();
  spec.bad_rows = BadRows::skip;
  spec.test->mask = "";
  spec.test->rows = {0, 1};
  spec.test->files = {make("c.h5", 0, {5, 1, 2}, {4}, {1, 5})};
  spec.train->files = spec.test->files;
  Dataset dataset(world, spec);
  const SampleStore store(world, dataset, shm, nullptr);
  EXPECT_EQ(rows_of(dataset, SplitKind::train), std::vector<int64_t>{2});
  EXPECT_EQ(rows_of(dataset, SplitKind::test), std::vector<int64_t>{0});
  const std::string none = make("d.h5", 0, {5, 1}, {4}, {1, 5});
  spec = lists();
  spec.bad_rows = BadRows::skip;
  spec.train->files = spec.test->files = {none};
  Dataset empty(world, spec);
  expect_agreed(world, Exit::data, "the train split has no rows",
                [&] { SampleStore(world, empty, shm, nullptr); });
}

TEST_F(ListedSplits, TrainedRowsAreNotInOtherSplits) {
  const auto expect_refused = [&](const DataSpec& spec, const std::string& part) {
    expect_agreed(world, Exit::data, part, [&] { Dataset(world, spec); });
  };
  DataSpec spec = lists();
  spec.test->mask = "";
  spec.test->indices = "clash";
  expect_refused(spec, "a.h5:x, row 2: the test split has 2 rows that the train split has too");
  spec.test->targets = "other";
  expect_refused(spec, "the test split has 2 rows that the train split has too");
  spec.ignored_class = 9;  // each split counts other positions of the same samples
  EXPECT_NO_THROW(Dataset(world, spec));
  spec.ignored_class.reset();
  spec.test->targets = "y";
  spec.validation = spec.test;
  spec.test.reset();
  expect_refused(spec, "the validation split has 2 rows");
  spec.validation->indices = "";
  spec.validation->rows = {6, 7};
  expect_refused(spec, "b.h5:x, row 0: the validation split has 1 row that");
  spec.validation->rows = {10, 12};
  EXPECT_NO_THROW(Dataset(world, spec));
  spec.validation->rows.reset();  // all of it: a warning, as without lists
  EXPECT_NO_THROW(Dataset(world, spec));
  spec.validation->fraction = 0.1;
  expect_agreed(world, Exit::deck, "mix fractions", [&] { Dataset(world, spec); });
  spec = lists();
  spec.validation = spec.test;
  spec.validation->mask = "";
  spec.validation->indices = "clash";
  spec.train.reset();
  EXPECT_NO_THROW(Dataset(world, spec)) << "these two may";
}

TEST_F(ListedSplits, TheFingerprintKnowsTheRows) {
  const auto of_store = [&](const std::string& train, const std::string& test) {
    DataSpec spec = lists();
    spec.train->indices = train;
    spec.test->mask = test;
    Dataset dataset(world, spec);
    const uint64_t before = dataset.fingerprint();
    const SampleStore store(world, dataset, shm, nullptr);
    return std::pair(before, dataset.fingerprint());
  };
  const auto lists = of_store("train", "test"), same = of_store("sorted", "test"),
             fewer = of_store("fewer", "test"), other = of_store("train", "other");
  EXPECT_EQ(same, lists) << "their order says nothing";
  EXPECT_NE(fewer.first, lists.first);
  EXPECT_NE(other.first, lists.first);
  EXPECT_NE(fewer.second, lists.second);
}

}  // namespace
}  // namespace lepton::data
