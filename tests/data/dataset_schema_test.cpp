// SPDX-License-Identifier: Apache-2.0
// What shapes mean, with and without a key that says so; contradictions are refused.
#include "data/dataset_schema.h"

#include "storage/make_hdf5.h"
#include "storage/scratch.h"

namespace lepton::data {
namespace {

using testing::expect_error;

storage::ArrayInfo array(const Shape& shape, storage::StoredType type = testing::u8) {
  const std::string file("a.h5"), path("inputs");
  return {file, path, shape, type, 0, false};
}

TEST(InputSchema, Automatic) {
  const auto check = [](const Shape& stored, const Shape& shape, ImageLayout layout) {
    EXPECT_EQ(input_schema(array(stored), ImageLayout::automatic), (InputSchema{shape, layout}))
        << shape_text(stored);
  };
  check({10}, {1}, ImageLayout::none);
  check({10, 7}, {7}, ImageLayout::none);
  check({10, 28, 30}, {1, 28, 30}, ImageLayout::hw);
  check({10, 3, 32, 31}, {3, 32, 31}, ImageLayout::chw);
  check({10, 32, 31, 3}, {3, 32, 31}, ImageLayout::hwc);
  check({10, 32, 31, 1}, {1, 32, 31}, ImageLayout::hwc);
  check({10, 2, 3, 4, 5}, {120}, ImageLayout::none);
  expect_error(Exit::data, "data.layout", [] {
    input_schema(array({10, 16, 8, 8}), ImageLayout::automatic);
  });
}

TEST(InputSchema, VolumesAndSequences) {
  EXPECT_EQ(input_schema(array({10, 2, 3, 4, 5}), ImageLayout::cdhw),
            (InputSchema{{2, 3, 4, 5}, ImageLayout::cdhw}));
  EXPECT_EQ(input_schema(array({10, 3, 4, 5, 2}), ImageLayout::dhwc),
            (InputSchema{{2, 3, 4, 5}, ImageLayout::dhwc}));
  EXPECT_EQ(input_schema(array({10, 3, 4, 5}), ImageLayout::dhw),
            (InputSchema{{1, 3, 4, 5}, ImageLayout::dhw}));
  EXPECT_EQ(input_schema(array({10, 7}), ImageLayout::sequence), (InputSchema{{7}, ImageLayout::sequence}));
  EXPECT_EQ(input_schema(array({10, 7, 2, 3}), ImageLayout::sequence),
            (InputSchema{{7, 6}, ImageLayout::sequence}));
  for (const ImageLayout layout :
       {ImageLayout::cdhw, ImageLayout::dhwc, ImageLayout::dhw, ImageLayout::sequence}) {
    expect_error(Exit::data, "needs an array of rank", [&] { input_schema(array({10}), layout); });
  }
  expect_error(Exit::deck, "layout = \"sequence\" only", [] {
    ragged_schema(array({10, 7}), ImageLayout::hw);
  });
}

TEST(InputSchema, OneHot) {
  Transform one_hot;
  one_hot.kind = Transform::Kind::one_hot;
  one_hot.classes = 4;
  const auto after = [&](Shape shape, ImageLayout layout) {
    return after_transforms({std::move(shape), layout}, {Transform{}, one_hot}, "a.h5:x");
  };
  EXPECT_EQ(after({1}, ImageLayout::none), (InputSchema{{4}, ImageLayout::none}));
  EXPECT_EQ(after({6}, ImageLayout::none), (InputSchema{{6, 4}, ImageLayout::sequence}));
  EXPECT_EQ(after({6}, ImageLayout::sequence), (InputSchema{{6, 4}, ImageLayout::sequence}));
  EXPECT_EQ(after({1, 5, 6}, ImageLayout::hw), (InputSchema{{4, 5, 6}, ImageLayout::hw}));
  EXPECT_EQ(after({1, 3, 5, 6}, ImageLayout::dhw), (InputSchema{{4, 3, 5, 6}, ImageLayout::dhw}));
  expect_error(Exit::deck, "one class at each place", [&] { after({3, 5, 6}, ImageLayout::chw); });
  expect_error(Exit::deck, "one class at each place", [&] { after({6, 2}, ImageLayout::sequence); });
}

TEST(InputSchema, AfterACrop) {
  Transform crop;
  crop.kind = Transform::Kind::random_crop;
  const auto after = [&](const Shape& shape, const std::vector<int64_t>& size) {
    crop.size = size;
    return after_crop(shape, {Transform{}, crop}, "a.h5:x");
  };
  EXPECT_EQ(after({3, 8, 9}, {}), (Shape{3, 8, 9})) << "moved only";
  EXPECT_EQ(after({3, 8, 9}, {5}), (Shape{3, 5, 5}));
  EXPECT_EQ(after({3, 8, 9}, {8, 4}), (Shape{3, 8, 4}));
  EXPECT_EQ(after({1, 7, 8, 9}, {2, 3, 4}), (Shape{1, 2, 3, 4}));
  EXPECT_EQ(after({20}, {5}), (Shape{20})) << "refused with all random transforms";
  expect_error(Exit::deck, "leave 9 points of a side, samples are [3, 8, 9]", [&] { after({3, 8, 9}, {9}); });
  expect_error(Exit::deck, "a size of 2 sides, samples are [1, 7, 8, 9]", [&] {
    after({1, 7, 8, 9}, {5, 5});
  });
}

TEST(InputSchema, AsTheDeckSays) {
  EXPECT_EQ(input_schema(array({10, 16, 8, 9}), ImageLayout::chw).shape, (Shape{16, 8, 9}));
  EXPECT_EQ(input_schema(array({10, 3, 8, 9}), ImageLayout::hwc).shape, (Shape{9, 3, 8}));
  EXPECT_EQ(input_schema(array({10, 4, 5}), ImageLayout::none).shape, (Shape{20}));
  for (const ImageLayout layout : {ImageLayout::hw, ImageLayout::chw, ImageLayout::hwc})
    expect_error(Exit::data, "needs an array of rank", [&] { input_schema(array({10, 784}), layout); });
}

TargetRules wanting(TargetKind kind, bool needs_classes, int64_t classes = 0) {
  return {.kind = kind, .classes = classes, .needs_classes = needs_classes};
}

TEST(TargetSchema, Automatic) {
  const TargetRules classes = wanting(TargetKind::automatic, true),
                    values = wanting(TargetKind::automatic, false);
  EXPECT_EQ(target_schema(array({10}), classes, {}), (TargetSchema{TargetKind::classes, 0}));
  EXPECT_EQ(target_schema(array({10}, testing::f32), classes, {}), (TargetSchema{TargetKind::classes, 0}));
  EXPECT_EQ(target_schema(array({10, 1}), classes, {}), (TargetSchema{TargetKind::classes, 0}));
  EXPECT_EQ(target_schema(array({10, 5}), classes, {}), (TargetSchema{TargetKind::one_hot, 5}));
  EXPECT_EQ(target_schema(array({10}), values, {}), (TargetSchema{TargetKind::values, 1}));
  EXPECT_EQ(target_schema(array({10, 2, 3}, testing::f32), values, {}),
            (TargetSchema{TargetKind::values, 6}));
  EXPECT_EQ(target_schema(array({10}), wanting(TargetKind::automatic, true, 12), {}).outputs, 12);
}

TEST(TargetSchema, AClassForEachTokenOrPixel) {
  const auto found = [](const storage::ArrayInfo& targets, TargetKind kind) {
    return target_schema(targets, wanting(kind, true), {});
  };
  EXPECT_EQ(found(array({10, 3, 4}), TargetKind::automatic), (TargetSchema{TargetKind::classes, 0, 12}));
  EXPECT_EQ(found(array({10, 3}), TargetKind::classes), (TargetSchema{TargetKind::classes, 0, 3}));
  EXPECT_EQ(found(array({10}), TargetKind::classes), (TargetSchema{TargetKind::classes, 0, 1}));
  storage::ArrayInfo windows = array({10, 3});
  windows.windows = {3, 1, 1, 4};
  EXPECT_EQ(found(windows, TargetKind::automatic), (TargetSchema{TargetKind::classes, 0, 3}));
}

TEST(TargetSchema, Contradictions) {
  expect_error(Exit::deck, "needs class ids",
               [] { target_schema(array({10}), wanting(TargetKind::values, true), {}); });
  expect_error(Exit::data, "one-hot",
               [] { target_schema(array({10}), wanting(TargetKind::one_hot, true), {}); });
  expect_error(Exit::data, "one-hot", [] {
    target_schema(array({10, 3, 4}), wanting(TargetKind::one_hot, true), {});
  });
  expect_error(Exit::data, "data.classes = 4", [] {
    target_schema(array({10, 3}), wanting(TargetKind::one_hot, true, 4), {});
  });
}

}  // namespace
}  // namespace lepton::data
