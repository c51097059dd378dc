// SPDX-License-Identifier: Apache-2.0
// Gemm against a triple loop in double: odd shapes, bias, fused activations, refusals, bits.
#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec dense(int64_t n, int64_t in, int64_t out, bool bias, const std::string& activation = "",
             Attributes activation_attributes = {}) {
  OpSpec spec{.type = "Gemm",
              .attributes = {{"transB", int64_t{1}}},
              .activation = activation,
              .activation_attributes = std::move(activation_attributes),
              .samples = n,
              .training = true,
              .inputs = {{in}},
              .parameters = {{out, in}}};
  if (bias) spec.parameters.push_back({out});
  return spec;
}

Reference reference(int64_t n, int64_t in, int64_t out, double (*activation)(double) = nullptr) {
  return [=](const std::vector<Numbers>& inputs, const std::vector<Numbers>& parameters) {
    Numbers output;
    for (int64_t s = 0; s < n; ++s)
      for (int64_t o = 0; o < out; ++o) {
        double sum = parameters.size() > 1 ? parameters[1][static_cast<size_t>(o)] : 0;
        for (int64_t i = 0; i < in; ++i)
          sum += inputs[0][static_cast<size_t>(s * in + i)] * parameters[0][static_cast<size_t>(o * in + i)];
        output.push_back(activation ? activation(sum) : sum);
      }
    return output;
  };
}

TEST(Gemm, OddShapes) {
  for (const auto& [n, in, out] : {std::array<int64_t, 3>{1, 1, 1}, {5, 7, 3}, {3, 33, 10}, {17, 20, 19}})
    for (const bool bias : {false, true}) check_op(dense(n, in, out, bias), reference(n, in, out));
}

TEST(Gemm, FusedActivations) {
  check_op(dense(4, 9, 21, true, "Relu"), reference(4, 9, 21, [](double x) { return x > 0 ? x : 0; }));
  check_op(dense(4, 9, 21, true, "Tanh"), reference(4, 9, 21, [](double x) { return std::tanh(x); }), 1e-5);
  check_op(dense(4, 9, 21, true, "Sigmoid"),
           reference(4, 9, 21, [](double x) { return 1 / (1 + std::exp(-x)); }), 1e-5);
  check_op(dense(4, 9, 21, true, "Elu", {{"alpha", 0.6}}),
           reference(4, 9, 21, [](double x) { return x > 0 ? x : 0.6 * std::expm1(x); }), 1e-5);
  check_op(dense(4, 9, 21, false, "LeakyRelu", {{"alpha", 0.2}}),
           reference(4, 9, 21, [](double x) { return x > 0 ? x : 0.2 * x; }));
}

TEST(Gemm, NoInputGradientAtTheNetworksInput) {
  OpSpec spec = dense(3, 5, 4, true);
  spec.input_needs_gradient = {false};
  check_op(spec, reference(3, 5, 4));
}

TEST(Gemm, Inference) {
  OpSpec spec = dense(6, 5, 4, true);
  spec.training = false;
  check_op(spec, reference(6, 5, 4));
}

// MEASURED.md: forward and backward data give a sample the same bits whatever the size of the unit.
TEST(Gemm, BitsOfASampleDoNotDependOnTheUnit) {
  const OpSpec whole = completed(dense(64, 784, 128, true, "Relu"));
  const Operands operands = random_operands(whole);
  const Results want = run_op(whole, operands);
  for (const int64_t n : {1, 5, 32}) {
    const OpSpec part = completed(dense(n, 784, 128, true, "Relu"));
    Operands few = operands;
    few.inputs[0].resize(static_cast<size_t>(n * 784));
    few.output_gradient.resize(static_cast<size_t>(n * 128));
    const Results got = run_op(part, few);
    EXPECT_TRUE(std::equal(got.output.begin(), got.output.end(), want.output.begin())) << n;
    EXPECT_TRUE(std::equal(got.input_gradients[0].begin(), got.input_gradients[0].end(),
                           want.input_gradients[0].begin()))
        << n;
  }
}

TEST(Gemm, RefusesWhatDoesNotFit) {
  OpSpec spec = dense(2, 5, 4, true);
  spec.inputs = {{6}};
  expect_refused(spec, "[4, 5] do not fit the input [6]");
  spec.inputs = {{3, 4, 4}};
  expect_refused(spec, "flatten");
  spec = dense(2, 5, 4, true);
  spec.parameters[1] = {5};
  expect_refused(spec, "bias");
  spec = dense(2, 5, 4, true);
  spec.attributes["transA"] = int64_t{1};
  expect_refused(spec, "transA");
  spec = dense(2, 5, 4, true);
  spec.attributes["transB"] = int64_t{0};
  expect_refused(spec, "transB");
  spec = dense(2, 5, 4, true);
  spec.attributes["alpha"] = 0.5;
  expect_refused(spec, "alpha");
}

}  // namespace
}  // namespace lepton::ops
