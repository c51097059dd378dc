// SPDX-License-Identifier: Apache-2.0
// Permutation: how a Transpose moves the elements of a sample in memory, both layouts taken into account:
// dimensions that stay neighbours are joined, so that what moves nothing has one, and a plain transpose two.
// Used by permute.cpp and its twin, which get it by value.
#pragma once

#include "ops/operators.h"

namespace lepton::ops {

constexpr int permuted_most = 6;  ///< dimensions, after joining

struct Permutation {
  int dimensions = 0;                ///< of the result, outermost first
  int64_t size[permuted_most] = {};  ///< its dimensions
  int64_t from[permuted_most] = {};  ///< steps in the source along them

  bool moves_nothing() const { return dimensions <= 1; }
  /// The way back.
  Permutation inverse() const;
};

/// Attribute perm (ONNX, batch dimension first and staying there; absent: reversed) for one sample. Throws
/// Error(deck).
std::vector<int64_t> permuted_axes(const OpSpec& spec);
/// From spec.layouts to spec.output_layout.
Permutation permutation_of(const OpSpec& spec);

}  // namespace lepton::ops
