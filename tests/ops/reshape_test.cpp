// SPDX-License-Identifier: Apache-2.0
// Flatten, Reshape and Identity: every element goes where ONNX's order puts it, and its gradient comes back.
#include <numeric>

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

// Where element `onnx` of a sample lies in memory.
size_t index_in(const Shape& shape, Layout layout, size_t onnx) {
  if (layout == Layout::plain) return onnx;
  const size_t channels = static_cast<size_t>(shape[0]),
               pixels = static_cast<size_t>(element_count(shape)) / channels;
  return onnx % pixels * channels + onnx / pixels;
}

void check_reshape(OpSpec open, const Shape& want) {
  open.samples = 3;
  open.training = true;
  const OpSpec spec = completed(open);
  ASSERT_EQ(spec.output, want);
  check_op(spec, [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    const size_t count = static_cast<size_t>(element_count(want));
    Numbers y(3 * count);
    for (size_t s = 0; s < 3; ++s)
      for (size_t i = 0; i < count; ++i)
        y[s * count + index_in(want, spec.output_layout, i)] =
            inputs[0][s * count + index_in(spec.inputs[0], spec.layouts[0], i)];
    return y;
  });
}

OpSpec identity(const Shape& shape, Layout from, Layout to) {
  return {.type = "Identity", .inputs = {shape}, .layouts = {from}, .output_layout = to};
}

OpSpec flatten(const Shape& input) {
  return {.type = "Flatten", .inputs = {input}};
}
OpSpec reshape(const Shape& input, const Shape& shape) {
  return {.type = "Reshape", .attributes = {{"shape", shape}}, .inputs = {input}};
}

TEST(Flatten, FromChannelsLastToOnnxOrder) {
  check_reshape(flatten({3, 4, 5}), {60});
  check_reshape(flatten({40, 17, 3}), {2040});
  check_reshape(flatten({1, 4, 5}), {20});
  check_reshape(flatten({7, 1, 1}), {7});
  check_reshape(flatten({6}), {6});
  check_reshape(flatten({2, 6}), {12});
}

TEST(Reshape, ThroughOnnxOrder) {
  check_reshape(reshape({60}, {3, 4, 5}), {3, 4, 5});
  check_reshape(reshape({3, 4, 5}, {5, 3, 4}), {5, 3, 4});
  check_reshape(reshape({3, 4, 5}, {3, 2, 10}), {3, 2, 10});
  check_reshape(reshape({3, 4, 5}, {12, 5}), {12, 5});
  check_reshape(reshape({3, 4, 5}, {0, -1}), {3, 20});
  check_reshape(reshape({1, 4, 5}, {2, 2, 5}), {2, 2, 5});
  check_reshape(reshape({20, 1, 1}, {20}), {20});
}

TEST(Identity, BringsOneLayoutToTheOther) {
  for (const Shape& shape : {Shape{3, 4, 5}, Shape{2, 7}, Shape{3, 2, 3, 4}}) {
    check_reshape(identity(shape, Layout::plain, Layout::channels_last), shape);
    check_reshape(identity(shape, Layout::channels_last, Layout::plain), shape);
  }
}

TEST(Identity, IsTheInput) {
  check_reshape(identity({3, 4, 5}, Layout::channels_last, Layout::channels_last), {3, 4, 5});
}

TEST(Reshape, InPlaceWhereMemoryStays) {
  const auto in_place = [](OpSpec spec) {
    spec.samples = 2;
    return make_op(completed(spec))->in_place();
  };
  EXPECT_TRUE(in_place(flatten({1, 4, 5})));
  EXPECT_TRUE(in_place(flatten({7, 1, 1})));
  EXPECT_TRUE(in_place(reshape({60}, {3, 4, 5})));
  EXPECT_TRUE(in_place(identity({1, 4, 5}, Layout::plain, Layout::channels_last)));
  EXPECT_FALSE(in_place(identity({3, 4, 5}, Layout::plain, Layout::channels_last)));
  EXPECT_TRUE(in_place(identity({3, 4, 5}, Layout::channels_last, Layout::channels_last)));
  EXPECT_FALSE(in_place(flatten({3, 4, 5})));
  EXPECT_FALSE(in_place(reshape({3, 4, 5}, {5, 3, 4})));
}

TEST(Reshape, RefusesWhatDoesNotFit) {
  expect_refused(reshape({3, 4, 5}, {7, 9}), "[7, 9] does not fit the input [3, 4, 5]");
  expect_refused(reshape({3, 4, 5}, {7, -1}), "does not fit");
  expect_refused(reshape({3, 4, 5}, {-1, -1}), "one -1");
  expect_refused(reshape({3, 4, 5}, {-5, 12}), "positive");
  expect_refused({.type = "Reshape", .inputs = {{4}}}, "needs a shape");
  OpSpec spec = flatten({3, 4, 5});
  spec.attributes["axis"] = int64_t{2};
  expect_refused(spec, "axis = 1");
}

}  // namespace
}  // namespace lepton::ops
