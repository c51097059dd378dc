// SPDX-License-Identifier: Apache-2.0
// Shapes of the normalisations of groups of channels; see the header.
#include "ops/group_norm_shape.h"

namespace lepton::ops {

static int64_t groups_of(const OpSpec& spec) {
  return spec.type == "InstanceNormalization" ? spec.inputs[0][0]
                                              : int_attribute(spec.attributes, "num_groups", 0);
}

GroupNormShape::GroupNormShape(const OpSpec& spec)
    : samples(spec.samples),
      pixels(element_count(spec.inputs[0]) / spec.inputs[0][0]),
      channels(spec.inputs[0][0]),
      groups(groups_of(spec)),
      epsilon(static_cast<float>(float_attribute(spec.attributes, "epsilon", 1e-5))) {}

Shape infer_group_norm(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  const int64_t groups = groups_of(spec);
  require_shape(groups >= 1 && input[0] % groups == 0, spec.type + " cannot divide the channels of " +
                                                           shape_text(input) + " into " +
                                                           std::to_string(groups) + " groups");
  require_shape(spec.parameters.size() == 2, spec.type + " needs a scale and a bias");
  for (const Shape& parameter : spec.parameters)
    require_shape(parameter == Shape{input[0]}, spec.type + " parameter " + shape_text(parameter) +
                                                    " is not one number for each channel of " +
                                                    shape_text(input));
  return input;
}

}  // namespace lepton::ops
