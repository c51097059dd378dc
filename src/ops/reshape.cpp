// SPDX-License-Identifier: Apache-2.0
// Flatten, Reshape and Identity: the same numbers under another shape or in another layout. ONNX orders an
// image as C, H, W; where it lies as H, W, C and becomes something else, it is permuted through ONNX's order.
// Attribute `shape` of Reshape leaves out the batch dimension; one -1 is computed, 0 copies the input's
// dimension. Made by the table, run by model/executor.
#include <algorithm>

#include "ops/operators.h"
#include "ops/transpose.h"

namespace lepton::ops {

namespace {

/// What the memory of a sample is: a matrix of pixels x channels where channels are last, else one row.
struct MemoryOrder {
  int64_t channels = 1, pixels = 1;
  MemoryOrder(const Shape& shape, Layout layout) {
    if (layout == Layout::plain) return;
    channels = shape[0];
    pixels = element_count(shape) / channels;
  }
  bool is_plain() const { return channels == 1 || pixels == 1; }
};

class ReshapeOp : public Op {
 public:
  explicit ReshapeOp(const OpSpec& spec)
      : n_(spec.samples),
        count_(element_count(spec.output)),
        from_(spec.inputs[0], spec.layouts[0]),
        to_(spec.output, spec.output_layout) {
    same_ = (from_.is_plain() && to_.is_plain()) ||
            (from_.channels == to_.channels && from_.pixels == to_.pixels);
    // Image to another image: through the ONNX order of one sample in scratch.
    MemoryPlan scratch;
    if (!same_ && !from_.is_plain() && !to_.is_plain()) scratch.add_floats(count_);
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const OpForward& run) override { permute(from_, to_, run.inputs[0], run.output, run.scratch); }
  void backward(const OpBackward& run) override {
    if (run.input_gradients[0]) permute(to_, from_, run.output_gradient, run.input_gradients[0], run.scratch);
  }
  BackwardNeeds backward_needs() const override { return {}; }
  bool in_place() const override { return same_; }

 private:
  void permute(const MemoryOrder& source, const MemoryOrder& target, const float* x, float* y,
               std::byte* scratch) const {
    if (same_) {
      if (x != y) std::copy(x, x + n_ * count_, y);
      return;
    }
    for (int64_t s = 0; s < n_; ++s) {
      const float* in = x + s * count_;
      float* out = y + s * count_;
      if (source.is_plain()) {
        transpose(target.channels, target.pixels, in, target.pixels, out);
      } else if (target.is_plain()) {
        transpose(source.pixels, source.channels, in, source.channels, out);
      } else {
        float* onnx_order = floats_at(scratch, 0);
        transpose(source.pixels, source.channels, in, source.channels, onnx_order);
        transpose(target.channels, target.pixels, onnx_order, target.pixels, out);
      }
    }
  }

  int64_t n_, count_;
  MemoryOrder from_, to_;
  bool same_ = false;
};

}  // namespace

Shape infer_flatten(const OpSpec& spec) {
  require_shape(int_attribute(spec.attributes, "axis", 1) == 1,
                "Flatten keeps the batch dimension only (axis = 1)");
  return {element_count(spec.inputs[0])};
}

Shape infer_reshape(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  Shape shape = ints_attribute(spec.attributes, "shape", {});
  const std::string asked = shape_text(shape);
  require_shape(!shape.empty(), "Reshape needs a shape");
  int64_t known = 1, open = -1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && i < input.size()) shape[i] = input[i];
    if (shape[i] == -1 && open < 0) {
      open = static_cast<int64_t>(i);
      continue;
    }
    require_shape(shape[i] >= 1, "Reshape to " + asked + ": dimensions are positive, but for one -1");
    known *= shape[i];
  }
  const int64_t count = element_count(input);
  if (open >= 0 && count % known == 0) shape[static_cast<size_t>(open)] = count / known;
  require_shape(open >= 0 ? count % known == 0 : count == known,
                "Reshape to " + asked + " does not fit the input " + shape_text(input));
  return shape;
}

std::unique_ptr<Op> make_reshape(const OpSpec& spec) {
  return std::make_unique<ReshapeOp>(spec);
}

}  // namespace lepton::ops
