// SPDX-License-Identifier: Apache-2.0
// What makes a row a bad one: stored numbers, or what transforms make of them.
#include "data/input_check.h"

#include <gtest/gtest.h>

#include <cmath>

#include "data/stored_rows.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

Source checked_source(const StoredType& type, int64_t width) {
  Source source;
  source.inputs.push_back({"x", {{"f", "x", {1, width}, type}}});
  return source;
}

Input input_of(int64_t width, const std::vector<Transform>& transforms = {}) {
  Input input;
  input.shape = {width};
  input.stored_elements = width;
  input.rules.transforms = transforms;
  return input;
}

TEST(InputCheck, StoredNumbers) {
  InputCheck plain(checked_source(f64, 2), input_of(2));
  Input normalised = input_of(2);
  normalised.rules.normalisation = Normalisation::unit;
  InputCheck wide(checked_source(f64, 2), normalised);
  EXPECT_TRUE(plain.good(stored_bytes(f64, {1, 2}).data()));
  EXPECT_FALSE(plain.good(stored_bytes(f64, {1, 1e300}).data())) << "no float32";
  EXPECT_TRUE(wide.good(stored_bytes(f64, {1, 1e300}).data())) << "normalisation is in double";
  EXPECT_FALSE(wide.good(stored_bytes(f64, {1, std::nan("")}).data()));
}

TEST(InputCheck, WhatTransformsMakeOfThem) {
  Transform log1p, clip, one_hot;
  clip.kind = Transform::Kind::clip;
  clip.low = 0;
  clip.high = 9;
  one_hot.kind = Transform::Kind::one_hot;
  one_hot.classes = 3;
  const auto good = [](const std::vector<Transform>& transforms, double value, Shape shape = {1}) {
    Input input = input_of(1, transforms);
    input.shape = std::move(shape);
    return InputCheck(checked_source(f32, 1), input).good(stored_bytes(f32, {value}).data());
  };
  EXPECT_TRUE(good({log1p}, -0.5));
  EXPECT_FALSE(good({log1p}, -1));
  EXPECT_FALSE(good({log1p}, -3));
  EXPECT_TRUE(good({clip, log1p}, -3)) << "in order";
  EXPECT_FALSE(good({log1p, clip}, -3));
  EXPECT_TRUE(good({one_hot}, 2, {3}));
  EXPECT_FALSE(good({one_hot}, 3, {3}));
}

TEST(InputCheck, NumbersOfRows) {
  Transform clip;
  clip.kind = Transform::Kind::clip;
  clip.low = 0;
  clip.high = 4;
  Input input = input_of(2);
  input.table_rows = 5;
  const std::vector<std::byte> bytes = stored_bytes(i32, {4, 7});
  const auto wrong = [&] { return InputCheck(checked_source(i32, 2), input).wrong_number(bytes.data()); };
  ASSERT_TRUE(wrong());
  EXPECT_EQ(wrong()->value, 7);
  EXPECT_EQ(wrong()->rows, 5);
  input.rules.transforms = {clip};
  EXPECT_FALSE(wrong());
  input.table_rows = 0;
  EXPECT_FALSE(wrong()) << "any numbers";
  input.rules.transforms.clear();
  for (const auto& [columns, found] :
       std::map<std::vector<int64_t>, double>{{{5, 8}, -1}, {{0, 7}, 7}, {{4, 8}, 4}, {{5, 0}, -1}}) {
    input.column_rows = columns;
    EXPECT_EQ(wrong() ? wrong()->value : -1, found) << columns[0];
  }
}

TEST(InputCheck, TheTextNamesTransforms) {
  EXPECT_EQ(bad_row_text(input_of(1)), "the row holds NaN or Inf");
  EXPECT_NE(bad_row_text(input_of(1, {Transform{}})).find("log1p"), std::string::npos);
}

}  // namespace
}  // namespace lepton::data
