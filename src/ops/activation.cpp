// SPDX-License-Identifier: Apache-2.0
// Elementwise activations (see activation.h) and the operators of that name: one loop per function over the
// formula of activation_math.h, compiled for each vector width; bits do not depend on it. Twin:
// kernels/activation.cu.
#include "ops/activation.h"

#include "base/error.h"
#include "base/simd.h"
#include "ops/activation_math.h"
#include "ops/math.h"
#include "ops/operators.h"

namespace lepton::ops {

Activation parse_activation(const std::string& type, const Attributes& attributes) {
  if (type.empty()) return {};
  if (type == "Relu") return {ActivationKind::relu, 0};
  if (type == "LeakyRelu")
    return {ActivationKind::leaky_relu, static_cast<float>(float_attribute(attributes, "alpha", 0.01))};
  if (type == "Elu")
    return {ActivationKind::elu, static_cast<float>(float_attribute(attributes, "alpha", 1.0))};
  if (type == "Sigmoid") return {ActivationKind::sigmoid, 0};
  if (type == "Tanh") return {ActivationKind::tanh, 0};
  CHECK(type == "Gelu", "activation " + type);
  const std::string approximate = string_attribute(attributes, "approximate", "none");
  REQUIRE(approximate == "none" || approximate == "tanh", Exit::deck, "",
          "Gelu has no approximation \"" + approximate + "\"", "use none or tanh");
  return {approximate == "tanh" ? ActivationKind::gelu_tanh : ActivationKind::gelu, 0};
}

bool gradient_from_output(const Activation& activation) {
  return !takes_input(activation) && !(activation.alpha < 0);
}

bool is_epilogue(const std::string& type) {
  return type.empty() || type == "Relu" || type == "LeakyRelu" || type == "Elu" || type == "Sigmoid" ||
         type == "Tanh";
}

LEPTON_SIMD static void relu(int64_t count, const float* x, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = relu_element(x[i]);
}
LEPTON_SIMD static void leaky_relu(int64_t count, float alpha, const float* x, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = leaky_relu_element(alpha, x[i]);
}
LEPTON_SIMD static void elu(int64_t count, float alpha, const float* x, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = elu_element(alpha, x[i]);
}
LEPTON_SIMD static void sigmoid(int64_t count, const float* x, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = math::sigmoid(x[i]);
}
LEPTON_SIMD static void hyperbolic_tangent(int64_t count, const float* x, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = math::tanh(x[i]);
}
LEPTON_SIMD static void gelu(int64_t count, const float* x, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = gelu_element(x[i]);
}
LEPTON_SIMD static void gelu_tanh(int64_t count, const float* x, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = gelu_tanh_element(x[i]);
}

void activate(const Activation& activation, int64_t count, const float* x, float* y) {
  switch (activation.kind) {
    case ActivationKind::none:
      if (x != y) std::copy(x, x + count, y);
      return;
    case ActivationKind::relu:
      return relu(count, x, y);
    case ActivationKind::leaky_relu:
      return leaky_relu(count, activation.alpha, x, y);
    case ActivationKind::elu:
      return elu(count, activation.alpha, x, y);
    case ActivationKind::sigmoid:
      return sigmoid(count, x, y);
    case ActivationKind::tanh:
      return hyperbolic_tangent(count, x, y);
    case ActivationKind::gelu:
      return gelu(count, x, y);
    case ActivationKind::gelu_tanh:
      return gelu_tanh(count, x, y);
  }
}

LEPTON_SIMD static void relu_gradient(int64_t count, const float* y, const float* dy, float* dx) {
  for (int64_t i = 0; i < count; ++i) dx[i] = relu_gradient_element(y[i], dy[i]);
}
LEPTON_SIMD static void leaky_relu_gradient(int64_t count, float alpha, const float* y, const float* dy,
                                            float* dx) {
  for (int64_t i = 0; i < count; ++i) dx[i] = leaky_relu_gradient_element(alpha, y[i], dy[i]);
}
LEPTON_SIMD static void elu_gradient(int64_t count, float alpha, const float* y, const float* dy, float* dx) {
  for (int64_t i = 0; i < count; ++i) dx[i] = elu_gradient_element(alpha, y[i], dy[i]);
}
LEPTON_SIMD static void sigmoid_gradient(int64_t count, const float* y, const float* dy, float* dx) {
  for (int64_t i = 0; i < count; ++i) dx[i] = sigmoid_gradient_element(y[i], dy[i]);
}
LEPTON_SIMD static void tanh_gradient(int64_t count, const float* y, const float* dy, float* dx) {
  for (int64_t i = 0; i < count; ++i) dx[i] = tanh_gradient_element(y[i], dy[i]);
}
LEPTON_SIMD static void gelu_gradient(int64_t count, const float* x, const float* dy, float* dx) {
  for (int64_t i = 0; i < count; ++i) dx[i] = gelu_gradient_element(x[i], dy[i]);
}
LEPTON_SIMD static void gelu_tanh_gradient(int64_t count, const float* x, const float* dy, float* dx) {
  for (int64_t i = 0; i < count; ++i) dx[i] = gelu_tanh_gradient_element(x[i], dy[i]);
}

void activation_gradient(const Activation& activation, int64_t count, const float* x, const float* y,
                         const float* dy, float* dx) {
  switch (activation.kind) {
    case ActivationKind::none:
      if (dy != dx) std::copy(dy, dy + count, dx);
      return;
    case ActivationKind::relu:
      return relu_gradient(count, y, dy, dx);
    case ActivationKind::leaky_relu:
      return leaky_relu_gradient(count, activation.alpha, y, dy, dx);
    case ActivationKind::elu:
      return elu_gradient(count, activation.alpha, y, dy, dx);
    case ActivationKind::sigmoid:
      return sigmoid_gradient(count, y, dy, dx);
    case ActivationKind::tanh:
      return tanh_gradient(count, y, dy, dx);
    case ActivationKind::gelu:
      return gelu_gradient(count, x, dy, dx);
    case ActivationKind::gelu_tanh:
      return gelu_tanh_gradient(count, x, dy, dx);
  }
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
  return spec.inputs[0];
}

std::unique_ptr<Op> make_activation(const OpSpec& spec) {
  return std::make_unique<ActivationOp>(spec);
}

}  // namespace lepton::ops
