// SPDX-License-Identifier: Apache-2.0
// What a convolution on CUDA does beside the convolution: weights from the arena's OIHW to channels last and
// their gradient back, images into their pads and out of them, and bias with activation over nhwc. Arrays of
// the library's side are float32 or bfloat16 (`narrow`: void pointers are to that type), those of the op's
// side float32. Used by conv.cu.
#pragma once

#include "kernels/operands.h"
#include "ops/activation.h"

namespace lepton::cuda {

/// Weights of `filters` filters, each channels x positions (h w of the kernel) in the arena.
struct Filters {
  int64_t filters = 0, channels = 0, positions = 0;
  int64_t count() const { return filters * channels * positions; }
  bool same_layout() const { return channels == 1 || positions == 1; }  ///< channels last already
};

/// y[f, p, c] = x[f, c, p]
void pack(const Context&, const Filters&, bool narrow, const float* x, void* y);
/// y[f, c, p] = x[f, p, c]
void unpack(const Context&, const Filters&, bool narrow, const void* x, float* y);

/// nhwc images of `lines` lines, each `length` (width * channels) elements.
struct Images {
  int64_t samples = 0, lines = 0, length = 0;
  int64_t count() const { return samples * lines * length; }
};

/// Writes the images x into the larger y, whose line `down` and element `right` are x's first; zeros around.
void pad(const Context&, const Images& from, const Images& to, int64_t down, int64_t right, bool narrow,
         const float* x, void* y);
/// The way back: y is what lies in x from line `down` and element `right` on.
void cut(const Context&, const Images& from, const Images& to, int64_t down, int64_t right, bool narrow,
         const void* x, float* y);

/// y[r, c] = f(x[r, c] + bias[c]); bias may be null; y may be x where not narrow.
void add_bias_and_activate(const Context&, const ops::Activation&, int64_t rows, int64_t channels,
                           bool narrow, const void* x, const float* bias, float* y);

}  // namespace lepton::cuda
