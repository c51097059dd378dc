// SPDX-License-Identifier: Apache-2.0
// Attributes of Slice, Pad and Resize: shapes, axes that are joined, refusals.
#include "ops/placed.h"
#include "ops/remap.h"

namespace lepton::ops {
namespace {

using namespace testing;
using List = std::vector<int64_t>;

OpSpec remap_of(const char* type, const Shape& input, Attributes attributes, Layout layout = Layout::plain) {
  return {.type = type,
          .attributes = std::move(attributes),
          .samples = 2,
          .inputs = {input},
          .layouts = {layout}};
}

TEST(RemapShape, AxesThatStayAreJoined) {
  const Attributes attributes = {{"axes", List{2}}, {"pads", List{1, 1}}, {"constant_value", 0.5}};
  const Remap last = remap_of(remap_of("Pad", {3, 4, 5}, attributes, Layout::channels_last));
  ASSERT_EQ(last.axes, 3);
  EXPECT_EQ(last.rule[0].in, 2);
  EXPECT_EQ(last.rule[1].out, 6);
  EXPECT_EQ(last.rule[2].in, 15);
  EXPECT_EQ(last.value, 0.5f);
  EXPECT_EQ(last.out_count, 180);
  const Remap plain = remap_of(remap_of("Pad", {3, 4, 5}, attributes));
  ASSERT_EQ(plain.axes, 3);
  EXPECT_EQ(plain.rule[0].in, 6);
  EXPECT_EQ(plain.rule[2].in, 5);
}

TEST(RemapShape, Slices) {
  const auto shape = [](const Shape& input, List starts, List ends, List axes, List steps) {
    return infer_remap(
        remap_of("Slice", input, {{"starts", starts}, {"ends", ends}, {"axes", axes}, {"steps", steps}}));
  };
  EXPECT_EQ(shape({7, 5}, {1, -2}, {100, INT64_MAX}, {1, 2}, {2, 1}), (Shape{3, 2}));
  EXPECT_EQ(shape({7, 5}, {100}, {INT64_MIN}, {1}, {-3}), (Shape{3, 5}));
  EXPECT_EQ(shape({7}, {0}, {7}, {-1}, {INT64_MAX}), (Shape{1}));
  EXPECT_EQ(infer_remap(remap_of("Slice", {7}, {{"starts", List{2}}, {"ends", List{4}}, {"axes", List{1}}})),
            (Shape{2}));
}

TEST(RemapShape, RefusedSlices) {
  Attributes good = {{"starts", List{1}}, {"ends", List{2}}, {"axes", List{1}}};
  const auto with = [&](const char* name, const List& value) {
    Attributes attributes = good;
    attributes[name] = value;
    return remap_of("Slice", {4, 5}, attributes);
  };
  expect_refused(with("ends", {1}), "leaves nothing");
  expect_refused(with("steps", {0}), "steps of 0");
  expect_refused(with("axes", {0}), "no axes 0");
  expect_refused(with("axes", {1, 2}), "as many starts");
  good.erase("axes");
  expect_refused(remap_of("Slice", {4}, good), "needs axes");
  good = {{"starts", List{1, 1}}, {"ends", List{2, 2}}, {"axes", List{1, -2}}};
  expect_refused(remap_of("Slice", {4, 5}, good), "axis twice");
}

TEST(RemapShape, RefusedPads) {
  expect_refused(remap_of("Pad", {4}, {{"pads", List{1, 0, 0, 0}}}), "samples to the batch");
  expect_refused(remap_of("Pad", {4}, {{"pads", List{1, 0}}}), "are not 4 numbers");
  expect_refused(remap_of("Pad", {4}, {{"axes", List{1}}, {"pads", List{-2, -2}}}), "leaves nothing");
  expect_refused(
      remap_of("Pad", {4}, {{"axes", List{1}}, {"pads", List{4, 0}}, {"mode", std::string("reflect")}}),
      "cannot reflect more");
  expect_refused(
      remap_of("Pad", {4}, {{"axes", List{1}}, {"pads", List{1, 0}}, {"mode", std::string("wrap")}}),
      "no mode \"wrap\"");
}

TEST(RemapShape, RefusedResizes) {
  const Attributes good = {{"sizes", List{1, 4}}};
  const auto with = [&](const char* name, const Attribute& value) {
    Attributes attributes = good;
    attributes[name] = value;
    return remap_of("Resize", {4}, attributes);
  };
  EXPECT_EQ(infer_remap(with("sizes", List{1, 6})), (Shape{6}));
  expect_refused(with("mode", std::string("cubic")), "no mode \"cubic\": there are nearest and linear");
  expect_refused(with("antialias", int64_t{1}), "no antialias");
  expect_refused(with("coordinate_transformation_mode", std::string("tf_crop_and_resize")),
                 "no coordinate_transformation_mode");
  expect_refused(with("nearest_mode", std::string("up")), "no nearest_mode \"up\"");
  expect_refused(with("scales", std::vector<double>{1, 2}), "either scales or sizes");
  expect_refused(with("sizes", List{4}), "needs 2 sizes");
  expect_refused(with("sizes", List{2, 4}), "cannot change the batch");
  expect_refused(with("sizes", List{1, 0}), "leaves nothing");
  expect_refused(remap_of("Resize", {4}, {{"scales", List{2, 4}}}), "cannot change the batch");
  expect_refused(remap_of("Resize", {4}, {{"scales", std::string("2")}}), "must be a list of numbers");
}

}  // namespace
}  // namespace lepton::ops
