// SPDX-License-Identifier: Apache-2.0
// Transforms against plain loops in double, and moves of a small grid point by point.
#include "data/transforms.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

namespace lepton::data {
namespace {

Transform transform_of(Transform::Kind kind) {
  Transform transform;
  transform.kind = kind;
  return transform;
}

TEST(Transforms, Log1p) {
  std::vector<float> values = {0, 1e-10F, -1e-10F, 1e-4F, -0.5F, -0.99F, 1, 2, 255, 32767, 1e20F, 3e38F};
  const std::vector<float> before = values;
  transform_values(transform_of(Transform::Kind::log1p), values.data(), std::ssize(values));
  for (size_t i = 0; i < values.size(); ++i) {
    const double expected = std::log1p(static_cast<double>(before[i]));
    EXPECT_NEAR(static_cast<double>(values[i]), expected, std::abs(expected) * 5e-7) << before[i];
  }
  values = {-1, -2, std::numeric_limits<float>::infinity(), std::nanf("")};
  transform_values(transform_of(Transform::Kind::log1p), values.data(), std::ssize(values));
  EXPECT_EQ(values[0], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(values[1]));
  EXPECT_EQ(values[2], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(values[3]));
}

TEST(Transforms, ClipAndScale) {
  Transform clip = transform_of(Transform::Kind::clip), scale = transform_of(Transform::Kind::scale);
  clip.low = -1;
  clip.high = 2.5;
  scale.factor = 3;
  scale.offset = -1;
  std::vector<float> values = {-7, -1, 0, 2.5, 9, 9};
  transform_values(clip, values.data(), 5);
  EXPECT_EQ(values, (std::vector<float>{-1, -1, 0, 2.5, 2.5, 9})) << "five of six";
  transform_values(scale, values.data(), 5);
  EXPECT_EQ(values, (std::vector<float>{-4, -4, -1, 6.5, 6.5, 9}));
  values = {std::nanf("")};
  transform_values(clip, values.data(), 1);
  EXPECT_TRUE(std::isnan(values[0])) << "a bad row stays one";
}

TEST(Transforms, OneHot) {
  std::vector<float> values = {2, 0, 1, -9, -9, -9, -9, -9, -9};
  expand_one_hot(values.data(), 3, 3);
  EXPECT_EQ(values, (std::vector<float>{0, 0, 1, 1, 0, 0, 0, 1, 0}));
  for (const float wrong : {3.0F, -1.0F, 0.5F, std::nanf(""), 1e30F}) {
    values = {1, wrong, 0, 0, 0, 0};
    expand_one_hot(values.data(), 2, 3);
    EXPECT_EQ(values[1], 1.0F);
    for (size_t i = 3; i < 6; ++i) EXPECT_TRUE(std::isnan(values[i])) << wrong;
  }
}

constexpr Grid grid{2, 3, 4, 2};

/// The value at a point is its number.
std::vector<float> numbered() {
  std::vector<float> values(static_cast<size_t>(grid.elements()));
  std::iota(values.begin(), values.end(), 1.0F);
  return values;
}
float at(const std::vector<float>& values, int64_t d, int64_t h, int64_t w, int64_t c) {
  if (d < 0 || d >= grid.depth || h < 0 || h >= grid.height || w < 0 || w >= grid.width) return 0;
  return values[static_cast<size_t>(((d * grid.height + h) * grid.width + w) * grid.channels + c)];
}
template <class Move>
bool is_moved(const std::vector<float>& values, const Move& move) {
  const std::vector<float> before = numbered();
  for (int64_t d = 0; d < grid.depth; ++d)
    for (int64_t h = 0; h < grid.height; ++h)
      for (int64_t w = 0; w < grid.width; ++w)
        for (int64_t c = 0; c < grid.channels; ++c) {
          const auto [fd, fh, fw] = move(d, h, w);
          if (at(values, d, h, w, c) != at(before, fd, fh, fw, c)) return false;
        }
  return true;
}

TEST(Transforms, FlipsEveryOtherTimeAndOneAxis) {
  for (const Axis axis : {Axis::horizontal, Axis::vertical, Axis::depth}) {
    Transform flip = transform_of(Transform::Kind::random_flip);
    flip.axis = axis;
    int flipped = 0;
    for (int64_t sample = 0; sample < 1000; ++sample) {
      std::vector<float> values = numbered();
      transform_randomly(flip, 0, {7, sample, 3}, grid, values.data());
      if (values == numbered()) continue;
      ++flipped;
      EXPECT_TRUE(is_moved(values, [&](int64_t d, int64_t h, int64_t w) {
        return std::array{axis == Axis::depth ? grid.depth - 1 - d : d,
                          axis == Axis::vertical ? grid.height - 1 - h : h,
                          axis == Axis::horizontal ? grid.width - 1 - w : w};
      }));
    }
    EXPECT_NEAR(flipped, 500, 60) << static_cast<int>(axis);
  }
}

TEST(Transforms, CropsMoveAllAxesEvenlyAndFillWithZeros) {
  Transform crop = transform_of(Transform::Kind::random_crop);
  crop.padding = 2;
  std::map<std::array<int64_t, 3>, int> seen;
  for (int64_t sample = 0; sample < 5000; ++sample) {
    std::vector<float> values = numbered();
    transform_randomly(crop, 0, {7, sample, 3}, grid, values.data());
    int matches = 0;
    for (int64_t z = -2; z <= 2; ++z)
      for (int64_t y = -2; y <= 2; ++y)
        for (int64_t x = -2; x <= 2; ++x)
          if (is_moved(values, [&](int64_t d, int64_t h, int64_t w) {
                return std::array{d + z, h + y, w + x};
              })) {
            ++matches;
            ++seen[{z, y, x}];
          }
    if (std::ranges::any_of(values, [](float v) { return v != 0; })) {
      EXPECT_EQ(matches, 1) << sample;
    }
  }
  for (const auto& [move, count] : seen)
    if (std::abs(move[0]) < 2) {  // by 2 in depth nothing is left
      EXPECT_NEAR(count, 40, 35) << move[0] << move[1] << move[2];
    }
  EXPECT_EQ(std::ranges::count_if(seen, [](const auto& item) { return std::abs(item.first[0]) < 2; }), 75);
}

TEST(Transforms, WindowsBeginAnywhereEvenly) {
  const Grid whole{4, 6, 7, 2}, left{3, 5, 5, 2};
  Transform crop = transform_of(Transform::Kind::random_crop);
  for (const int64_t padding : {0, 1}) {
    crop.padding = padding;
    std::map<int64_t, int> z, y, x;
    for (int64_t sample = 0; sample < 3000; ++sample) {
      const Window window = random_window(crop, 0, {7, sample, 3}, whole, left);
      ++z[window.z];
      ++y[window.y];
      ++x[window.x];
      EXPECT_EQ(window.points.points(), left.points());
    }
    const auto expect_even = [&](const std::map<int64_t, int>& seen, int64_t last) {
      EXPECT_EQ(seen.begin()->first, -padding);
      EXPECT_EQ(seen.rbegin()->first, last + padding);
      EXPECT_EQ(std::ssize(seen), last + 1 + 2 * padding);
      const double even = 3000.0 / static_cast<double>(seen.size());
      for (const auto& [begin, count] : seen) EXPECT_NEAR(count, even, even / 5) << begin;
    };
    expect_even(z, 1);
    expect_even(y, 1);
    expect_even(x, 2);
  }
  const Window middle = middle_window(whole, left);
  EXPECT_EQ((std::array{middle.z, middle.y, middle.x}), (std::array<int64_t, 3>{0, 0, 1}));
  crop.padding = 3;
  EXPECT_EQ(random_window(crop, 0, {7, 1, 3}, {1, 6, 6, 1}, {1, 4, 4, 1}).z, 0)
      << "images have no depth to pad";
}

TEST(Transforms, WindowsTakeLinesFromInside) {
  const Grid whole{2, 3, 4, 1};
  for (const Window& window :
       {Window{0, 0, 0, whole}, Window{1, 1, 1, {1, 2, 2, 1}}, Window{-1, 2, -2, {2, 3, 4, 1}},
        Window{0, -1, 3, {2, 3, 3, 1}}, Window{0, 0, 4, {1, 1, 2, 1}}}) {
    std::vector<float> taken(static_cast<size_t>(window.points.points()), -7), expected;
    for_each_line(window, whole, [&](int64_t from, int64_t to, int64_t count) {
      for (int64_t i = 0; i < count; ++i) taken[static_cast<size_t>(to + i)] = static_cast<float>(from + i);
    });
    std::vector<float> cleared(taken.size() * 2, 5);
    clear_outside(window, whole, 2, cleared.data());
    for (int64_t d = 0; d < window.points.depth; ++d)
      for (int64_t h = 0; h < window.points.height; ++h)
        for (int64_t w = 0; w < window.points.width; ++w) {
          const int64_t z = window.z + d, y = window.y + h, x = window.x + w;
          const bool inside = z >= 0 && z < 2 && y >= 0 && y < 3 && x >= 0 && x < 4;
          EXPECT_EQ(cleared[expected.size() * 2 + 1], inside ? 5 : 0);
          expected.push_back(inside ? static_cast<float>((z * 3 + y) * 4 + x) : -7);
        }
    EXPECT_EQ(taken, expected);
  }
}

TEST(Transforms, DrawsDependOnSeedPlaceSampleAndEpochAlone) {
  Transform crop = transform_of(Transform::Kind::random_crop);
  crop.padding = 2;
  const auto moved = [&](size_t place, const SampleDraw& draw) {
    std::vector<float> values = numbered();
    transform_randomly(crop, place, draw, grid, values.data());
    return values;
  };
  int other_seed = 0, other_place = 0, other_epoch = 0, other_sample = 0, far_sample = 0;
  for (int64_t sample = 0; sample < 100; ++sample) {
    const auto one = moved(1, {5, sample, 2});
    EXPECT_EQ(moved(1, {5, sample, 2}), one);
    other_seed += moved(1, {6, sample, 2}) != one;
    other_place += moved(2, {5, sample, 2}) != one;
    other_epoch += moved(1, {5, sample, 3}) != one;
    other_sample += moved(1, {5, sample + 1, 2}) != one;
    far_sample += moved(1, {5, sample + (int64_t{1} << 32), 2}) != one;
  }
  for (const int differ : {other_seed, other_place, other_epoch, other_sample, far_sample})
    EXPECT_GT(differ, 60) << "by chance some 16 of 100 are alike, most of them all 0";
}

}  // namespace
}  // namespace lepton::data
