// SPDX-License-Identifier: Apache-2.0
// How the inputs and outputs of operators lie in memory: the rules that rows of the table name. The graph
// builder asks them, and puts an Identity between where an operator takes its input otherwise than it lies.
#pragma once

#include <vector>

#include "ops/op.h"

namespace lepton::ops {

struct Layouts {
  std::vector<Layout> inputs;
  Layout output;
};

Layouts lay_plain(const OpSpec& spec);     ///< all plain
Layouts lay_as_first(const OpSpec& spec);  ///< any, all alike: elementwise operators
/// Inputs of several dimensions and the output channels last: operators on images.
Layouts lay_channels_last(const OpSpec& spec);
/// As the parameter 0 asks that goes with every sample: one for each channel, [C, 1, ...], channels last;
/// otherwise plain, but for one number any.
Layouts lay_by_parameter(const OpSpec& spec);
/// All alike: as the largest input, or as its parameters ask, but for those of one number.
Layouts lay_broadcast(const OpSpec& spec);
Layouts lay_reduce(const OpSpec& spec);      ///< any; dimensions that stay keep their order
Layouts lay_layer_norm(const OpSpec& spec);  ///< any for whole samples, plain for their rows
Layouts lay_softmax(const OpSpec& spec);     ///< so that the axis is last in memory
Layouts lay_reshape(const OpSpec& spec);     ///< any to plain
Layouts lay_transpose(const OpSpec& spec);   ///< any to what moves nothing, if there is such a layout
Layouts lay_identity(const OpSpec& spec);    ///< any to any: spec.output_layout

/// Dimensions as they lie, outermost first.
Shape in_memory(const Shape& shape, Layout layout);
/// The last one.
int64_t innermost(const Shape& shape, Layout layout);

}  // namespace lepton::ops
