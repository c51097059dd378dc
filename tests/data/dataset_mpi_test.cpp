// SPDX-License-Identifier: Apache-2.0
// What datasets are, and every bad one as one agreed error on all ranks. (Splits: dataset_splits_mpi_test.)
#include "data/dataset.h"

#include <fstream>

#include "data/datasets.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

TEST(Dataset, ShapesAndKinds) {
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string file = scratch.make("a.h5", {{"x", u8, {10, 2, 3}, ramp(60)}, {"y", u8, {10}, ramp(10)}});
  const Dataset dataset(world, spec_of(split_of({file}, "x", "y"), true));
  EXPECT_EQ(dataset.input_shape(), (Shape{1, 2, 3}));
  EXPECT_EQ(dataset.target_kind(), TargetKind::classes);
  EXPECT_EQ(dataset.inputs().front().groups(), 1);
}

TEST(Dataset, ACropIsTheNetworksInput) {
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string file = scratch.make("a.h5", {{"x", u8, {10, 4, 6, 3}, ramp(720, 0, 1, 250)}});
  DataSpec spec = spec_of(split_of({file}, "x"));
  Transform crop;
  crop.kind = Transform::Kind::random_crop;
  crop.size = {4, 5};
  spec.layout = ImageLayout::hwc;
  spec.transforms = {crop};
  const Dataset dataset(world, spec);
  const Input& input = dataset.inputs().front();
  EXPECT_EQ(dataset.input_shape(), (Shape{3, 4, 5}));
  EXPECT_EQ(dataset.input_elements(), 60);
  EXPECT_EQ(input.whole_shape(), (Shape{3, 4, 6}));
  EXPECT_EQ(input.stored_elements, 72);
  EXPECT_EQ(input.stored_channels(), 3);
  EXPECT_EQ(input.groups(), 3);
  spec.transforms[0].size = {5};
  expect_agreed(world, Exit::deck, "a.h5:x: random_crop is to leave 5 points", [&] { Dataset(world, spec); });
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

}  // namespace
}  // namespace lepton::data
