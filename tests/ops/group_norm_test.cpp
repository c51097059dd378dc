// SPDX-License-Identifier: Apache-2.0
// GroupNormalization and InstanceNormalization against double: vectors, images, volumes; epsilon and the
// number of groups matter; large means do not hurt.
#include "ops/group_norm_golden.h"
#include "ops/placed.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec norm(const Shape& input, int64_t groups, double epsilon = 1e-5) {
  OpSpec spec{.type = groups ? "GroupNormalization" : "InstanceNormalization",
              .attributes = {{"epsilon", epsilon}},
              .samples = 2,
              .training = true,
              .inputs = {input},
              .parameters = {{input[0]}, {input[0]}}};
  if (groups) spec.attributes["num_groups"] = groups;
  return spec;
}

void check_group_norm(const OpSpec& open, double tolerance = 2e-6) {
  const OpSpec spec = completed(open);
  const Shape& shape = spec.inputs[0];
  const int64_t groups = int_attribute(spec.attributes, "num_groups", shape[0]);
  const double epsilon = float_attribute(spec.attributes, "epsilon", 1e-5);
  check_op(
      spec,
      [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>& parameters) {
        Numbers y(inputs[0].size());
        for (int64_t s = 0; s < 2; ++s)
          for (int64_t g = 0; g < groups; ++g) {
            double sum = 0, squares = 0, count = 0;
            const auto visit = [&](const std::function<void(size_t at, size_t channel)>& use) {
              for_each_index(shape, [&](const Shape& at) {
                if (at[0] / (shape[0] / groups) == g)
                  use(place(shape, spec.layouts[0], s, at), static_cast<size_t>(at[0]));
              });
            };
            visit([&](size_t at, size_t) { sum += inputs[0][at], count += 1; });
            const double mean = sum / count;
            visit([&](size_t at, size_t) { squares += (inputs[0][at] - mean) * (inputs[0][at] - mean); });
            const double inverse = 1 / std::sqrt(squares / count + epsilon);
            visit([&](size_t at, size_t c) {
              y[at] = (inputs[0][at] - mean) * inverse * parameters[0][c] + parameters[1][c];
            });
          }
        return y;
      },
      tolerance);
}

TEST(GroupNorm, Groups) {
  for (const int64_t groups : {1, 2, 3, 6}) check_group_norm(norm({6, 3, 2}, groups));
  check_group_norm(norm({12}, 4));
  check_group_norm(norm({4, 5}, 2));
  check_group_norm(norm({4, 2, 2, 3}, 2));
}

TEST(GroupNorm, Instances) {
  check_group_norm(norm({3, 4, 5}, 0));
  check_group_norm(norm({3, 7}, 0));
}

TEST(GroupNorm, IsWhatOnnxGives) {
  for (const GroupNormGolden& golden : group_norm_golden) {
    OpSpec spec = norm(golden.input, golden.groups, golden.epsilon);
    spec.training = false;
    spec.layouts = {Layout::channels_last};
    spec = completed(spec);
    Operands operands = random_operands(spec);
    const int64_t count = element_count(golden.input);
    const auto each = [&](const std::function<void(size_t onnx, size_t own)>& use) {
      for (int64_t s = 0; s < 2; ++s)
        for_each_index(golden.input, [&](const Shape& at) {
          use(place(golden.input, Layout::plain, s, at), place(golden.input, spec.layouts[0], s, at));
        });
    };
    each([&](size_t i, size_t own) { operands.inputs[0][own] = static_cast<float>(i * i % 23) - 11.0f; });
    for (size_t c = 0; c < operands.parameters[0].size(); ++c) {
      operands.parameters[0][c] = 1 + static_cast<float>(c) / 2;
      operands.parameters[1][c] = static_cast<float>(c) - 1;
    }
    const Floats got = run_op(spec, operands).output;
    ASSERT_EQ(golden.values.size(), static_cast<size_t>(2 * count));
    each([&](size_t i, size_t own) { EXPECT_NEAR(got[own], golden.values[i], 1e-5) << i; });
  }
}

TEST(GroupNorm, EpsilonIsAddedToTheVariance) {
  check_group_norm(norm({4, 3}, 2, 0.5));
  check_group_norm(norm({4, 3}, 0, 0.5));
}

TEST(GroupNorm, TheInputMayNeedNoGradient) {
  OpSpec spec = norm({4, 3}, 2);
  spec.input_needs_gradient = {false};
  check_group_norm(spec);
}

TEST(GroupNorm, ALargeMeanDoesNotHurt) {
  OpSpec spec = norm({2, 50}, 1);
  spec.training = false;
  spec = completed(spec);
  Operands operands = random_operands(spec);
  for (float& x : operands.inputs[0]) x = std::round(x * 100) + 4096;
  Operands centred = operands;
  for (float& x : centred.inputs[0]) x -= 4096;
  expect_near(run_op(spec, operands).output, widen(run_op(spec, centred).output), 1e-6, "output");
}

}  // namespace
}  // namespace lepton::ops
