// SPDX-License-Identifier: Apache-2.0
// Dropout: the mask is Philox's and depends on (key, sample id, step) only; scale, rate, inference, backward.
#include "base/philox.h"
#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec dropout(int64_t n, const Shape& input, double ratio, uint64_t key = 99) {
  return completed({.type = "Dropout",
                    .attributes = {{"ratio", ratio}},
                    .samples = n,
                    .training = true,
                    .inputs = {input},
                    .random_key = key});
}

TEST(Dropout, MaskIsPhiloxByTheDocumentedCounter) {
  const OpSpec spec = dropout(3, {3, 5, 7}, 0.3);
  Operands operands = random_operands(spec);
  operands.sample_ids = {7, (int64_t{5} << 32) + 1, 1234567890123};
  operands.inputs[0].assign(operands.inputs[0].size(), 1);
  const Results results = run_op(spec, operands);
  for (size_t s = 0; s < 3; ++s)
    for (uint32_t e = 0; e < 105; ++e) {
      const uint64_t id = static_cast<uint64_t>(operands.sample_ids[s]);
      const uint32_t word =
          philox4x32(99, {e / 4, static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32), 3})[e % 4];
      const float want = uniform01(word) >= 0.3f ? static_cast<float>(1 / 0.7) : 0.0f;
      ASSERT_EQ(results.output[s * 105 + e], want) << s << " " << e;
      ASSERT_EQ(results.input_gradients[0][s * 105 + e], want * operands.output_gradient[s * 105 + e]);
    }
}

TEST(Dropout, PlaceInTheUnitDoesNotMatter) {
  Operands operands = random_operands(dropout(2, {50}, 0.5));
  operands.inputs[0].assign(100, 1);
  operands.sample_ids = {11, 42};
  const Floats both = run_op(dropout(2, {50}, 0.5), operands).output;
  operands.inputs[0].resize(50);
  operands.output_gradient.resize(50);
  operands.sample_ids = {42};
  const Floats alone = run_op(dropout(1, {50}, 0.5), operands).output;
  EXPECT_EQ(Floats(both.begin() + 50, both.end()), alone);
  Operands other = operands;
  other.step = 4;
  EXPECT_NE(run_op(dropout(1, {50}, 0.5), other).output, alone);
  EXPECT_NE(run_op(dropout(1, {50}, 0.5, 98), operands).output, alone);
}

TEST(Dropout, RateAndExpectation) {
  const OpSpec spec = dropout(4, {10000}, 0.2);
  Operands operands = random_operands(spec);
  operands.inputs[0].assign(40000, 1);
  double sum = 0;
  for (const float value : run_op(spec, operands).output) sum += static_cast<double>(value);
  EXPECT_NEAR(sum / 40000, 1, 0.01);
}

TEST(Dropout, IdentityAtInferenceAndAtRatioZero) {
  OpSpec spec = dropout(2, {9}, 0.5);
  spec.training = false;
  const Operands operands = random_operands(spec);
  EXPECT_EQ(run_op(spec, operands).output, operands.inputs[0]);
  const Results none = run_op(dropout(2, {9}, 0), operands);
  EXPECT_EQ(none.output, operands.inputs[0]);
  EXPECT_EQ(none.input_gradients[0], operands.output_gradient);
}

TEST(Dropout, RefusesImpossibleRatios) {
  for (const double ratio : {-0.1, 1.0, 2.0, static_cast<double>(NAN)})
    expect_refused({.type = "Dropout", .attributes = {{"ratio", ratio}}, .inputs = {{5}}}, "[0, 1)");
}

}  // namespace
}  // namespace lepton::ops
