// SPDX-License-Identifier: Apache-2.0
// PRelu against double: a slope per channel, per feature, and one for all; refusals.
#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec prelu(int64_t n, const Shape& input, const Shape& slope) {
  return {.type = "PRelu", .samples = n, .training = true, .inputs = {input}, .parameters = {slope}};
}

/// Memory is channels-last: the slope of element i is i modulo their number.
Numbers prelu_reference(const std::vector<Numbers>& inputs, const std::vector<Numbers>& p) {
  Numbers y;
  for (size_t i = 0; i < inputs[0].size(); ++i)
    y.push_back(inputs[0][i] > 0 ? inputs[0][i] : p[0][i % p[0].size()] * inputs[0][i]);
  return y;
}

TEST(PRelu, Images) {
  check_op(prelu(3, {5, 2, 3}, {5, 1, 1}), prelu_reference, 1e-6);
  check_op(prelu(1, {1, 1, 1}, {1, 1, 1}), prelu_reference, 1e-6);
}

TEST(PRelu, VectorsAndSequences) {
  for (const int64_t width : {1, 16, 37}) check_op(prelu(5, {width}, {width}), prelu_reference, 1e-6);
  check_op(prelu(2, {3, 7}, {7}), prelu_reference, 1e-6);
}

TEST(PRelu, OneSlopeForAll) {
  check_op(prelu(3, {5, 2, 3}, {1}), prelu_reference, 2e-6);
  check_op(prelu(5, {37}, {1}), prelu_reference, 2e-6);
}

TEST(PRelu, RefusesSlopesThatDoNotFit) {
  expect_refused(prelu(2, {5, 2, 3}, {5}), "takes [5, 1, 1], [3] or [1]");
  expect_refused(prelu(2, {9}, {8}), "slope [8] does not fit its input [9]");
  OpSpec none = prelu(2, {9}, {9});
  none.parameters.clear();
  expect_refused(none, "needs a slope");
}

}  // namespace
}  // namespace lepton::ops
