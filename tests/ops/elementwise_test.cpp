// SPDX-License-Identifier: Apache-2.0
// Elementwise operators against double: values, gradients of every operand, all ways to broadcast in both
// layouts, parameters on either side, NaN, corners of derivatives, refusals.
#include "ops/broadcast_runs.h"
#include "ops/placed.h"

namespace lepton::ops {
namespace {

using namespace testing;

using Scalar = std::function<double(const Numbers&)>;

struct ElementwiseCase {
  const char* type;
  Scalar function;
  float low, high;  ///< operands
};
const ElementwiseCase binaries[] = {
    {"Add", [](const Numbers& x) { return x[0] + x[1]; }, -1, 1},
    {"Sub", [](const Numbers& x) { return x[0] - x[1]; }, -1, 1},
    {"Mul", [](const Numbers& x) { return x[0] * x[1]; }, -1, 1},
    {"Div", [](const Numbers& x) { return x[0] / x[1]; }, 0.5f, 2},
    {"Pow", [](const Numbers& x) { return std::pow(x[0], x[1]); }, 0.5f, 2},
    {"Min", [](const Numbers& x) { return std::min(x[0], x[1]); }, -1, 1},
    {"Max", [](const Numbers& x) { return std::max(x[0], x[1]); }, -1, 1},
    {"Equal", [](const Numbers& x) { return x[0] == x[1]; }, -1, 1},
    {"Greater", [](const Numbers& x) { return x[0] > x[1]; }, -1, 1},
    {"Less", [](const Numbers& x) { return x[0] < x[1]; }, -1, 1},
};
const ElementwiseCase unaries[] = {
    {"Neg", [](const Numbers& x) { return -x[0]; }, -1, 1},
    {"Abs", [](const Numbers& x) { return std::abs(x[0]); }, -1, 1},
    {"Sqrt", [](const Numbers& x) { return std::sqrt(x[0]); }, 0.1f, 3},
    {"Exp", [](const Numbers& x) { return std::exp(x[0]); }, -2, 2},
    {"Log", [](const Numbers& x) { return std::log(x[0]); }, 0.2f, 3},
    {"Erf", [](const Numbers& x) { return std::erf(x[0]); }, -2, 2},
    {"Reciprocal", [](const Numbers& x) { return 1 / x[0]; }, 0.3f, 3},
    {"Sign", [](const Numbers& x) { return x[0] < 0 ? -1 : 1; }, -3, 3},
    {"Floor", [](const Numbers& x) { return std::floor(x[0]); }, -3, 3},
    {"Ceil", [](const Numbers& x) { return std::ceil(x[0]); }, -3, 3},
    {"Not", [](const Numbers& x) { return x[0] == 0; }, -3, 3},
    {"Clip", [](const Numbers& x) { return x[0]; }, -3, 3},
};

/// Operands where `places` says: values and parameters in ONNX's order.
void check_elementwise(OpSpec open, const Scalar& function, float low, float high,
                       const std::vector<bool>& places) {
  const OpSpec spec = completed(std::move(open));
  Operands operands = random_operands(spec);
  uint32_t seed = 40;
  for (std::vector<Floats>* arrays : {&operands.inputs, &operands.parameters})
    for (Floats& array : *arrays) array = random_floats(std::ssize(array), ++seed, low, high);
  const auto reference = [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>& parameters) {
    Numbers y(static_cast<size_t>(spec.samples * element_count(spec.output)));
    for (int64_t s = 0; s < spec.samples; ++s)
      for_each_index(spec.output, [&](const Shape& at) {
        Numbers x;
        size_t value = 0, parameter = 0;
        for (const bool is_parameter : places) {
          const size_t k = is_parameter ? parameter++ : value++;
          const Shape& shape = is_parameter ? spec.parameters[k] : spec.inputs[k];
          const Shape index = broadcast_index(shape, at);
          x.push_back(is_parameter ? parameters[k][place(shape, Layout::plain, 0, index)]
                                   : inputs[k][place(shape, spec.layouts[k], s, index)]);
        }
        const double z = function(x);
        y[place(spec.output, spec.output_layout, s, at)] = spec.activation == "Relu" && z < 0 ? 0 : z;
      });
    return y;
  };
  check_op(spec, reference, 2e-6, &operands);
}

OpSpec elementwise(const char* type, std::vector<Shape> inputs, std::vector<Shape> parameters = {}) {
  return {.type = type,
          .samples = 3,
          .training = true,
          .inputs = std::move(inputs),
          .parameters = std::move(parameters)};
}

TEST(Elementwise, FunctionsOfOne) {
  for (const ElementwiseCase& c : unaries)
    for (const Shape& shape : {Shape{37}, {3, 4, 7}})
      check_elementwise(elementwise(c.type, {shape}), c.function, c.low, c.high, {false});
}

TEST(Elementwise, FunctionsOfTwo) {
  for (const ElementwiseCase& c : binaries) {
    check_elementwise(elementwise(c.type, {{5, 3}, {5, 3}}), c.function, c.low, c.high, {false, false});
    check_elementwise(elementwise(c.type, {{5, 3}, {1, 3}}), c.function, c.low, c.high, {false, false});
    check_elementwise(elementwise(c.type, {{5, 3}}, {{3}}), c.function, c.low, c.high, {false, true});
    OpSpec first = elementwise(c.type, {{4, 2, 3}}, {{4, 1, 1}});
    first.attributes["parameter_first"] = int64_t{1};
    check_elementwise(first, c.function, c.low, c.high, {true, false});
  }
}

TEST(Elementwise, WaysToBroadcast) {
  const auto difference = [](const Numbers& x) { return x[0] - x[1]; };
  for (const Layout layout : {Layout::plain, Layout::channels_last})
    for (const auto& [a, b] :
         std::initializer_list<std::pair<Shape, Shape>>{{{4, 3, 5}, {4, 1, 1}},
                                                        {{1, 3, 5}, {4, 3, 5}},
                                                        {{4, 1, 5}, {1, 3, 1}},
                                                        {{4, 3, 5}, {1, 1, 1}},
                                                        {{1, 1, 1}, {4, 3, 5}},
                                                        {{2, 1, 3, 1, 2}, {1, 3, 1, 2, 1}},
                                                        {{2, 260}, {2, 1}}}) {
      OpSpec spec = elementwise("Sub", {a, b});
      if (element_count(a) > stretch_most) spec.samples = 1;
      spec.layouts = {layout, layout};
      check_elementwise(spec, difference, -1, 1, {false, false});
    }
  for (const Shape& row :
       {Shape{}, {1}, {5}, {3, 1}, {4, 1, 1}, {1, 4, 3, 5}, {1, 3, 5}, {1, 4, 1, 1}, {3, 5}}) {
    check_elementwise(elementwise("Sub", {{4, 3, 5}}, {row}), difference, -1, 1, {false, true});
    check_elementwise(elementwise("Sub", {{4, 1, 5}}, {row}), difference, -1, 1, {false, true});
  }
}

TEST(Elementwise, AnAddOfUnequalShapesHasItsRelu) {
  const auto sum = [](const Numbers& x) { return x[0] + x[1]; };
  OpSpec spec = elementwise("Add", {{4, 3, 5}, {4, 1, 1}});
  spec.activation = "Relu";
  check_elementwise(spec, sum, -1, 1, {false, false});
  spec = elementwise("Add", {{4, 3, 5}}, {{3, 1}});
  spec.activation = "Relu";
  check_elementwise(spec, sum, -1, 1, {false, true});
}

TEST(Elementwise, Where) {
  const auto choose = [](const Numbers& x) { return x[0] > 0 ? x[1] : x[2]; };
  const auto step = [&](const Numbers& x) { return choose({x[0] > 0 ? 1.0 : 0.0, x[1], x[2]}); };
  // A condition that is 0 or 1 is made by another operator; here half of it is cut to 0.
  const auto checked = [&](std::vector<Shape> inputs, std::vector<Shape> parameters,
                           std::vector<int64_t> parameter_at) {
    OpSpec spec = completed([&] {
      OpSpec open = elementwise("Where", std::move(inputs), std::move(parameters));
      if (!parameter_at.empty()) open.attributes["parameter_at"] = parameter_at;
      return open;
    }());
    Operands operands = random_operands(spec);
    Floats& condition =
        parameter_at.empty() || parameter_at[0] != 0 ? operands.inputs[0] : operands.parameters[0];
    for (float& c : condition) c = c > 0 ? c : 0.0f;
    const Results results = run_op(spec, operands);
    const std::vector<Operand> order = operands_of(spec);
    for (int64_t s = 0; s < spec.samples; ++s)
      for_each_index(spec.output, [&](const Shape& at) {
        Numbers x;
        for (const Operand& operand : order) {
          const Shape& shape = operand.shape(spec);
          const Shape index = broadcast_index(shape, at);
          x.push_back(static_cast<double>(
              operand.is_parameter
                  ? operands.parameters[operand.index][place(shape, Layout::plain, 0, index)]
                  : operands.inputs[operand.index][place(shape, spec.layouts[operand.index], s, index)]));
        }
        EXPECT_EQ(static_cast<double>(results.output[place(spec.output, spec.output_layout, s, at)]),
                  step(x));
      });
    return results;
  };
  checked({{2, 3}, {2, 3}, {2, 3}}, {}, {});
  checked({{2, 1, 4}, {2, 3, 4}, {1, 3, 1}}, {}, {});
  checked({{2, 3}, {2, 3}}, {{1}}, {});
  checked({{2, 3}, {2, 3}}, {{3}}, {1});
  checked({{2, 3}, {2, 3}}, {{3}}, {0});
  const Results results = checked({{7}}, {{7}, {1}}, {0, 2});
  for (const float c : results.parameter_gradients[0]) EXPECT_EQ(c, 0.0f);
}

TEST(Elementwise, WhereGivesTheGradientToWhatItTook) {
  const OpSpec spec = completed(elementwise("Where", {{2}, {2}, {2}}));
  Operands operands = random_operands(spec);
  operands.inputs[0] = {1, 0, 0, 2, 0, 0};
  const Results results = run_op(spec, operands);
  for (size_t i = 0; i < 6; ++i) {
    const float dy = operands.output_gradient[i];
    EXPECT_EQ(results.input_gradients[0][i], 0.0f);
    EXPECT_EQ(results.input_gradients[1][i], operands.inputs[0][i] != 0 ? dy : 0.0f);
    EXPECT_EQ(results.input_gradients[2][i], operands.inputs[0][i] != 0 ? 0.0f : dy);
  }
}

TEST(Elementwise, ClipHasBothBounds) {
  OpSpec spec = elementwise("Clip", {{37}});
  spec.attributes = {{"min", -1.5}};
  check_elementwise(spec, [](const Numbers& x) { return std::max(x[0], -1.5); }, -3, 3, {false});
  spec.attributes = {{"max", 0.25}};
  check_elementwise(spec, [](const Numbers& x) { return std::min(x[0], 0.25); }, -3, 3, {false});
  spec.attributes = {{"min", int64_t{0}}, {"max", int64_t{1}}};
  check_elementwise(spec, [](const Numbers& x) { return std::clamp(x[0], 0.0, 1.0); }, -3, 3, {false});
  spec.attributes = {{"min", 2.0}, {"max", 1.0}};
  expect_refused(spec, "min <= max");
}

float apply(const Elementwise& f, float a, float b = 0) {
  return elementwise_element(f, a, b, 0);
}

TEST(Elementwise, CornersOfFunctions) {
  EXPECT_EQ(apply({ElementwiseKind::sign}, 0), 0.0f);
  EXPECT_EQ(apply({ElementwiseKind::logical_not}, 0), 1.0f);
  EXPECT_EQ(apply({ElementwiseKind::equal}, 2, 2), 1.0f);
  EXPECT_EQ(apply({ElementwiseKind::greater}, 2, 2), 0.0f);
  EXPECT_EQ(apply({ElementwiseKind::less}, 2, 2), 0.0f);
  for (const auto kind : {ElementwiseKind::min, ElementwiseKind::max}) {
    EXPECT_TRUE(std::isnan(apply({kind}, NAN, 1)));
    EXPECT_TRUE(std::isnan(apply({kind}, 1, NAN)));
    EXPECT_EQ(elementwise_gradient_element({kind}, 0, 2, 2, 3), 3.0f);
    EXPECT_EQ(elementwise_gradient_element({kind}, 1, 2, 2, 3), 0.0f);
  }
  for (const auto kind :
       {ElementwiseKind::abs, ElementwiseKind::sqrt, ElementwiseKind::exp, ElementwiseKind::log,
        ElementwiseKind::erf, ElementwiseKind::clip, ElementwiseKind::sign, ElementwiseKind::floor})
    EXPECT_TRUE(std::isnan(apply({kind}, NAN)));
}

TEST(Elementwise, CornersOfDerivatives) {
  const auto derivative = [](ElementwiseKind kind, int operand, float a, float b = 0) {
    return elementwise_gradient_element({kind}, operand, a, b, 1);
  };
  EXPECT_EQ(derivative(ElementwiseKind::abs, 0, 0), 0.0f);
  EXPECT_EQ(derivative(ElementwiseKind::pow, 0, -3, 2), -6.0f);
  EXPECT_EQ(derivative(ElementwiseKind::pow, 0, 0, 2), 0.0f);
  EXPECT_EQ(derivative(ElementwiseKind::pow, 0, 0, 1), 1.0f);
  EXPECT_EQ(derivative(ElementwiseKind::pow, 0, 0, 0), 0.0f);
  EXPECT_EQ(derivative(ElementwiseKind::pow, 1, -3, 2), 0.0f);
  EXPECT_EQ(derivative(ElementwiseKind::pow, 1, 0, 2), 0.0f);
  const Elementwise clip{ElementwiseKind::clip, -1, 1};
  EXPECT_EQ(elementwise_gradient_element(clip, 0, 1, 0, 5), 5.0f);
  EXPECT_EQ(elementwise_gradient_element(clip, 0, 1.5f, 0, 5), 0.0f);
}

TEST(Elementwise, AnOperandMayNeedNoGradient) {
  OpSpec spec = elementwise("Mul", {{4, 3}, {4, 1}});
  for (const bool first : {true, false}) {
    spec.input_needs_gradient = {first, !first};
    check_elementwise(spec, [](const Numbers& x) { return x[0] * x[1]; }, -1, 1, {false, false});
  }
}

TEST(Elementwise, Refusals) {
  expect_refused(elementwise("Mul", {{3, 2, 5}, {3, 2, 4}}), "[3, 2, 5] and [3, 2, 4]");
  expect_refused(elementwise("Mul", {{3, 5}, {5}}), "values need as many dimensions");
  expect_refused(elementwise("Mul", {{3, 5}}, {{2, 3, 5}}), "[3, 5] and a parameter [2, 3, 5]");
  expect_refused(elementwise("Mul", {{3, 5}}), "Mul needs two operands");
  expect_refused(elementwise("Where", {{3}, {3}}), "three operands");
  expect_refused(elementwise("Neg", {{3}}, {{3}}), "one operand");
  OpSpec spec = elementwise("Where", {{3}, {3}}, {{3}});
  spec.attributes["parameter_at"] = std::vector<int64_t>{3};
  expect_refused(spec, "parameter_at [3]");
  spec.attributes["parameter_first"] = int64_t{1};
  expect_refused(spec, "not both");
}

}  // namespace
}  // namespace lepton::ops
