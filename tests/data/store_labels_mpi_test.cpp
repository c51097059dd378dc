// SPDX-License-Identifier: Apache-2.0
// What the store takes for targets: ids that are ignored, and numbers of the range that a loss asks for.
#include <limits>

#include "data/assembler.h"
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

TEST(StoreLabels, SeveralTargetsEachWithItsRules) {
  for_each_nodes([](const comm::World& world) {
    const SharedScratch scratch(world);
    std::vector<double> kinds = ramp(100, 0, 1, 3), shares = ramp(100, 0, 0.25, 5);
    const auto fill = [&](const std::vector<double>& second, const char* name) {
      const std::string file = scratch.make(
          name,
          {{"x", f32, {100, 2}, ramp(200)}, {"kinds", u8, {100}, kinds}, {"shares", f32, {100}, second}});
      DataSpec spec = spec_of(split_of({file}, "x", ""));
      spec.train->named_targets = {{"kind", "kinds"}, {"share", "shares"}};
      spec.targets = {{.name = "share", .kind = TargetKind::values, .range = TargetRange::probability},
                      {.name = "kind", .needs_classes = true}};
      Dataset dataset(world, spec);
      const SampleStore store(world, dataset, shm, nullptr);
      ASSERT_EQ(dataset.targets().size(), 2u);
      EXPECT_EQ(dataset.targets()[0].outputs, 1) << "in the order of the rules";
      EXPECT_EQ(dataset.targets()[1].kind, TargetKind::classes);
      EXPECT_EQ(dataset.targets()[1].outputs, 3);
      const Assembler assembler(dataset, 0, {});
      if (store.owner(0, 5) != world.machine()) return;
      const std::byte* const rows[] = {store.row(0, 5)};
      std::vector<float> values(1), inputs(2);
      std::vector<int32_t> classes(1);
      assembler.inputs(rows, nullptr, inputs);
      assembler.values(rows, values, 0);
      assembler.classes(rows, classes, 1);
      EXPECT_EQ(inputs[1], 11);
      EXPECT_EQ(values[0], static_cast<float>(second[5]));
      EXPECT_EQ(classes[0], 2);
    };
    fill(shares, "a.h5");
    shares[7] = 1.5;
    expect_agreed(world, Exit::data, ":shares, row 7: the target 1.5 is not in [0, 1]",
                  [&] { fill(shares, "b.h5"); });
    shares[7] = std::numeric_limits<double>::infinity();
    expect_agreed(world, Exit::data, ":shares, row 7: the row holds NaN or Inf",
                  [&] { fill(shares, "c.h5"); });
    kinds[7] = 200;  // in a row that is left out for another of its targets
    const std::string file = scratch.make(
        "d.h5",
        {{"x", f32, {100, 2}, ramp(200)}, {"kinds", u8, {100}, kinds}, {"shares", f32, {100}, shares}});
    DataSpec spec = spec_of(split_of({file}, "x", ""));
    spec.bad_rows = BadRows::skip;
    spec.train->named_targets = {{"kind", "kinds"}, {"share", "shares"}};
    spec.targets = {{.name = "kind", .needs_classes = true}, {.name = "share", .kind = TargetKind::values}};
    Dataset dataset(world, spec);
    const SampleStore store(world, dataset, shm, nullptr);
    EXPECT_EQ(dataset.targets()[0].outputs, 3);
    EXPECT_EQ(dataset.split(SplitKind::train).samples, 99);
  });
}

}  // namespace
}  // namespace lepton::data
