// SPDX-License-Identifier: Apache-2.0
// The window of a ConvTranspose: pads resolved from auto_pad, output_shape and output_padding (ONNX). Shared
// with the CUDA twin.
#pragma once

#include "ops/operators.h"

namespace lepton::ops {

struct TransposedWindow {
  Window window{};
  Shape output;  ///< per axis
  int64_t group = 1;
  /// Throws Error(deck) for attributes that do not fit.
  explicit TransposedWindow(const OpSpec& spec);
};

}  // namespace lepton::ops
