// SPDX-License-Identifier: Apache-2.0
// Folding of functions of numbers, comparisons and logic, sizes and triangles: what masks and tables of
// places are made of (fold.h). Inside of module onnx, called by fold.
#pragma once

#include "onnx/fold_moves.h"

namespace lepton::onnx::folding {

/// Null: the operator is none of them.
Fold find_function(const std::string& type);

}  // namespace lepton::onnx::folding
