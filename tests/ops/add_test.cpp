// SPDX-License-Identifier: Apache-2.0
// Add: values, fused Relu, gradients of either input alone, gradient in place.
#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec add(const std::string& activation = "") {
  return {.type = "Add",
          .activation = activation,
          .samples = 2,
          .training = true,
          .inputs = {{3, 2, 5}, {3, 2, 5}}};
}

Reference add_reference(bool relu) {
  return [relu](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    Numbers y;
    for (size_t i = 0; i < inputs[0].size(); ++i) {
      const double sum = inputs[0][i] + inputs[1][i];
      y.push_back(relu && sum < 0 ? 0 : sum);
    }
    return y;
  };
}

TEST(Add, Sum) {
  check_op(add(), add_reference(false));
}
TEST(Add, FusedRelu) {
  check_op(add("Relu"), add_reference(true));
}

TEST(Add, EitherInputMayNeedNoGradient) {
  for (const bool first : {false, true}) {
    OpSpec spec = add("Relu");
    spec.input_needs_gradient = {first, !first};
    check_op(spec, add_reference(true));
  }
}

TEST(Add, InputGradientMayLieAtTheOutputGradient) {
  const OpSpec spec = completed(add("Relu"));
  const Operands operands = random_operands(spec);
  const Results apart = run_op(spec, operands);
  const auto op = make_op(spec);
  ASSERT_TRUE(op->in_place());
  Floats dy = operands.output_gradient, dx(dy.size(), NAN);
  const std::vector<const float*> nothing(2, nullptr);
  const std::vector<float*> gradients = {dy.data(), dx.data()};
  op->backward({nothing, {}, apart.output.data(), dy.data(), gradients, {}, nullptr, nullptr, nullptr});
  EXPECT_EQ(dy, apart.input_gradients[0]);
  EXPECT_EQ(dx, apart.input_gradients[1]);
}

TEST(Add, AParameterForEachRowOrChannel) {
  for (const auto& [input, row] :
       {std::pair<Shape, Shape>{{7}, {7}}, {{3, 5}, {3, 5}}, {{3, 5}, {5}}, {{4, 2, 3}, {4, 1, 1}}})
    for (const char* activation : {"", "Relu"})
      for (const bool gradient : {true, false}) {
        const OpSpec spec{.type = "Add",
                          .activation = activation,
                          .samples = 3,
                          .training = true,
                          .inputs = {input},
                          .parameters = {row},
                          .input_needs_gradient = {gradient}};
        check_op(spec, [relu = *activation != 0](const auto& inputs, const auto& parameters) {
          Numbers y;
          for (size_t i = 0; i < inputs[0].size(); ++i) {
            const double sum = inputs[0][i] + parameters[0][i % parameters[0].size()];
            y.push_back(relu && sum < 0 ? 0 : sum);
          }
          return y;
        });
      }
  expect_refused({.type = "Add", .samples = 1, .inputs = {{3, 5}}, .parameters = {{3}}},
                 "[3, 5] and a parameter [3]");
  expect_refused({.type = "Add", .samples = 1, .inputs = {{3, 5}}}, "two operands");
}

TEST(Add, RefusesUnequalShapes) {
  OpSpec spec = add();
  spec.inputs[1] = {3, 2, 4};
  expect_refused(spec, "[3, 2, 5] and [3, 2, 4]");
}

}  // namespace
}  // namespace lepton::ops
