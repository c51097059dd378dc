// SPDX-License-Identifier: Apache-2.0
// Transforms of one sample's input, in place, as it stands in memory (channels last). Two kinds: those of
// values (log1p, clip, scale, one_hot), which are the same whenever a sample is used, and random ones
// (random_flip, random_crop), which are drawn anew in each epoch. Draws are a function of (seed, place in the
// list of transforms, sample id, epoch), so that they do not depend on who computes the sample, and inputs
// with the same list move alike. A random_crop with a size is no move but a window of the stored sample,
// which is all that is converted of it. Nothing is allocated. Called by input_converter.
#pragma once

#include <algorithm>
#include <cstdint>

#include "data/spec.h"

namespace lepton::data {

/// How a sample of an input stands in memory; a table is one point of so many channels.
struct Grid {
  int64_t depth = 1, height = 1, width = 1, channels = 1;
  int64_t points() const { return depth * height * width; }
  int64_t elements() const { return points() * channels; }
};

/// Points of a grid side by side; where they lie outside of it there are zeros.
struct Window {
  int64_t z = 0, y = 0, x = 0;  ///< of the first one, in the grid
  Grid points;
};

/// What the random transforms of one sample are drawn from.
struct SampleDraw {
  uint64_t seed = 0;
  int64_t sample = 0, epoch = 0;
};

bool is_random(const Transform& transform);

/// log1p, clip or scale of `count` values.
void transform_values(const Transform& transform, float* values, int64_t count);

/// one_hot: each of `count` values becomes `classes` of which one is 1, all NaN where it is no class;
/// `values` has room for count * classes.
void expand_one_hot(float* values, int64_t count, int64_t classes);

/// The window that random_crop leaves of a sample in training, and the one in the middle (of an odd rest the
/// smaller half lies before it).
Window random_window(const Transform& crop, size_t place, const SampleDraw& draw, const Grid& whole,
                     const Grid& left);
Window middle_window(const Grid& whole, const Grid& left);

/// Calls each(from, to, count) for the lines of the window that lie inside, in order: `count` points from
/// `from` of the grid on are those from `to` of the window on.
template <class Each>
void for_each_line(const Window& window, const Grid& whole, const Each& each) {
  const auto& [z, y, x, points] = window;
  const int64_t begin = std::max<int64_t>(0, -x), end = std::min(points.width, whole.width - x);
  for (int64_t k = 0; begin < end && k < points.depth; ++k)
    for (int64_t j = 0; j < points.height; ++j)
      if (z + k >= 0 && z + k < whole.depth && y + j >= 0 && y + j < whole.height)
        each(((z + k) * whole.height + y + j) * whole.width + x + begin,
             (k * points.height + j) * points.width + begin, end - begin);
}

/// Makes what lies outside 0, of `channels` values at each point of the window.
void clear_outside(const Window& window, const Grid& whole, int64_t channels, float* values);

/// random_flip, or random_crop without a size; `place`: in the input's list of transforms.
void transform_randomly(const Transform& transform, size_t place, const SampleDraw& draw, const Grid& grid,
                        float* values);

}  // namespace lepton::data
