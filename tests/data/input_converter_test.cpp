// SPDX-License-Identifier: Apache-2.0
// One input of rows that hold others too. (All types, layouts and normalisations: assembler_mpi_test.)
#include "data/input_converter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "data/stored_rows.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

std::vector<const std::byte*> pointers(const std::vector<std::byte>& bytes, size_t row_bytes) {
  std::vector<const std::byte*> rows;
  for (size_t at = 0; at < bytes.size(); at += row_bytes) rows.push_back(bytes.data() + at);
  return rows;
}

Input input_of(Shape shape, Normalisation normalisation, const std::vector<Transform>& transforms = {}) {
  Input input;
  input.shape = std::move(shape);
  input.stored_elements = input.elements();
  input.rules.normalisation = normalisation;
  input.rules.transforms = transforms;
  return input;
}

/// One column of this type and width behind `before` bytes.
Source source_of(const StoredType& type, int64_t width, int64_t before = 0) {
  Source source;
  source.inputs.push_back({"before", {{"f", "b", {1, before}, u8}}});
  source.inputs.push_back({"x", {{"f", "x", {1, width}, type}}});
  return source;
}
Input second(Input input) {
  input.column = 1;
  return input;
}

constexpr auto as_is = Normalisation::none;

Transform of(Transform::Kind kind) {
  Transform transform;
  transform.kind = kind;
  return transform;
}

TEST(InputConverter, AtItsPlaceInTheRow) {
  // Three odd bytes before it: values need no alignment.
  std::vector<std::byte> bytes;
  for (const double row : {0.0, 1.0}) {
    for (const auto& part : {stored_bytes(u8, {9, 9, 9}), stored_bytes(f32, {10 + row, 20 + row})})
      bytes.insert(bytes.end(), part.begin(), part.end());
  }
  const InputConverter converter(source_of(f32, 2, 3), second(input_of({2}, as_is)), {}, 0);
  std::vector<float> values(4);
  converter.convert(pointers(bytes, 11), nullptr, values);
  EXPECT_EQ(values, (std::vector<float>{10, 20, 11, 21}));
}

Statistics three_groups() {
  Statistics statistics;
  statistics.mean = {100, 1, 2};
  statistics.deviation = {100, 2, 4};
  statistics.minimum = {-50, 2, 4};
  statistics.maximum = {900, 3, 12};
  return statistics;
}

TEST(InputConverter, GroupsOfItsOwn) {
  const std::vector<std::byte> bytes = stored_bytes(u8, {3, 8});
  std::vector<float> values(2);
  const auto convert = [&](Normalisation kind) {
    InputConverter(source_of(u8, 2), second(input_of({2}, kind)), three_groups(), 1)
        .convert(pointers(bytes, 2), nullptr, values);
  };
  convert(Normalisation::standardize);
  EXPECT_EQ(values, (std::vector<float>{1, 1.5}));
  convert(Normalisation::unit);
  EXPECT_NEAR(static_cast<double>(values[1]), 0.6, 1e-7) << "by the range of all its groups, 2 to 12";
}

TEST(InputConverter, TransformsThenNormalisation) {
  Transform scale = of(Transform::Kind::scale), clip = of(Transform::Kind::clip);
  scale.factor = 2;
  clip.low = 0;
  clip.high = 10;
  const std::vector<std::byte> bytes = stored_bytes(i32, {3, 8});
  std::vector<float> values(2);
  const auto convert = [&](const std::vector<Transform>& list) {
    InputConverter(source_of(i32, 2), second(input_of({2}, Normalisation::standardize, list)), three_groups(),
                   1)
        .convert(pointers(bytes, 8), nullptr, values);
    return values;
  };
  EXPECT_EQ(convert({scale, clip}), (std::vector<float>{2.5, 2}));
  EXPECT_EQ(convert({clip, scale}), (std::vector<float>{2.5, 3.5}));
}

/// A row of the two steps {1, 2}, {3, 4} and one of padding, with its length.
std::vector<std::byte> ragged_row() {
  std::vector<std::byte> bytes = stored_bytes(u8, {1, 2, 3, 4, 0, 0});
  const std::vector<std::byte> length = stored_bytes(i32, {2});
  bytes.insert(bytes.end(), length.begin(), length.end());
  return bytes;
}
Source ragged_source() {
  Source source = source_of(u8, 6);
  source.inputs[1].arrays[0].shape = {1, 3, 2};
  source.inputs[1].extents.push_back({"f", "l", {1}, i32});
  source.inputs[1].length = 3;
  return source;
}
Input ragged_input(Normalisation normalisation, const std::vector<Transform>& transforms = {}) {
  Input input = second(input_of({3, 2}, normalisation, transforms));
  input.layout = ImageLayout::sequence;
  input.ragged = true;
  return input;
}

TEST(InputConverter, PaddingStaysZero) {
  Transform scale = of(Transform::Kind::scale);
  scale.offset = 10;
  const std::vector<std::byte> row = ragged_row();
  std::vector<float> values(6);
  const auto convert = [&](const Input& input) {
    InputConverter(ragged_source(), input, three_groups(), 1).convert(pointers(row, 10), nullptr, values);
    return values;
  };
  EXPECT_EQ(convert(ragged_input(as_is)), (std::vector<float>{1, 2, 3, 4, 0, 0}));
  EXPECT_EQ(convert(ragged_input(as_is, {scale})), (std::vector<float>{11, 12, 13, 14, 0, 0}));
  EXPECT_EQ(convert(ragged_input(Normalisation::standardize)), (std::vector<float>{0, 0, 1, 0.5, 0, 0}))
      << "a group for each feature of a step";
  Input lengths;
  lengths.column = 1;
  lengths.lengths = true;
  lengths.shape = {1};
  lengths.stored_elements = 1;
  std::vector<float> length(1);
  InputConverter(ragged_source(), lengths, {}, 0).convert(pointers(row, 10), nullptr, length);
  EXPECT_EQ(length[0], 2.0F);
}

TEST(InputConverter, OneHotOfSequences) {
  Transform one_hot = of(Transform::Kind::one_hot);
  one_hot.classes = 3;
  Source source = ragged_source();
  source.inputs[1].arrays[0].shape = {1, 3};
  Input input = ragged_input(as_is, {one_hot});
  input.stored_elements = 3;
  input.shape = {3, 3};
  std::vector<std::byte> row = stored_bytes(u8, {2, 0, 0});
  const std::vector<std::byte> length = stored_bytes(i32, {2});
  row.insert(row.end(), length.begin(), length.end());
  std::vector<float> values(9, -7);
  const InputConverter converter(source, input, {}, 0);
  converter.convert(pointers(row, 7), nullptr, values);
  EXPECT_EQ(values, (std::vector<float>{0, 0, 1, 1, 0, 0, 0, 0, 0})) << "padding is no class";
}

TEST(InputConverter, RandomTransformsInTrainingOnly) {
  Transform flip = of(Transform::Kind::random_flip);
  Input image = second(input_of({2, 1, 2}, as_is, {of(Transform::Kind::log1p), flip}));
  image.layout = ImageLayout::chw;
  const std::vector<std::byte> row = stored_bytes(f32, {0, 1, 2, 3});  // planes
  const InputConverter converter(source_of(f32, 4), image, {}, 0);
  std::vector<float> still(4), values(4);
  converter.convert(pointers(row, 16), nullptr, still);
  EXPECT_EQ(still[1], std::log1p(2.0F)) << "channels last";
  const std::vector<float> flipped = {still[2], still[3], still[0], still[1]};
  int flips = 0;
  for (int64_t id = 0; id < 64; ++id) {
    const UnitDraws draws{3, 1, {&id, 1}};
    converter.convert(pointers(row, 16), &draws, values);
    flips += values == flipped;
    EXPECT_TRUE(values == still || values == flipped);
  }
  EXPECT_GT(flips, 16);
  EXPECT_LT(flips, 48);
}

/// What of a sample's points, channels last, lies in the window; 0 outside.
std::vector<float> cut_out(const std::vector<float>& whole, const Grid& grid, const Window& window) {
  std::vector<float> out;
  for (int64_t d = window.z; d < window.z + window.points.depth; ++d)
    for (int64_t h = window.y; h < window.y + window.points.height; ++h)
      for (int64_t w = window.x; w < window.x + window.points.width; ++w)
        for (int64_t c = 0; c < grid.channels; ++c) {
          const bool inside =
              d >= 0 && d < grid.depth && h >= 0 && h < grid.height && w >= 0 && w < grid.width;
          const int64_t at = ((d * grid.height + h) * grid.width + w) * grid.channels + c;
          out.push_back(inside ? whole[static_cast<size_t>(at)] : 0);
        }
  return out;
}

struct CropCase {
  ImageLayout layout;
  Shape stored, left;  ///< [C, H, W] or [C, D, H, W]
  StoredType type;
  Normalisation normalisation = Normalisation::none;
  std::vector<Transform> before = {};
};

/// The same as to convert the whole sample and then to cut the window out of it: of fixed places in
/// evaluation, of random ones in training, with zeros from the padding.
void expect_cropped(const CropCase& test) {
  Transform crop = of(Transform::Kind::random_crop);
  crop.size = {test.left.begin() + 1, test.left.end()};
  crop.padding = 2;
  Input whole = second(input_of(test.stored, test.normalisation, test.before));
  whole.layout = test.layout;
  for (const Transform& transform : test.before)
    if (transform.kind == Transform::Kind::one_hot) whole.shape[0] = transform.classes;
  Input cut = whole;
  cut.uncut = whole.shape;
  cut.shape = test.left;
  cut.shape[0] = whole.shape[0];
  cut.rules.transforms.push_back(crop);
  const int64_t stored = element_count(test.stored), rows = 12;
  std::vector<double> numbers;
  for (int64_t i = 0; i < rows * stored; ++i) numbers.push_back(static_cast<double>(i * 7 % 3));
  const std::vector<std::byte> bytes = stored_bytes(test.type, numbers);
  const auto places = pointers(bytes, static_cast<size_t>(stored * test.type.bytes));
  std::vector<float> all(static_cast<size_t>(whole.elements() * rows)),
      part(static_cast<size_t>(cut.elements() * rows));
  InputConverter(source_of(test.type, stored), whole, three_groups(), 0).convert(places, nullptr, all);
  const InputConverter converter(source_of(test.type, stored), cut, three_groups(), 0);
  const auto expect_windows = [&](const auto& window_of) {
    for (int64_t i = 0; i < rows; ++i) {
      const auto from = all.begin() + i * whole.elements(), to = part.begin() + i * cut.elements();
      EXPECT_EQ(std::vector<float>(to, to + cut.elements()),
                cut_out({from, from + whole.elements()}, whole.grid(), window_of(i)))
          << static_cast<int>(test.layout) << " " << i;
    }
  };
  converter.convert(places, nullptr, part);
  expect_windows([&](int64_t) { return middle_window(whole.grid(), cut.grid()); });
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < rows; ++i) ids.push_back(100 + i);
  const UnitDraws draws{3, 1, ids};
  converter.convert(places, &draws, part);
  expect_windows([&](int64_t i) {
    return random_window(crop, test.before.size(), {3, 100 + i, 1}, whole.grid(), cut.grid());
  });
}

TEST(InputConverter, CropsToASize) {
  Transform scale = of(Transform::Kind::scale), one_hot = of(Transform::Kind::one_hot);
  scale.offset = 10;
  one_hot.classes = 3;
  using enum ImageLayout;
  const auto standardize = Normalisation::standardize;
  for (const StoredType& type : {u8, f32, i32, f64}) {
    expect_cropped({hw, {1, 5, 7}, {1, 4, 3}, type});
    expect_cropped({hwc, {3, 5, 7}, {3, 5, 4}, type, standardize});
    expect_cropped({chw, {3, 6, 5}, {3, 4, 5}, type, standardize});
    expect_cropped({chw, {3, 6, 5}, {3, 4, 5}, type, standardize, {scale}});
    expect_cropped({dhw, {1, 4, 5, 6}, {1, 3, 5, 2}, type, as_is, {scale}});
    expect_cropped({cdhw, {2, 3, 4, 5}, {2, 2, 2, 2}, type});
    expect_cropped({hw, {1, 5, 7}, {1, 4, 3}, type, as_is, {one_hot}});
  }
}

TEST(InputConverter, FlipsWhatIsLeft) {
  Transform crop = of(Transform::Kind::random_crop), flip = of(Transform::Kind::random_flip);
  crop.size = {2};
  Input image = second(input_of({1, 3, 3}, as_is, {crop, flip}));
  image.uncut = image.shape;
  image.shape = {1, 2, 2};
  const std::vector<std::byte> row = stored_bytes(f32, {0, 1, 2, 3, 4, 5, 6, 7, 8});
  const InputConverter converter(source_of(f32, 9), image, {}, 0);
  std::vector<float> values(4);
  converter.convert(pointers(row, 36), nullptr, values);
  EXPECT_EQ(values, (std::vector<float>{0, 1, 3, 4})) << "the middle";
  std::set<std::vector<float>> seen;
  for (int64_t id = 0; id < 100; ++id) {
    const UnitDraws draws{3, 1, {&id, 1}};
    converter.convert(pointers(row, 36), &draws, values);
    seen.insert(values);
  }
  EXPECT_EQ(seen.size(), 8U) << "four places, each flipped or not";
  EXPECT_TRUE(seen.contains({5, 4, 8, 7}));
}

TEST(InputSums, OfWholeSamplesBeforeACrop) {
  Transform crop = of(Transform::Kind::random_crop), scale = of(Transform::Kind::scale);
  crop.size = {2};
  const std::vector<std::byte> row = stored_bytes(u8, {0, 1, 2, 3, 4, 5, 6, 7, 8});
  for (const bool scaled : {false, true}) {
    Input image =
        second(input_of({1, 3, 3}, Normalisation::unit,
                        scaled ? std::vector<Transform>{scale, crop} : std::vector<Transform>{crop}));
    image.layout = ImageLayout::hw;
    image.uncut = image.shape;
    image.shape = {1, 2, 2};
    InputSums sums(source_of(u8, 9), image);
    sums.add_row(row.data());
    EXPECT_EQ(sums.sums().sums(0)[0].value(), 36) << scaled;
    EXPECT_EQ(sums.sums().extremes(0), (std::array<double, 2>{0, 8}));
  }
}

TEST(InputSums, OfWhatComesToNormalisation) {
  Transform scale = of(Transform::Kind::scale);
  scale.offset = 10;
  const std::vector<std::byte> row = ragged_row();
  InputSums ragged(ragged_source(), ragged_input(Normalisation::unit, {scale}));
  ragged.add_row(row.data());
  ragged.add_row(row.data());
  EXPECT_EQ(ragged.sums().rows(), 4) << "steps, without padding";
  EXPECT_EQ(ragged.sums().groups(), 2);
  EXPECT_EQ(ragged.sums().sums(1)[0].value(), 2 * (12 + 14));
  EXPECT_EQ(ragged.sums().extremes(0), (std::array<double, 2>{11, 13}));
  InputSums plain(source_of(u8, 6), second(input_of({6}, Normalisation::unit)));
  plain.add_row(row.data());
  EXPECT_EQ(plain.sums().groups(), 6);
  EXPECT_EQ(plain.sums().sums(3)[0].value(), 4);
}

}  // namespace
}  // namespace lepton::data
