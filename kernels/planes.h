// SPDX-License-Identifier: Apache-2.0
// Images and volumes as planes, channel by channel: what cuDNN takes in three dimensions, and for transposed
// convolutions, whose pads differ at the two ends. They are turned from channels last and padded in one pass,
// and back. Used by volume_conv.cu and conv_transpose.cu.
#pragma once

#include "kernels/context.h"
#include "kernels/cudnn_convolution.h"
#include "ops/operators.h"

namespace lepton::cuda {

/// Samples of channels x depth x height x width; missing leading dimensions are 1.
struct Planes {
  int64_t samples = 0, channels = 0, size[3] = {1, 1, 1};
  int64_t pixels() const { return size[0] * size[1] * size[2]; }
  int64_t count() const { return samples * channels * pixels(); }
};

/// The convolution of a window from large to small planes, both without pads: large ones are padded before.
struct PlanesConvolution {
  Planes large, padded, small;
  int64_t before[3] = {};  ///< pads
  ConvolutionShape shape;
  /// `large_shape`, `small_shape`: [C, ...] of a sample.
  PlanesConvolution(int64_t samples, const Shape& large_shape, const Shape& small_shape,
                    const ops::Window& window, int64_t groups);
};

constexpr int64_t no_shift[3] = {};

/// y = x in planes, moved by `before`; zeros around.
void to_planes(const Context&, const Planes& from, const Planes& to, const int64_t (&before)[3],
               const float* x, float* y);
/// The way back, to channels last; zeros where `from` has nothing.
void from_planes(const Context&, const Planes& from, const Planes& to, const int64_t (&before)[3],
                 const float* x, float* y);

}  // namespace lepton::cuda
