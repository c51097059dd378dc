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

void check_activation(const OpSpec& spec, double (*function)(double)) {
  const Operands operands = wide(spec);
  check_op(spec, map(function), 1e-6, &operands);
}

TEST(Activation, Values) {
  check_activation(elementwise("Relu"), [](double x) { return x > 0 ? x : 0; });
  check_activation(elementwise("LeakyRelu"), [](double x) { return x > 0 ? x : 0.01 * x; });
  check_activation(elementwise("LeakyRelu", {{"alpha", 0.3}}), [](double x) { return x > 0 ? x : 0.3 * x; });
  check_activation(elementwise("Elu"), [](double x) { return x > 0 ? x : std::expm1(x); });
  check_activation(elementwise("Elu", {{"alpha", 0.7}}),
                   [](double x) { return x > 0 ? x : 0.7 * std::expm1(x); });
  check_activation(elementwise("Sigmoid"), [](double x) { return 1 / (1 + std::exp(-x)); });
  check_activation(elementwise("Tanh"), [](double x) { return std::tanh(x); });
  check_activation(elementwise("Gelu"), [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); });
  check_activation(elementwise("Gelu", {{"approximate", std::string("tanh")}}), [](double x) {
    return x / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
  });
}

TEST(Activation, MoreValues) {
  check_activation(elementwise("Selu"), [](double x) {
    return 1.0507010221481323 * (x > 0 ? x : 1.6732631921768188 * std::expm1(x));
  });
  check_activation(elementwise("Selu", {{"alpha", 0.8}}),
                   [](double x) { return 1.0507010221481323 * (x > 0 ? x : 0.8 * std::expm1(x)); });
  check_activation(elementwise("Selu", {{"alpha", 0.8}, {"gamma", 2.5}}),
                   [](double x) { return 2.5 * (x > 0 ? x : 0.8 * std::expm1(x)); });
  check_activation(elementwise("HardSigmoid"), [](double x) { return std::clamp(0.2 * x + 0.5, 0.0, 1.0); });
  check_activation(elementwise("HardSigmoid", {{"alpha", 0.6}, {"beta", 0.1}}),
                   [](double x) { return std::clamp(0.6 * x + 0.1, 0.0, 1.0); });
  check_activation(elementwise("Softplus"), [](double x) { return std::log1p(std::exp(x)); });
  check_activation(elementwise("Swish"), [](double x) { return x / (1 + std::exp(-x)); });
  check_activation(elementwise("Swish", {{"alpha", 1.7}}),
                   [](double x) { return x / (1 + std::exp(-1.7 * x)); });
  check_activation(elementwise("Mish"), [](double x) { return x * std::tanh(std::log1p(std::exp(x))); });
}

/// Far out on both sides values and derivatives are the asymptotes, not Inf or NaN.
TEST(Activation, FarFromZero) {
  const Floats x = {-1e18f, -200, -80, -30, 30, 80, 200, 1e18f}, ones(x.size(), 1);
  for (const auto& [type, slope] : {std::pair("Softplus", 1.0f), {"Swish", 1.0f}, {"Mish", 1.0f}}) {
    const Activation activation = parse_activation(type, {});
    Floats y(x.size()), dx(x.size());
    activate(activation, std::ssize(x), x.data(), y.data());
    activation_gradient(activation, std::ssize(x), x.data(), y.data(), ones.data(), dx.data());
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(y[i], x[i] > 0 ? x[i] : 0, 1e-9) << type << " of " << x[i];
      EXPECT_NEAR(dx[i], x[i] > 0 ? slope : 0, 1e-9) << type << " of " << x[i];
    }
  }
}

TEST(Activation, SoftplusIsAccurateWhereItIsSmall) {
  Floats x = {-1, -5, -12, -40, -80}, ones(x.size(), 1), y(x.size()), dx(x.size());
  const Activation softplus{ActivationKind::softplus};
  activate(softplus, std::ssize(x), x.data(), y.data());
  activation_gradient(softplus, std::ssize(x), nullptr, y.data(), ones.data(), dx.data());
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(y[i]) / std::log1p(std::exp(static_cast<double>(x[i]))), 1, 5e-7) << x[i];
    EXPECT_NEAR(static_cast<double>(dx[i]) * (1 + std::exp(-static_cast<double>(x[i]))), 1, 1e-6) << x[i];
  }
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
  for (const auto kind : {ActivationKind::relu, ActivationKind::leaky_relu, ActivationKind::elu,
                          ActivationKind::selu, ActivationKind::gelu, ActivationKind::gelu_tanh,
                          ActivationKind::sigmoid, ActivationKind::hard_sigmoid, ActivationKind::tanh,
                          ActivationKind::softplus, ActivationKind::swish, ActivationKind::mish}) {
    Floats y(20);
    activate({kind, 1, 1}, 20, Floats(20, nan).data(), y.data());
    for (const float value : y) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Activation, InPlaceGivesTheSameBits) {
  for (const char* type :
       {"Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "Tanh", "Softplus"}) {
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
  for (const char* type : {"Gelu", "Swish", "Mish"})
    EXPECT_FALSE(make_op(completed(elementwise(type)))->in_place());
}

TEST(Activation, RefusesBadAttributes) {
  expect_refused(elementwise("LeakyRelu", {{"alpha", -0.5}}), "alpha >= 0");
  expect_refused(elementwise("Elu", {{"alpha", std::string("one")}}), "must be a number");
  expect_refused(elementwise("Swish", {{"alpha", -1.0}}), "alpha >= 0");
  expect_refused(elementwise("Selu", {{"gamma", 0.0}}), "gamma > 0");
  expect_refused(elementwise("Gelu", {{"approximate", std::string("sigmoid")}}), "approximation");
}

}  // namespace
}  // namespace lepton::ops
