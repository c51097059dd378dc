// SPDX-License-Identifier: Apache-2.0
// Elementwise operators of one to three operands that are broadcast (see broadcast.h); an Add may have a Relu
// behind it. The output is made stretch by stretch: operands that do not lie as it does are fetched into a
// buffer, so that one loop per function serves all shapes; gradients go the way back. Made by the table, run
// by model/executor. Twin: kernels/elementwise.cu.
#include <algorithm>

#include "base/simd.h"
#include "ops/activation.h"
#include "ops/broadcast_runs.h"

namespace lepton::ops {

namespace {

template <ElementwiseKind kind>
LEPTON_SIMD void apply_all(Elementwise f, int64_t count, const float* a, const float* b, const float* c,
                           float* y) {
  f.kind = kind;
  for (int64_t i = 0; i < count; ++i) y[i] = elementwise_element(f, a[i], b[i], c[i]);
}

template <ElementwiseKind kind, int operand>
LEPTON_SIMD void derive_all(Elementwise f, int64_t count, const float* a, const float* b, const float* dy,
                            float* dx) {
  f.kind = kind;
  for (int64_t i = 0; i < count; ++i) dx[i] = elementwise_gradient_element(f, operand, a[i], b[i], dy[i]);
}

struct ElementwiseLoops {
  decltype(&apply_all<ElementwiseKind::add>) forward = nullptr;
  decltype(&derive_all<ElementwiseKind::add, 0>) backward[operands_most] = {};
};

struct LoopsOfKind {
  template <ElementwiseKind kind>
  ElementwiseLoops operator()() const {
    constexpr int operands = Elementwise{kind}.operands();
    ElementwiseLoops loops{apply_all<kind>, {derive_all<kind, 0>}};
    if constexpr (operands > 1) loops.backward[1] = derive_all<kind, 1>;
    if constexpr (operands > 2) loops.backward[2] = derive_all<kind, 2>;
    return loops;
  }
};

class ElementwiseOp : public Op {
 public:
  explicit ElementwiseOp(const OpSpec& spec)
      : function_(elementwise_of(spec)),
        relu_(parse_activation(spec.activation, spec.activation_attributes)),
        operands_(operands_of(spec)),
        broadcast_(broadcast_of(spec)),
        loops_(for_elementwise(function_.kind, LoopsOfKind())) {}

  void forward(const OpForward& run) override {
    const float* sources[operands_most] = {};
    for (size_t k = 0; k < operands_.size(); ++k)
      sources[k] = (operands_[k].is_parameter ? run.parameters : run.inputs)[operands_[k].index];
    for (int64_t first = 0; first < broadcast_.count; first += stretch_most) {
      const int64_t count = std::min(stretch_most, broadcast_.count - first);
      const float* x[operands_most];
      float* y = run.output + first;
      fetch(sources, first, count, x);
      loops_.forward(function_, count, x[0], x[1], x[2], y);
      if (has_relu()) activate(relu_, count, y, y);
    }
  }

  void backward(const OpBackward& run) override {
    const float* sources[operands_most] = {};
    float* targets[operands_most] = {};
    for (size_t k = 0; k < operands_.size(); ++k) {
      const Operand& operand = operands_[k];
      sources[k] = (operand.is_parameter ? run.parameters : run.inputs)[operand.index];
      targets[k] = (operand.is_parameter ? run.parameter_gradients : run.input_gradients)[operand.index];
      if (targets[k] && !broadcast_.whole[k]) std::fill_n(targets[k], broadcast_.own[k], 0.0f);
    }
    for (int64_t first = 0; first < broadcast_.count; first += stretch_most)
      stretch_backward(run, sources, targets, first, std::min(stretch_most, broadcast_.count - first));
  }

  BackwardNeeds backward_needs() const override {
    return {.inputs = function_.takes_operands(), .output = has_relu()};
  }

 private:
  bool has_relu() const { return relu_.kind != ActivationKind::none; }

  /// Operands as the output lies, from `first` on; those that the function does not have are the first.
  void fetch(const float* const (&sources)[operands_most], int64_t first, int64_t count,
             const float* (&x)[operands_most]) {
    for (size_t k = 0; k < operands_.size(); ++k) {
      x[k] = broadcast_.whole[k] ? sources[k] + first : fetched_[k];
      if (!broadcast_.whole[k])
        fetch_stretch(broadcast_, static_cast<int>(k), first, count, sources[k], fetched_[k]);
    }
    for (size_t k = operands_.size(); k < operands_most; ++k) x[k] = x[0];
  }

  void stretch_backward(const OpBackward& run, const float* const (&sources)[operands_most],
                        float* const (&targets)[operands_most], int64_t first, int64_t count) {
    const float* dy = run.output_gradient + first;
    if (has_relu()) {
      activation_gradient(relu_, count, nullptr, run.output + first, dy, relu_gradient_);
      dy = relu_gradient_;
    }
    const float* x[operands_most] = {dy, dy, dy};  // of no use to the function, where it stays
    if (function_.takes_operands()) fetch(sources, first, count, x);
    for (size_t k = 0; k < operands_.size(); ++k) {
      if (!targets[k]) continue;
      float* dx = broadcast_.whole[k] ? targets[k] + first : derived_;
      loops_.backward[k](function_, count, x[0], x[1], dy, dx);
      if (!broadcast_.whole[k])
        add_stretch(broadcast_, static_cast<int>(k), first, count, derived_, targets[k]);
    }
  }

  Elementwise function_;
  Activation relu_;
  std::vector<Operand> operands_;
  Broadcast broadcast_;
  ElementwiseLoops loops_;
  float fetched_[operands_most][stretch_most], derived_[stretch_most], relu_gradient_[stretch_most];
};

}  // namespace

std::unique_ptr<Op> make_elementwise(const OpSpec& spec) {
  return std::make_unique<ElementwiseOp>(spec);
}

}  // namespace lepton::ops
