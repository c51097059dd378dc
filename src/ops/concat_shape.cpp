// SPDX-License-Identifier: Apache-2.0
// Runs of a Concat in memory; see the header.
#include "ops/concat_shape.h"

namespace lepton::ops {

ConcatShape::ConcatShape(const OpSpec& spec) {
  const Layout layout = spec.layouts[0];
  int64_t axis = sample_axis(spec, "axis", 1);
  if (layout == Layout::channels_last) axis = (axis == 0 ? std::ssize(spec.output) : axis) - 1;
  const Shape output = in_memory(spec.output, layout);
  rows = spec.samples;
  for (int64_t d = 0; d < axis; ++d) rows *= output[static_cast<size_t>(d)];
  for (const Shape& input : spec.inputs) widths.push_back(spec.samples * element_count(input) / rows);
  for (const int64_t one : widths) width += one;
}

}  // namespace lepton::ops
