// SPDX-License-Identifier: Apache-2.0
// Splits as sets of rows, and every bad dataset as one agreed error on all ranks.
#include "data/dataset.h"

#include <algorithm>
#include <fstream>
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

TEST(Dataset, WholeArraysAndRanges) {
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
  EXPECT_EQ(dataset.input_shape(), (Shape{1, 2, 3}));
  EXPECT_EQ(dataset.target_kind(), TargetKind::classes);
  EXPECT_EQ(dataset.inputs().front().groups(), 1);
}

TEST(Dataset, FractionsAreDisjointAndBySeed) {
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

TEST(Dataset, FingerprintFollowsTheTrainSplitsArrays) {
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string a =
      scratch.make("a.h5", {{"x", f32, {60, 4}, ramp(240)}, {"z", f32, {60, 4}, ramp(240)}});
  DataSpec spec = spec_of(split_of({a}, "x"));
  const uint64_t alone = Dataset(world, spec).fingerprint();
  spec.test = split_of({a}, "z");
  EXPECT_EQ(Dataset(world, spec).fingerprint(), alone);
  spec.train = split_of({a}, "z");
  EXPECT_NE(Dataset(world, spec).fingerprint(), alone);
}

class BadDatasets : public ::testing::Test {
 protected:
  void expect_refused(Exit code, const std::string& part) {
    expect_agreed(world, code, part, [&] { Dataset(world, spec); });
  }
  comm::World world;
  SharedScratch scratch{world};
  std::string file = scratch.make("a.h5", {{"x", u8, {10, 4}, ramp(40)},
                                           {"y", u8, {10}, ramp(10)},
                                           {"short", u8, {9}, ramp(9)},
                                           {"none", u8, {0, 4}, {}},
                                           {"images", u8, {10, 3, 2, 2}, ramp(120)}});
  DataSpec spec = spec_of(split_of({file}, "x", "y"), true);
};

TEST_F(BadDatasets, Files) {
  spec.train->files = {scratch / "missing.h5"};
  expect_refused(Exit::no_input, "missing.h5");
  spec.train->files = {scratch / "none-*.h5"};
  expect_refused(Exit::no_input, "no file matches");
  if (world.rank() == 0) std::ofstream(scratch / "text.h5") << "not HDF5 at all";
  world.barrier();
  spec.train->files = {scratch / "text.h5"};
  expect_refused(Exit::data, "not an HDF5 file");
  const std::string cut =
      scratch.make("cut.h5", {{"x", f32, {1000, 4}, ramp(4000)}, {"y", u8, {1000}, ramp(1000, 0, 0)}});
  if (world.rank() == 0) std::filesystem::resize_file(cut, std::filesystem::file_size(cut) / 2);
  world.barrier();
  spec.train->files = {cut};
  expect_refused(Exit::data, "truncated");
}

TEST_F(BadDatasets, Arrays) {
  spec.train->inputs.front().values = "X";
  expect_refused(Exit::data, "Did you mean \"x\"?");
  spec.train = split_of({file}, "x", "short");
  expect_refused(Exit::data, "differ in length");
  spec.train = split_of({file}, "none");
  expect_refused(Exit::data, "no rows");
  spec.train = split_of({file}, "x", "y");
  spec.layout = ImageLayout::hwc;
  expect_refused(Exit::data, "needs an array of rank 4");
  spec.layout = ImageLayout::automatic;
  spec.test = split_of({file}, "images", "y");
  expect_refused(Exit::data, "those of another split have [4]");
  spec.test = split_of({file}, "x", "x");
  expect_refused(Exit::data, "differ in kind or number");
}

TEST_F(BadDatasets, Transforms) {
  Transform flip, one_hot;
  flip.kind = Transform::Kind::random_flip;
  one_hot.kind = Transform::Kind::one_hot;
  one_hot.classes = 3;
  spec.train = split_of({file}, "x", "y");
  spec.transforms = {flip};
  expect_refused(Exit::deck, "move points of images and volumes, but the input \"input\" is [4]");
  spec.train = split_of({file}, "images", "y");
  flip.axis = Axis::depth;
  spec.transforms = {flip};
  expect_refused(Exit::deck, "has no depth to be flipped");
  flip.axis = Axis::vertical;
  spec.transforms = {flip};
  spec.train->targets = "images";
  expect_refused(Exit::deck, "away from their targets");
  spec.train->targets = "y";
  spec.transforms = {one_hot};
  expect_refused(Exit::deck, "one class at each place, but samples are [3, 2, 2]");
  spec.train->inputs.front().values = "x";
  spec.normalisation = Normalisation::unit;
  expect_refused(Exit::deck, "one-hot by its transforms, and normalised too");
}

TEST_F(BadDatasets, Splits) {
  spec.train.reset();
  expect_refused(Exit::deck, "no split is given");
  spec.train = split_of({file}, "x", "y");
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

}  // namespace
}  // namespace lepton::data
