// SPDX-License-Identifier: Apache-2.0
// Gemm against a triple loop in double: odd shapes, bias, fused activations, refusals, bits.
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <numbers>
#include <thread>

#include "base/stop.h"
#include "ops/bf16.h"

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

Reference matmul_reference(int64_t n, int64_t in, int64_t out, double (*activation)(double) = nullptr) {
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
    for (const bool bias : {false, true}) check_op(dense(n, in, out, bias), matmul_reference(n, in, out));
}

TEST(Gemm, EveryRowOfASequence) {
  OpSpec spec = dense(2, 7, 5, true, "Relu");
  spec.inputs = {{3, 7}};
  EXPECT_EQ(completed(spec).output, (Shape{3, 5}));
  check_op(spec, matmul_reference(2 * 3, 7, 5, [](double x) { return x > 0 ? x : 0; }));
}

TEST(Gemm, WideLayers) {
  for (const auto& [n, in, out] : {std::array<int64_t, 3>{1, 3, 256}, {2, 2, 271}, {17, 1, 257}})
    for (const bool bias : {false, true}) {
      check_op(dense(n, in, out, bias), matmul_reference(n, in, out));
      check_op(dense(n, in, out, bias, "Relu"),
               matmul_reference(n, in, out, [](double x) { return x > 0 ? x : 0; }));
    }
}

// Each part equals the same rows of a product in one piece.
TEST(Gemm, LargeGradientsComeInParts) {
  const int64_t n = 5, in = 700, out = 401;
  for (const char* activation : {"", "Relu"}) {
    const OpSpec spec = completed(dense(n, in, out, true, activation));
    prepare_thread();
    const auto op = make_op(spec);
    EXPECT_EQ(op->gradient_parts().count, 7);  // of 64 rows: 65,536 elements at most, in tiles
    EXPECT_EQ(op->gradient_parts().elements % in, 0);
    const Operands operands = random_operands(spec);
    const Results results = run_op(*op, spec, operands);
    ASSERT_EQ(results.parameter_gradients[0].size(), static_cast<size_t>(in * out));
    for (int64_t o = 0; o < out; ++o)
      for (int64_t i = 0; i < in; i += 97) {
        double want = 0;
        for (int64_t s = 0; s < n; ++s) {
          const bool alive = *activation == 0 || results.output[s * out + o] > 0;
          want += alive
                      ? double{operands.output_gradient[s * out + o]} * double{operands.inputs[0][s * in + i]}
                      : 0;
        }
        ASSERT_NEAR(results.parameter_gradients[0][o * in + i], want, 1e-5) << o << " " << i;
      }
  }
}

TEST(Gemm, FusedActivations) {
  check_op(dense(4, 9, 21, true, "Relu"), matmul_reference(4, 9, 21, [](double x) { return x > 0 ? x : 0; }));
  check_op(dense(4, 9, 21, true, "Tanh"), matmul_reference(4, 9, 21, [](double x) { return std::tanh(x); }),
           1e-5);
  check_op(dense(4, 9, 21, true, "Sigmoid"),
           matmul_reference(4, 9, 21, [](double x) { return 1 / (1 + std::exp(-x)); }), 1e-5);
  check_op(dense(4, 9, 21, true, "Elu", {{"alpha", 0.6}}),
           matmul_reference(4, 9, 21, [](double x) { return x > 0 ? x : 0.6 * std::expm1(x); }), 1e-5);
  check_op(dense(4, 9, 21, false, "LeakyRelu", {{"alpha", 0.2}}),
           matmul_reference(4, 9, 21, [](double x) { return x > 0 ? x : 0.2 * x; }));
}

double gelu(double x) {
  return x / 2 * std::erfc(-x / std::sqrt(2.0));
}
double gelu_by_tanh(double x) {
  return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

// Its derivative is of the input, which is kept; wide layers are computed the other way round.
TEST(Gemm, FusedGelu) {
  const Attributes by_tanh{{"approximate", std::string("tanh")}};
  for (const int64_t out : {21, 257})
    for (const bool bias : {true, false}) {
      check_op(dense(3, 5, out, bias, "Gelu"), matmul_reference(3, 5, out, gelu), 1e-5);
      check_op(dense(3, 5, out, bias, "Gelu", by_tanh), matmul_reference(3, 5, out, gelu_by_tanh), 1e-5);
      OpSpec inference = dense(3, 5, out, bias, "Gelu");
      inference.training = false;
      check_op(inference, matmul_reference(3, 5, out, gelu), 1e-5);
    }
  EXPECT_GE(make_op(completed(dense(4, 9, 21, true, "Gelu")))->saved_bytes(), 4U * 21 * sizeof(float));
  EXPECT_EQ(make_op(completed(dense(4, 9, 21, true, "Tanh")))->saved_bytes(), 0U);
}

TEST(Gemm, NoInputGradientAtTheNetworksInput) {
  OpSpec spec = dense(3, 5, 4, true);
  spec.input_needs_gradient = {false};
  check_op(spec, matmul_reference(3, 5, 4));
}

TEST(Gemm, Inference) {
  OpSpec spec = dense(6, 5, 4, true);
  spec.training = false;
  check_op(spec, matmul_reference(6, 5, 4));
}

// MEASURED.md: forward and backward data give a sample the same bits whatever the size of the unit.
class GemmOutputs : public ::testing::TestWithParam<int64_t> {};

INSTANTIATE_TEST_SUITE_P(NarrowAndWide, GemmOutputs, ::testing::Values(10, 128, 256, 512));

TEST_P(GemmOutputs, BitsOfASampleDoNotDependOnTheUnit) {
  const int64_t outputs = GetParam();
  const OpSpec whole = completed(dense(64, 784, outputs, true, "Relu"));
  const Operands operands = random_operands(whole);
  const Results want = run_op(whole, operands);
  for (const int64_t n : {1, 5, 32}) {
    const OpSpec part = completed(dense(n, 784, outputs, true, "Relu"));
    Operands few = operands;
    few.inputs[0].resize(static_cast<size_t>(n * 784));
    few.output_gradient.resize(static_cast<size_t>(n * outputs));
    const Results got = run_op(part, few);
    EXPECT_TRUE(std::equal(got.output.begin(), got.output.end(), want.output.begin())) << n;
    EXPECT_TRUE(std::equal(got.input_gradients[0].begin(), got.input_gradients[0].end(),
                           want.input_gradients[0].begin()))
        << n;
  }
}

// oneDNN's products move the stack pointer to where no signal handler may write.
TEST(Gemm, SignalsDoNotDisturbProducts) {
  const OpSpec spec = completed(dense(128, 784, 512, true, "Relu"));
  const Operands operands = random_operands(spec);
  prepare_thread();
  install_stop_handlers();
  const auto op = make_op(spec);
  const Results quiet = run_op(*op, spec, operands);
  std::atomic<bool> done{false};
  std::thread signals([&done, computing = pthread_self()] {
    while (!done) {
      pthread_kill(computing, SIGUSR1);
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  });
  bool same = true;
  for (int trial = 0; trial < 200; ++trial) {
    const Results disturbed = run_op(*op, spec, operands);
    same = same && disturbed.output == quiet.output &&
           disturbed.parameter_gradients == quiet.parameter_gradients &&
           disturbed.input_gradients == quiet.input_gradients;
  }
  done = true;
  signals.join();
  clear_stop();
  EXPECT_TRUE(same);
}

using GemmBf16 = InBf16;

TEST_F(GemmBf16, IsTheProductOfRoundedOperands) {
  for (const auto& [n, in, out] : {std::array<int64_t, 3>{1, 1, 1},
                                   {5, 7, 3},
                                   {3, 33, 10},
                                   {17, 20, 19},
                                   {64, 256, 10},
                                   {1, 3, 256},
                                   {2, 2, 271},
                                   {17, 1, 257},
                                   {64, 129, 256}})
    for (const bool bias : {false, true})
      for (const char* activation : {"", "Relu", "Tanh"}) check_bf16(dense(n, in, out, bias, activation));
}

TEST_F(GemmBf16, LargeGradientsComeInPartsOfOneRounding) {
  for (const char* activation : {"", "Relu"}) {
    const OpSpec spec = dense(5, 700, 401, true, activation);
    EXPECT_EQ(make_op(in_bf16(spec))->gradient_parts().count, 7);
    check_bf16(spec);
  }
}

TEST_F(GemmBf16, AtTheNetworksInputAndInInference) {
  OpSpec spec = dense(3, 5, 4, true);
  spec.input_needs_gradient = {false};
  check_bf16(spec);
  for (const int64_t out : {4, 300}) {
    OpSpec inference = dense(6, 5, out, true, "Relu");
    inference.training = false;
    check_bf16(inference);
  }
}

TEST_F(GemmBf16, RoundsOperandsAndNothingElse) {
  for (const int64_t out : {10, 300}) {
    expect_rounded(dense(16, 40, out, true));
    // Operands that bfloat16 holds, and a sum and a bias that it does not.
    OpSpec spec = in_bf16(dense(1, 2, out, true));
    spec.training = false;
    Operands operands = random_operands(spec);
    operands.inputs[0] = {1, 0x1p-12f};
    std::fill(operands.parameters[0].begin(), operands.parameters[0].end(), 1.0f);
    std::fill(operands.parameters[1].begin(), operands.parameters[1].end(), 0x1p-20f);
    for (const float y : run_op(spec, operands).output) ASSERT_EQ(y, 1 + 0x1p-12f + 0x1p-20f);
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
