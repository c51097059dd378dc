// SPDX-License-Identifier: Apache-2.0
// Broadcast: where the elements of operands lie for each element of a larger array, in memory: dimensions
// outermost first, samples included, joined where all operands allow it, with steps of 0 where an operand is
// the same along one. Also which operands a node has: values and parameters of the arena, in ONNX's order,
// and the shape that they have together (numpy's rules; the batch dimension of a parameter is absent or 1).
// Used by elementwise.cpp, spread.cpp and their twins, which get it by value.
#pragma once

#include "ops/elementwise_math.h"
#include "ops/operators.h"

namespace lepton::ops {

constexpr int broadcast_most = 6;  ///< dimensions, after joining
constexpr int operands_most = 3;

struct Broadcast {
  int dimensions = 0;
  int64_t size[broadcast_most] = {};
  int64_t step[operands_most][broadcast_most] = {};
  bool whole[operands_most] = {};   ///< the operand lies as the large array does
  int64_t count = 1;                ///< of the large array
  int64_t own[operands_most] = {};  ///< elements of the operand
};

/// An operand of a node: inputs[index] or parameters[index].
struct Operand {
  bool is_parameter = false;
  size_t index = 0;
  const Shape& shape(const OpSpec& spec) const {
    return is_parameter ? spec.parameters[index] : spec.inputs[index];
  }
};

/// In ONNX's order: values, then parameters; with parameter_first = 1 the other way round; or parameters at
/// the places that the attribute parameter_at lists. Throws Error(deck).
std::vector<Operand> operands_of(const OpSpec& spec);

/// What kind of array an operand is.
struct LaidShape {
  Shape shape;             ///< without batch
  bool per_sample = true;  ///< else one for all, in ONNX order
};
/// For samples x `large`, which lies so. Throws Error(deck) for too many dimensions.
Broadcast broadcast_of(int64_t samples, const Shape& large, Layout layout,
                       const std::vector<LaidShape>& operands);
/// Of the operands of a node.
Broadcast broadcast_of(const OpSpec& spec);

/// The function that a node of that type is; with its attributes.
Elementwise elementwise_of(const OpSpec& spec);

}  // namespace lepton::ops
