// SPDX-License-Identifier: Apache-2.0
// Concat: inputs that differ along one axis, side by side. Any layout, if all lie alike. Made by the table,
// run by model/executor. Twin: kernels/concat.cu.
#include <algorithm>

#include "ops/concat_shape.h"

namespace lepton::ops {

namespace {

class ConcatOp : public Op {
 public:
  explicit ConcatOp(const OpSpec& spec) : shape_(spec) {}

  void forward(const OpForward& run) override {
    for (int64_t r = 0, at = 0; r < shape_.rows; ++r)
      for (size_t k = 0; k < shape_.widths.size(); at += shape_.widths[k++])
        std::copy_n(run.inputs[k] + r * shape_.widths[k], shape_.widths[k], run.output + at);
  }
  void backward(const OpBackward& run) override {
    for (int64_t r = 0, at = 0; r < shape_.rows; ++r)
      for (size_t k = 0; k < shape_.widths.size(); at += shape_.widths[k++])
        if (float* dx = run.input_gradients[k])
          std::copy_n(run.output_gradient + at, shape_.widths[k], dx + r * shape_.widths[k]);
  }
  BackwardNeeds backward_needs() const override { return {}; }

 private:
  ConcatShape shape_;
};

}  // namespace

Shape infer_concat(const OpSpec& spec) {
  require_shape(spec.attributes.contains("axis"), "Concat needs an axis");
  const auto axis = static_cast<size_t>(sample_axis(spec, "axis", 1));
  Shape output = spec.inputs[0];
  for (size_t k = 1; k < spec.inputs.size(); ++k) {
    Shape same = spec.inputs[k];
    require_shape(same.size() == output.size(),
                  "Concat cannot join " + shape_text(spec.inputs[0]) + " and " + shape_text(spec.inputs[k]));
    const int64_t more = same[axis];
    same[axis] = output[axis];
    require_shape(same == output, "Concat cannot join " + shape_text(spec.inputs[0]) + " and " +
                                      shape_text(spec.inputs[k]) + " along axis " + std::to_string(axis + 1));
    output[axis] += more;
  }
  return output;
}

std::unique_ptr<Op> make_concat(const OpSpec& spec) {
  return std::make_unique<ConcatOp>(spec);
}

}  // namespace lepton::ops
