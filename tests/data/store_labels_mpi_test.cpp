// SPDX-License-Identifier: Apache-2.0
// What the store takes for targets: ids that are ignored, and numbers of the range that a loss asks for.
#include "data/datasets.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

TEST(StoreLabels, AnIgnoredClassIsNoLabel) {
  for_each_nodes([](const comm::World& world) {
    const SharedScratch scratch(world);
    std::vector<double> labels = ramp(400, 0, 1, 5);  // 100 rows of 4 positions
    for (size_t i = 0; i < labels.size(); i += 7) labels[i] = i % 2 == 0 ? 255 : -100;
    const std::string file =
        scratch.make("a.h5", {{"x", f32, {100, 2}, ramp(200)}, {"y", f32, {100, 2, 2}, labels}});
    const auto fill = [&](std::optional<int64_t> ignored, int64_t classes) {
      DataSpec spec = spec_of(split_of({file}, "x", "y"), true);
      spec.ignored_class = ignored;
      spec.classes = classes;
      Dataset dataset(world, spec);
      SampleStore(world, dataset, shm, nullptr);
      return dataset.outputs();
    };
    expect_agreed(world, Exit::data, "row 0: the label 255 is not a class id: a whole number in [0, 5)",
                  [&] { fill(-100, 5); });
    expect_agreed(world, Exit::data, "row 1: the label -100 is not a class id", [&] { fill(255, 5); });
    expect_agreed(world, Exit::data, "data.ignored_class", [&] { fill(std::nullopt, 0); });
    for (double& label : labels) label = label == 255 ? -100 : label;
    const std::string one =
        scratch.make("b.h5", {{"x", f32, {100, 2}, ramp(200)}, {"y", f32, {100, 2, 2}, labels}});
    DataSpec spec = spec_of(split_of({one}, "x", "y"), true);
    spec.ignored_class = -100;
    Dataset dataset(world, spec);
    SampleStore(world, dataset, shm, nullptr);
    EXPECT_EQ(dataset.outputs(), 5);
  });
}

TEST(StoreLabels, TargetsOfOtherRanges) {
  for_each_nodes([](const comm::World& world) {
    const SharedScratch scratch(world);
    std::vector<double> signs = ramp(100, -1, 2, 2), counts = ramp(100, 0, 0.5, 9);
    const std::string file = scratch.make(
        "a.h5",
        {{"x", f32, {100, 2}, ramp(200)}, {"signs", f32, {100}, signs}, {"counts", f32, {100}, counts}});
    const auto fill = [&](const std::string& targets, TargetRange range) {
      DataSpec spec = spec_of(split_of({file}, "x", targets));
      spec.target_range = range;
      Dataset dataset(world, spec);
      SampleStore(world, dataset, shm, nullptr);
    };
    EXPECT_NO_THROW(fill("signs", TargetRange::sign));
    EXPECT_NO_THROW(fill("counts", TargetRange::not_negative));
    expect_agreed(world, Exit::data, ":counts, row 1: the target 0.5 is no label",
                  [&] { fill("counts", TargetRange::sign); });
    expect_agreed(world, Exit::data, ":signs, row 0: the target -1 is below 0",
                  [&] { fill("signs", TargetRange::not_negative); });
  });
}

}  // namespace
}  // namespace lepton::data
