// SPDX-License-Identifier: Apache-2.0
// Elementwise activations (see activation.h) and the operators of that name: one loop over the formulas of
// activation_math.h, compiled for each function and vector width; bits do not depend on it. Twin:
// kernels/activation.cu.
#include "ops/activation.h"

#include "base/error.h"
#include "base/simd.h"
#include "ops/activation_math.h"
#include "ops/math.h"
#include "ops/operators.h"

namespace lepton::ops {

Activation parse_activation(const std::string& type, const Attributes& attributes) {
  const auto number = [&](const char* name, double otherwise) {
    return static_cast<float>(float_attribute(attributes, name, otherwise));
  };
  if (type.empty()) return {};
  if (type == "Relu") return {ActivationKind::relu};
  if (type == "LeakyRelu") return {ActivationKind::leaky_relu, number("alpha", 0.01)};
  if (type == "Elu") return {ActivationKind::elu, number("alpha", 1.0)};
  if (type == "Selu")  // the constants of the specification
    return {ActivationKind::selu, number("alpha", 1.67326319217681884765625),
            number("gamma", 1.05070102214813232421875)};
  if (type == "Sigmoid") return {ActivationKind::sigmoid};
  if (type == "HardSigmoid") return {ActivationKind::hard_sigmoid, number("alpha", 0.2), number("beta", 0.5)};
  if (type == "Tanh") return {ActivationKind::tanh};
  if (type == "Softplus") return {ActivationKind::softplus};
  if (type == "Swish") return {ActivationKind::swish, number("alpha", 1.0)};
  if (type == "Mish") return {ActivationKind::mish};
  CHECK(type == "Gelu", "activation " + type);
  const std::string approximate = string_attribute(attributes, "approximate", "none");
  REQUIRE(approximate == "none" || approximate == "tanh", Exit::deck, "",
          "Gelu has no approximation \"" + approximate + "\"", "use none or tanh");
  return {approximate == "tanh" ? ActivationKind::gelu_tanh : ActivationKind::gelu};
}

bool gradient_from_output(const Activation& activation) {
  return !takes_input(activation) && !(activation.alpha < 0);
}

bool is_epilogue(const std::string& type) {
  return type.empty() || type == "Relu" || type == "LeakyRelu" || type == "Elu" || type == "Sigmoid" ||
         type == "Tanh";
}

namespace {

template <ActivationKind kind>
LEPTON_SIMD void activate_all(Activation activation, int64_t count, const float* x, float* y) {
  activation.kind = kind;
  for (int64_t i = 0; i < count; ++i) y[i] = activation_element(activation, x[i]);
}

template <ActivationKind kind>
LEPTON_SIMD void differentiate_all(Activation activation, int64_t count, const float* known, const float* dy,
                                   float* dx) {
  activation.kind = kind;
  for (int64_t i = 0; i < count; ++i) dx[i] = activation_gradient_element(activation, known[i], dy[i]);
}

struct Loops {
  decltype(&activate_all<ActivationKind::relu>) forward = nullptr;
  decltype(&differentiate_all<ActivationKind::relu>) backward = nullptr;
};

Loops loops_of(ActivationKind kind) {
  return for_kind(kind, []<ActivationKind constant>() {
    return Loops{activate_all<constant>, differentiate_all<constant>};
  });
}

}  // namespace

void activate(const Activation& activation, int64_t count, const float* x, float* y) {
  if (activation.kind != ActivationKind::none)
    return loops_of(activation.kind).forward(activation, count, x, y);
  if (x != y) std::copy(x, x + count, y);
}

void activation_gradient(const Activation& activation, int64_t count, const float* x, const float* y,
                         const float* dy, float* dx) {
  if (activation.kind != ActivationKind::none)
    return loops_of(activation.kind).backward(activation, count, takes_input(activation) ? x : y, dy, dx);
  if (dy != dx) std::copy(dy, dy + count, dx);
}

namespace {

class ActivationOp : public Op {
 public:
  explicit ActivationOp(const OpSpec& spec)
      : activation_(parse_activation(spec.type, spec.attributes)),
        count_(spec.samples * element_count(spec.output)) {}

  void forward(const OpForward& run) override { activate(activation_, count_, run.inputs[0], run.output); }
  void backward(const OpBackward& run) override {
    if (!run.input_gradients[0]) return;
    activation_gradient(activation_, count_, run.inputs[0], run.output, run.output_gradient,
                        run.input_gradients[0]);
  }
  BackwardNeeds backward_needs() const override {
    const bool from_output = gradient_from_output(activation_);
    return {.inputs = !from_output, .output = from_output};
  }
  bool in_place() const override { return gradient_from_output(activation_); }

 private:
  Activation activation_;
  int64_t count_;
};

}  // namespace

Shape infer_same(const OpSpec& spec) {
  return spec.inputs[0];
}

Shape infer_activation(const OpSpec& spec) {
  const Activation activation = parse_activation(spec.type, spec.attributes);
  REQUIRE(activation.alpha >= 0, Exit::deck, "", spec.type + " needs alpha >= 0", "");
  REQUIRE(activation.kind != ActivationKind::selu || activation.beta > 0, Exit::deck, "",
          "Selu needs gamma > 0", "");
  return spec.inputs[0];
}

std::unique_ptr<Op> make_activation(const OpSpec& spec) {
  return std::make_unique<ActivationOp>(spec);
}

}  // namespace lepton::ops
