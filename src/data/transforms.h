// SPDX-License-Identifier: Apache-2.0
// Transforms of one sample's input, in place, as it stands in memory (channels last). Two kinds: those of
// values (log1p, clip, scale, one_hot), which are the same whenever a sample is used, and random ones
// (random_flip, random_crop), which are drawn anew in each epoch. Draws are a function of (seed, place in the
// list of transforms, sample id, epoch), so that they do not depend on who computes the sample, and inputs
// with the same list move alike. Nothing is allocated. Called by input_converter.
#pragma once

#include <cstdint>

#include "data/spec.h"

namespace lepton::data {

/// How a sample of an input stands in memory; a table is one point of so many channels.
struct Grid {
  int64_t depth = 1, height = 1, width = 1, channels = 1;
  int64_t elements() const { return depth * height * width * channels; }
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

/// random_flip or random_crop; `place`: in the input's list of transforms.
void transform_randomly(const Transform& transform, size_t place, const SampleDraw& draw, const Grid& grid,
                        float* values);

}  // namespace lepton::data
