// SPDX-License-Identifier: Apache-2.0
// What Conv and ConvTranspose hand to oneDNN: a convolution from larger images to filtered ones, of which the
// one computes the output and the other its gradient with respect to the images. One-dimensional ones are
// given a height of 1. Images lie channels last, weights as in the arena: [F, C / group, ...].
#pragma once

#include "ops/onednn.h"
#include "ops/operands.h"

namespace lepton::ops {

/// Throws Error(deck) unless the weights, `weights` in words, are there and as large as the window.
void check_kernel(const OpSpec& spec, const Window& window, const char* weights);

struct ConvolutionShapes {
  int64_t samples;
  Shape images, filtered, weights;  ///< [C, ...], [F, ...], [F, C / group, ...]
  int64_t group;
};

/// Without bias and activation.
onednn::Convolution convolution_of(const ConvolutionShapes& shapes, const Window& window,
                                   Precision precision);
/// Weights as in the arena.
onednn::Desc plain_weights(const onednn::Convolution& convolution);

/// An image of the caller's as it is multiplied: rounded first, in bf16.
Packed image_operand(const onednn::Convolution& convolution, const onednn::Dims& dims);

}  // namespace lepton::ops
