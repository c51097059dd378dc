// SPDX-License-Identifier: Apache-2.0
// Shapes of a MatMul; see the header.
#include "ops/product_shape.h"

#include <algorithm>

namespace lepton::ops {

static Shape leading(const Shape& shape) {
  return Shape(shape.begin(), shape.end() - 2);
}

ProductShape::ProductShape(const OpSpec& spec)
    : rows(spec.output[spec.output.size() - 2]),
      inner(spec.inputs[0].back()),
      columns(spec.output.back()),
      matrices(broadcast_of(spec.samples, leading(spec.output), Layout::plain,
                            {{leading(spec.inputs[0])}, {leading(spec.inputs[1])}})) {}

Shape infer_product(const OpSpec& spec) {
  const Shape &a = spec.inputs[0], &b = spec.inputs[1];
  const std::string texts = shape_text(a) + " and " + shape_text(b);
  require_shape(spec.parameters.empty(), "MatMul multiplies two values; with a parameter it is a Gemm");
  require_shape(a.size() >= 2 && a.size() == b.size(),
                "MatMul needs matrices in both operands and as many dimensions, not " + texts);
  require_shape(a.back() == b[b.size() - 2], "MatMul cannot multiply " + texts);
  Shape output = a;
  output.back() = b.back();
  for (size_t d = 0; d + 2 < a.size(); ++d) {
    require_shape(a[d] == b[d] || a[d] == 1 || b[d] == 1, "MatMul cannot multiply " + texts);
    output[d] = std::max(a[d], b[d]);
  }
  return output;
}

}  // namespace lepton::ops
