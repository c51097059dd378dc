// SPDX-License-Identifier: Apache-2.0
// For tests of products in bf16: they must be what the float32 op gives on operands that were rounded
// beforehand, but for the order of float32 sums. Skipped, visibly, where the CPU lacks bf16.
#pragma once

#include <bit>

#include "ops/activation.h"
#include "ops/harness.h"

namespace lepton::ops::testing {

/// Why this process cannot test products in bf16; "": it can.
inline std::string bf16_absence() {
  const std::string refusal = precision_refusal("auto", Precision::bf16);
  if (!refusal.empty()) return refusal;
  return capped_for(Precision::bf16) == Precision::bf16 ? "" : "another test capped this process for fp32";
}

/// The nearest bfloat16, ties to even. Of normal, finite values.
inline float rounded_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000);
}
inline Floats rounded_to_bf16(Floats values) {
  for (float& value : values) value = rounded_to_bf16(value);
  return values;
}

inline OpSpec in_bf16(OpSpec spec) {
  spec = completed(std::move(spec));
  spec.precision = Precision::bf16;
  return spec;
}

/// Where the operands of the products are rounded; the bias is not.
inline Operands rounded_to_bf16(Operands operands) {
  operands.inputs[0] = rounded_to_bf16(operands.inputs[0]);
  operands.parameters[0] = rounded_to_bf16(operands.parameters[0]);
  operands.output_gradient = rounded_to_bf16(operands.output_gradient);
  return operands;
}

/// The largest difference, by the largest value.
inline double distance(const Floats& a, const Floats& b) {
  double difference = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference = std::max(difference, std::abs(double{a[i]} - double{b[i]}));
    largest = std::max(largest, std::abs(double{b[i]}));
  }
  return difference / largest;
}

/// A product and all its gradients; repeated runs to the bit. The bias gradient is float32's, of dz before it
/// is rounded.
inline void check_bf16(const OpSpec& open, double tolerance = 2e-6) {
  const OpSpec spec = in_bf16(open);
  const Operands operands = random_operands(spec);
  prepare_thread();
  const auto op = make_op(spec);
  const Results got = run_op(*op, spec, operands), again = run_op(*op, spec, operands);
  EXPECT_EQ(got.output, again.output);
  EXPECT_EQ(got.parameter_gradients, again.parameter_gradients);

  OpSpec exact = spec;
  exact.precision = Precision::fp32;
  expect_near(got.output, widen(run_op(exact, rounded_to_bf16(operands)).output), tolerance, "output");
  if (!spec.training) return;
  const Activation activation = parse_activation(spec.activation, spec.activation_attributes);
  Operands behind = operands;  // of the activation: its gradient is float32's, and only then rounded
  if (activation.kind != ActivationKind::none)
    activation_gradient(activation, std::ssize(got.output), nullptr, got.output.data(),
                        operands.output_gradient.data(), behind.output_gradient.data());
  exact.activation = "";
  const Results want = run_op(exact, rounded_to_bf16(behind));
  if (spec.input_needs_gradient[0]) {
    EXPECT_EQ(got.input_gradients, again.input_gradients);
    expect_near(got.input_gradients[0], widen(want.input_gradients[0]), tolerance, "input gradient");
  }
  expect_near(got.parameter_gradients[0], widen(want.parameter_gradients[0]), tolerance, "weight gradient");
  if (spec.parameters.size() == 1) return;
  const int64_t columns = element_count(spec.parameters[1]);
  Numbers sums(static_cast<size_t>(columns));
  for (size_t i = 0; i < behind.output_gradient.size(); ++i)
    sums[i % sums.size()] += double{behind.output_gradient[i]};
  expect_near(got.parameter_gradients[1], sums, tolerance, "bias gradient");
}

/// That operands are rounded at all: far more than sums may differ.
inline void expect_rounded(const OpSpec& open) {
  const OpSpec spec = in_bf16(open);
  OpSpec exact = spec;
  exact.precision = Precision::fp32;
  const Operands operands = random_operands(spec);
  const Results got = run_op(spec, operands), want = run_op(exact, operands);
  EXPECT_GT(distance(got.output, want.output), 2e-4);
  EXPECT_GT(distance(got.input_gradients[0], want.input_gradients[0]), 2e-4);
  EXPECT_GT(distance(got.parameter_gradients[0], want.parameter_gradients[0]), 2e-4);
}

/// Base of all tests of bf16: the first of a process takes the cap.
class InBf16 : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = bf16_absence(); !why.empty()) GTEST_SKIP() << why;
  }
};

}  // namespace lepton::ops::testing
