// SPDX-License-Identifier: Apache-2.0
// Gemm: y[n, out] = f(x[n, in] W[out, in]^T + b), the dense layer (ONNX Gemm with transB = 1, alpha = beta =
// 1), by oneDNN's matmul with bias and activation fused (Gelu is a pass behind it, whose input is kept). Of a
// sequence [T, in] every row is one of the n (ONNX's MatMul).
// Backward, with dz = dy f'(y), of Gelu dy f'(z):
//   dx = dz W,   dW = dz^T x,   db = sum over samples of dz.
// The bias gradient is our own loop in sample order. In bf16 x, W and dz are rounded into scratch, once per
// unit and direction. The wider operand is the one whose copying into oneDNN's
// order costs most, and it copies its second: so a layer of many outputs is computed as y^T = W x^T, which
// copies x instead of W (784 to 512, 64 samples: 310-375 us instead of 410-460), and turned afterwards
// together with bias and activation. Made by the table, run by model/executor.
#include <algorithm>
#include <vector>

#include "ops/operands.h"

namespace lepton::ops {

namespace {

using onednn::Tag;

constexpr int64_t wide_outputs =
    256;  // from here on y^T = W x^T; never a matter of n, which must not change bits

/// Rows of dW per part. Its floats, and twice as many bytes of sums, stay in the second-level cache beside
/// those of another unit (up to 2,048 inputs; wider ones have at least 16 rows: fewer make the product slow).
/// Whole tiles of oneDNN's kernels (64 rows of 784: 293 us for all 512; 40: 313; 16: 346).
int64_t part_rows(int64_t in, int64_t out) {
  constexpr int64_t elements = int64_t{1} << 16, tile = 32, least = 16;
  const int64_t rows = elements / in;
  return std::min(out, rows >= tile ? rows / tile * tile : least);
}

using Four [[gnu::vector_size(16), gnu::aligned(4)]] = float;

/// Four by four elements of turn().
inline void turn_tile(int64_t rows, int64_t columns, const float* yt, const float* bias, float* y) {
  const auto line = [&](int64_t i) { return *reinterpret_cast<const Four*>(yt + i * rows) + bias[i]; };
  const Four a = line(0), b = line(1), c = line(2), d = line(3);
  const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5),
             ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5),
             cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const auto put = [&](int64_t k, Four values) { *reinterpret_cast<Four*>(y + k * columns) = values; };
  put(0, __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5));
  put(1, __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7));
  put(2, __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5));
  put(3, __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7));
}

/// y[r, c] = yt[c, r] + bias[c], by strips that fit the first cache.
void turn(int64_t rows, int64_t columns, const float* yt, const float* bias, float* y) {
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  constexpr int64_t strip = 16;
  for (int64_t first = 0; first < whole_columns; first += strip)
    for (int64_t r = 0; r < whole_rows; r += 4)
      for (int64_t c = first; c < std::min(first + strip, whole_columns); c += 4)
        turn_tile(rows, columns, yt + c * rows + r, bias + c, y + r * columns + c);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      y[r * columns + c] = yt[c * rows + r] + bias[c];
}

class GemmOp : public Op {
 public:
  explicit GemmOp(const OpSpec& spec)
      : activation_(parse_activation(spec.activation, spec.activation_attributes)),
        type_(operand_type(spec.precision)),
        n_(spec.samples * element_count(spec.inputs[0]) / spec.parameters[0][1]),
        in_(spec.parameters[0][1]),
        out_(spec.parameters[0][0]),
        bias_(spec.parameters.size() > 1),
        wide_(out_ >= wide_outputs),
        apart_(wide_ || takes_input(activation_)),
        input_(operand({n_, in_})),
        weights_(operand({out_, in_})) {
    MemoryPlan memory;
    input_.place(memory);
    weights_.place(memory);
    plan_forward(memory);
    if (!spec.training) return;
    plan_backward(spec.input_needs_gradient[0], memory);
    if (!takes_input(activation_)) return;
    MemoryPlan saved;
    saved.add_floats(n_ * out_);
    saved_bytes_ = saved.bytes();
  }

  void forward(const OpForward& run) override {
    float* const z = saved_bytes_ > 0 ? floats_at(run.saved, 0) : run.output;
    std::byte* pad = run.scratch + forward_scratchpad_;
    const void* x = input_.pack(run.inputs[0], run.scratch, pad);
    const void* weights = weights_.pack(run.parameters[0], run.scratch, pad);
    if (wide_) {
      float* turned = floats_at(run.scratch, turned_offset_);
      forward_.primitive.run({weights, x, turned, pad});
      turn(n_, out_, turned, bias_ ? run.parameters[1] : no_bias_.data(), z);
    } else if (bias_)
      forward_.primitive.run({x, weights, z, pad, run.parameters[1]});
    else
      forward_.primitive.run({x, weights, z, pad});
    if (apart_ && activation_.kind != ActivationKind::none) activate(activation_, n_ * out_, z, run.output);
  }

  void backward(const OpBackward& run) override {
    const float* dz = run.output_gradient;
    if (activation_.kind != ActivationKind::none) {
      float* own = floats_at(run.scratch, dz_offset_);
      const float* z = saved_bytes_ > 0 ? floats_at(run.saved, 0) : nullptr;
      activation_gradient(activation_, n_ * out_, z, run.output, dz, own);
      dz = own;
    }
    std::byte* pad = run.scratch + backward_scratchpad_;
    const void* gradient = gradient_.pack(dz, run.scratch, pad);
    const void* x = input_.pack(run.inputs[0], run.scratch, pad);  // backward_part() finds both there
    if (run.input_gradients[0])
      data_product_.primitive.run(
          {gradient, weights_.pack(run.parameters[0], run.scratch, pad), run.input_gradients[0], pad});
    if (parts_.count == 1) weights_product_.primitive.run({gradient, x, run.parameter_gradients[0], pad});
    if (bias_) sum_rows(n_, out_, dz, run.parameter_gradients[1]);
  }

  GradientParts gradient_parts() const override { return parts_; }

  void backward_part(const OpBackward& run, int64_t part) override {
    const bool masked = activation_.kind != ActivationKind::none;  // dz lies in scratch since backward()
    const float* dz = masked ? floats_at(run.scratch, dz_offset_) : run.output_gradient;
    const auto* gradient = static_cast<const std::byte*>(gradient_.where(dz, run.scratch));
    const int64_t first_row = part * (parts_.elements / in_);
    onednn::Planned& product = part + 1 < parts_.count ? weights_product_ : last_weights_product_;
    product.primitive.run({gradient + static_cast<size_t>(first_row) * onednn::bytes(type_),
                           input_.where(run.inputs[0], run.scratch), run.parameter_gradients[0],
                           run.scratch + backward_scratchpad_});
  }

  BackwardNeeds backward_needs() const override {
    return {.inputs = true, .output = activation_.kind != ActivationKind::none && !takes_input(activation_)};
  }

 private:
  /// A matrix of the caller's as it is multiplied: rounded first, in bf16.
  Packed operand(const onednn::Dims& dims) const {
    return Packed::operand(onednn::desc(dims, Tag::ab), onednn::desc(dims, Tag::ab, type_));
  }

  void plan_forward(MemoryPlan memory) {
    if (wide_) {
      forward_ = onednn::matmul(onednn::desc({out_, in_}, Tag::ab, type_),
                                onednn::strided({in_, n_}, {1, in_}, type_), {},
                                onednn::desc({out_, n_}, Tag::ab), {});
      turned_offset_ = memory.add_floats(n_ * out_);
      if (!bias_) no_bias_.assign(static_cast<size_t>(out_), 0.0f);
    } else {
      const auto x = onednn::desc({n_, in_}, Tag::ab, type_);
      const auto weights = onednn::strided({in_, out_}, {1, in_}, type_);
      const auto bias = bias_ ? onednn::desc({1, out_}, Tag::ab) : onednn::Desc();
      forward_ = onednn::matmul(x, weights, bias, onednn::desc({n_, out_}, Tag::ab),
                                apart_ ? Activation{} : activation_);
    }
    forward_scratchpad_ = memory.add(
        std::max({forward_.scratchpad_bytes, input_.scratchpad_bytes(), weights_.scratchpad_bytes()}));
    scratch_bytes_ = memory.bytes();
  }

  void plan_backward(bool input_gradient, MemoryPlan memory) {
    gradient_ = operand({n_, out_});
    if (input_gradient)
      data_product_ =
          onednn::matmul(onednn::desc({n_, out_}, Tag::ab, type_), onednn::desc({out_, in_}, Tag::ab, type_),
                         {}, onednn::desc({n_, in_}, Tag::ab), {});
    const int64_t rows = part_rows(in_, out_);
    parts_ = {(out_ + rows - 1) / rows, rows * in_};
    weights_product_ = gradient_rows(rows);
    if (parts_.count > 1) last_weights_product_ = gradient_rows(out_ - (parts_.count - 1) * rows);
    if (activation_.kind != ActivationKind::none) dz_offset_ = memory.add_floats(n_ * out_);
    gradient_.place(memory);
    backward_scratchpad_ =
        memory.add(std::max({data_product_.scratchpad_bytes, weights_product_.scratchpad_bytes,
                             last_weights_product_.scratchpad_bytes, input_.scratchpad_bytes(),
                             weights_.scratchpad_bytes(), gradient_.scratchpad_bytes()}));
    scratch_bytes_ = std::max(scratch_bytes_, memory.bytes());
  }

  /// dW of so many outputs.
  onednn::Planned gradient_rows(int64_t rows) const {
    return onednn::matmul(onednn::strided({rows, n_}, {1, out_}, type_),
                          onednn::desc({n_, in_}, Tag::ab, type_), {}, onednn::desc({rows, in_}, Tag::ab),
                          {});
  }

  Activation activation_;
  onednn::Type type_;
  int64_t n_, in_, out_;
  bool bias_, wide_;
  bool apart_;                  ///< the activation is a pass of its own
  std::vector<float> no_bias_;  ///< of a wide layer without one
  Packed input_, weights_, gradient_;
  onednn::Planned forward_, data_product_, weights_product_, last_weights_product_;
  GradientParts parts_;
  size_t turned_offset_ = 0, forward_scratchpad_ = 0, backward_scratchpad_ = 0, dz_offset_ = 0;
};

}  // namespace

Shape infer_matmul(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  require_shape(input.size() <= 2,
                "Gemm needs a vector or a sequence of vectors, not " + shape_text(input) + " (flatten it)");
  require_shape(!spec.parameters.empty() && spec.parameters[0].size() == 2, "Gemm needs weights [out, in]");
  const Shape& weights = spec.parameters[0];
  require_shape(weights[1] == input.back(),
                "Gemm weights " + shape_text(weights) + " do not fit the input " + shape_text(input));
  require_shape(spec.parameters.size() == 1 || spec.parameters[1] == Shape{weights[0]},
                "Gemm bias does not fit the weights " + shape_text(weights));
  require_shape(
      int_attribute(spec.attributes, "transA", 0) == 0 && int_attribute(spec.attributes, "transB", 1) == 1,
      "Gemm is computed with transA = 0 and transB = 1 only");
  require_shape(
      float_attribute(spec.attributes, "alpha", 1) == 1 && float_attribute(spec.attributes, "beta", 1) == 1,
      "Gemm is computed with alpha = beta = 1 only");
  Shape output = input;
  output.back() = weights[0];
  return output;
}

std::unique_ptr<Op> make_matmul(const OpSpec& spec) {
  return std::make_unique<GemmOp>(spec);
}

}  // namespace lepton::ops
