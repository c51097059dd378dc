// SPDX-License-Identifier: Apache-2.0
// Max pools against plain loops in double: windows, strides, pads, dilations, ceil_mode, fused Relu, ties,
// NaN.
#include "ops/pool_cases.h"

namespace lepton::ops {
namespace {

using namespace testing;

TEST(MaxPool, WindowsOfAllKinds) {
  check_pool({"MaxPool", 2, 3, 6, 8, {2, 2}, {2, 2}}, {3, 3, 4});
  check_pool({"MaxPool", 2, 17, 5, 6, {3, 2}}, {17, 3, 5});
  check_pool({"MaxPool", 1, 4, 7, 7, {3, 3}, {2, 1}}, {4, 3, 5});
  check_pool({"MaxPool", 1, 4, 5, 5, {3, 3}, {2, 2}, {2, 0, 1, 1}}, {4, 3, 2});
  check_pool({"MaxPool", 1, 4, 9, 8, {3, 2}, {1, 2}, {0, 0, 0, 0}, {2, 3}}, {4, 5, 3});
  check_pool({"MaxPool", 1, 2, 6, 6, {3, 3}, {2, 2}, {0, 0, 0, 0}, {1, 1}, 1}, {2, 3, 3});
  check_pool({"MaxPool", 1, 2, 6, 6, {3, 3}, {2, 2}, {0, 0, 0, 0}, {1, 1}, 0}, {2, 2, 2});
  check_pool({"MaxPool", 1, 2, 4, 4, {1, 1}, {4, 4}, {0, 0, 0, 0}, {1, 1}, 1}, {2, 1, 1});
}

TEST(MaxPool, PairsAndOddSizes) {
  for (const char* activation : {"", "Relu"})
    for (const int64_t channels : {1, 5, 16, 21}) {
      PoolCase c{"MaxPool", 2, channels, 6, 8, {2, 2}, {2, 2}};
      c.activation = activation;
      check_pool(c, {channels, 3, 4});
      c.height = 7;
      c.width = 5;
      check_pool(c, {channels, 3, 2});
    }
}

TEST(MaxPool, FusedRelu) {
  PoolCase c{"MaxPool", 2, 17, 5, 6, {3, 2}, {1, 1}, {1, 0, 1, 1}};
  c.activation = "Relu";
  check_pool(c, {17, 5, 6});
}

TEST(MaxPool, InferenceGivesTheSameBits) {
  OpSpec spec = completed(pool({"MaxPool", 2, 5, 6, 8, {3, 2}, {2, 2}, {1, 1, 1, 0}}));
  const Operands operands = random_operands(spec);
  const Floats want = run_op(spec, operands).output;
  spec.training = false;
  EXPECT_EQ(run_op(spec, operands).output, want);
}

TEST(MaxPool, TheFirstOfEqualMaximaTakesTheGradient) {
  const OpSpec spec = completed(pool({"MaxPool", 1, 1, 2, 2, {2, 2}}));
  Operands operands = random_operands(spec);
  operands.inputs[0] = {0, 5, 5, 5};
  operands.output_gradient = {3};
  EXPECT_EQ(run_op(spec, operands).input_gradients[0], (Floats{0, 3, 0, 0}));
}

TEST(MaxPool, NaNWins) {
  const OpSpec spec = completed(pool({"MaxPool", 1, 1, 2, 2, {2, 2}}));
  for (size_t at = 0; at < 4; ++at) {
    Operands operands = random_operands(spec);
    operands.inputs[0][at] = NAN;
    EXPECT_TRUE(std::isnan(run_op(spec, operands).output[0])) << at;
  }
}

}  // namespace
}  // namespace lepton::ops
