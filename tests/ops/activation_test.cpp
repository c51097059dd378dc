// SPDX-License-Identifier: Apache-2.0
// Activations: values and derivatives against double libm, attributes, NaN, running in place.
#include "ops/activation.h"

#include <limits>

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec elementwise(const std::string& type, Attributes attributes = {}) {
  return {
      .type = type, .attributes = std::move(attributes), .samples = 3, .training = true, .inputs = {{37}}};
}

Reference map(double (*function)(double)) {
  return [function](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    Numbers output;
    for (const double x : inputs[0]) output.push_back(function(x));
    return output;
  };
}

Operands wide(const OpSpec& spec) {
  Operands operands = random_operands(completed(spec));
  operands.inputs[0] = random_floats(static_cast<int64_t>(operands.inputs[0].size()), 9, -4, 4);
  return operands;
}

void check(const OpSpec& spec, double (*function)(double)) {
  const Operands operands = wide(spec);
  check_op(spec, map(function), 1e-6, &operands);
}

TEST(Activation, Values) {
  check(elementwise("Relu"), [](double x) { return x > 0 ? x : 0; });
  check(elementwise("LeakyRelu"), [](double x) { return x > 0 ? x : 0.01 * x; });
  check(elementwise("LeakyRelu", {{"alpha", 0.3}}), [](double x) { return x > 0 ? x : 0.3 * x; });
  check(elementwise("Elu"), [](double x) { return x > 0 ? x : std::expm1(x); });
  check(elementwise("Elu", {{"alpha", 0.7}}), [](double x) { return x > 0 ? x : 0.7 * std::expm1(x); });
  check(elementwise("Sigmoid"), [](double x) { return 1 / (1 + std::exp(-x)); });
  check(elementwise("Tanh"), [](double x) { return std::tanh(x); });
  check(elementwise("Gelu"), [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); });
  check(elementwise("Gelu", {{"approximate", std::string("tanh")}}), [](double x) {
    return x / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
  });
}

TEST(Activation, ApproximateGeluIsAnotherFunction) {
  const OpSpec spec = completed(elementwise("Gelu")),
               other = completed(elementwise("Gelu", {{"approximate", std::string("tanh")}}));
  const Operands operands = wide(spec);
  EXPECT_NE(run_op(spec, operands).output, run_op(other, operands).output);
}

TEST(Activation, EluIsAccurateNearZero) {
  Floats x = {-1e-6f, -1e-3f, -0.1f, -0.2499f, -0.2501f}, y(x.size());
  activate({ActivationKind::elu, 1}, static_cast<int64_t>(x.size()), x.data(), y.data());
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_NEAR(static_cast<double>(y[i]) / std::expm1(static_cast<double>(x[i])), 1, 5e-7) << x[i];
}

TEST(Activation, KeepsNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto kind :
       {ActivationKind::relu, ActivationKind::leaky_relu, ActivationKind::elu, ActivationKind::gelu,
        ActivationKind::gelu_tanh, ActivationKind::sigmoid, ActivationKind::tanh}) {
    Floats y(20);
    activate({kind, 1}, 20, Floats(20, nan).data(), y.data());
    for (const float value : y) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Activation, InPlaceGivesTheSameBits) {
  for (const char* type : {"Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh"}) {
    const OpSpec spec = completed(elementwise(type));
    const Activation activation = parse_activation(type, {});
    const Operands operands = wide(spec);
    const Results apart = run_op(spec, operands);
    ASSERT_TRUE(make_op(spec)->in_place());
    Floats y = operands.inputs[0], dx = operands.output_gradient;
    activate(activation, static_cast<int64_t>(y.size()), y.data(), y.data());
    activation_gradient(activation, static_cast<int64_t>(y.size()), nullptr, y.data(), dx.data(), dx.data());
    EXPECT_EQ(y, apart.output);
    EXPECT_EQ(dx, apart.input_gradients[0]);
  }
  EXPECT_FALSE(make_op(completed(elementwise("Gelu")))->in_place());
}

TEST(Activation, RefusesBadAttributes) {
  expect_refused(elementwise("LeakyRelu", {{"alpha", -0.5}}), "alpha >= 0");
  expect_refused(elementwise("Elu", {{"alpha", std::string("one")}}), "must be a number");
  expect_refused(elementwise("Gelu", {{"approximate", std::string("sigmoid")}}), "approximation");
}

}  // namespace
}  // namespace lepton::ops
