// SPDX-License-Identifier: Apache-2.0
// RNN, LSTM and GRU against plain loops in double and their differences: every attribute, direction and
// output, with lengths and without, at odd sizes; and against what onnxruntime gave (recurrent_golden.h, made
// by make_recurrent_golden.py).
#include "ops/recurrent_golden.h"
#include "ops/recurrent_reference.h"

namespace lepton::ops {
namespace {

using namespace testing;

void check_recurrent(const RecurrentCase& c) {
  const OpSpec spec = recurrent(c);
  const Operands operands = recurrent_operands(spec);
  const bool relu = spec.attributes.contains("activations");  // differences at kinks tell nothing
  check_op(spec, recurrent_reference(spec), relu ? 2e-5 : 4e-6, &operands);
}

TEST(Recurrent, EveryAttribute) {
  for (const char* type : {"RNN", "LSTM", "GRU"})
    for (const Attributes& attributes : recurrent_attributes(type))
      for (const bool lengths : {false, true})
        for (const bool bias : {true, false}) {
          SCOPED_TRACE(std::string(type) + " " + string_attribute(attributes, "direction", "") + " " +
                       string_attribute(attributes, "output", "") + (lengths ? " lengths" : "") +
                       (bias ? " bias" : ""));
          check_recurrent({.type = type, .attributes = attributes, .bias = bias, .lengths = lengths});
        }
}

TEST(Recurrent, OddSizes) {
  const Attributes both = {{"direction", std::string("bidirectional")}};
  for (const char* type : {"RNN", "LSTM", "GRU"})
    for (const bool lengths : {false, true}) {
      SCOPED_TRACE(type);
      check_recurrent({.type = type, .samples = 1, .steps = 1, .inputs = 1, .units = 1, .lengths = lengths});
      check_recurrent({.type = type,
                       .samples = 1,
                       .steps = 7,
                       .inputs = 3,
                       .units = 2,
                       .attributes = both,
                       .lengths = lengths});
      check_recurrent({.type = type,
                       .samples = 5,
                       .steps = 1,
                       .inputs = 2,
                       .units = 9,
                       .attributes = both,
                       .lengths = lengths});
      check_recurrent({.type = type, .samples = 2, .steps = 3, .inputs = 1, .units = 17, .lengths = lengths});
      check_recurrent({.type = type, .samples = 7, .steps = 4, .inputs = 9, .units = 1, .lengths = lengths});
    }
}

/// As large as in use; forward alone, differences take long.
TEST(Recurrent, LargeOnes) {
  for (const char* type : {"RNN", "LSTM", "GRU"})
    for (const bool lengths : {false, true}) {
      OpSpec spec = recurrent({.type = type,
                               .samples = 17,
                               .steps = 11,
                               .inputs = 50,
                               .units = 67,
                               .attributes = {{"direction", std::string("bidirectional")}},
                               .lengths = lengths});
      Operands operands = recurrent_operands(spec);
      for (Floats& parameter : operands.parameters)
        for (float& value : parameter) value *= 0.2f;
      const Floats trained = run_op(completed(spec), operands).output;
      spec.training = false;
      check_op(spec, recurrent_reference(spec), 4e-6, &operands);
      EXPECT_EQ(run_op(completed(spec), operands).output, trained) << "inference";
    }
}

TEST(Recurrent, LengthsBeyondTheSequenceAreCut) {
  for (const char* output : {"Y", "Y_h"}) {
    const OpSpec spec = recurrent(
        {.samples = 5,
         .steps = 4,
         .attributes = {{"direction", std::string("bidirectional")}, {"output", std::string(output)}},
         .lengths = true});
    Operands operands = recurrent_operands(spec);
    operands.inputs[1] = {0, -3, 7, 2, 4};
    check_op(spec, recurrent_reference(spec), 4e-6, &operands);
    operands.inputs[1][0] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(run_op(completed(spec), operands).output[0], 0.0f);
  }
}

/// Steps behind the longest sample are not computed.
TEST(Recurrent, UnitsOfShortSamples) {
  for (const char* type : {"RNN", "LSTM", "GRU"})
    for (const Attributes& attributes : recurrent_attributes(type)) {
      const OpSpec spec = recurrent({.type = type, .attributes = attributes, .lengths = true});
      Operands operands = recurrent_operands(spec);
      for (const Floats& lengths : {Floats{2, 3, 1}, Floats{4, 0, 4}, Floats{0, 0, 0}}) {
        operands.inputs[1] = lengths;
        check_op(spec, recurrent_reference(spec), 2e-5, &operands);
      }
    }
}

/// What lies behind a sample's end is never looked at, and gets no gradient.
TEST(Recurrent, NothingComesFromBehindTheEnd) {
  for (const char* type : {"RNN", "LSTM", "GRU"})
    for (const Attributes& attributes : recurrent_attributes(type)) {
      const OpSpec spec = completed(recurrent({.type = type, .attributes = attributes, .lengths = true}));
      Operands operands = recurrent_operands(spec), other = operands;
      const auto row = static_cast<size_t>(spec.inputs[0][1]);
      for (size_t i = row; i < 5 * row; ++i) other.inputs[0][i] += 3;  // sample 0 has one step
      const Results one = run_op(spec, operands), two = run_op(spec, other);
      EXPECT_EQ(one.output, two.output);
      EXPECT_EQ(one.parameter_gradients, two.parameter_gradients);
      EXPECT_EQ(one.input_gradients[0], two.input_gradients[0]);
      for (size_t i = row; i < 5 * row; ++i) EXPECT_EQ(one.input_gradients[0][i], 0.0f);
    }
}

TEST(Recurrent, FullLengthsAreNone) {
  for (const char* type : {"RNN", "LSTM", "GRU"})
    for (const Attributes& attributes : recurrent_attributes(type)) {
      const OpSpec with = completed(recurrent({.type = type, .attributes = attributes, .lengths = true}));
      const OpSpec without = completed(recurrent({.type = type, .attributes = attributes}));
      Operands operands = recurrent_operands(with);
      operands.inputs[1].assign(3, 5.0f);
      const Results one = run_op(with, operands);
      operands.inputs.pop_back();
      const Results two = run_op(without, operands);
      EXPECT_EQ(one.output, two.output);
      EXPECT_EQ(one.input_gradients[0], two.input_gradients[0]);
      EXPECT_EQ(one.parameter_gradients, two.parameter_gradients);
    }
}

TEST(Recurrent, AnInputThatNeedsNoGradient) {
  for (const char* type : {"RNN", "LSTM", "GRU"}) {
    OpSpec spec = recurrent({.type = type});
    spec.input_needs_gradient = {false};
    check_op(spec, recurrent_reference(spec), 4e-6);
  }
}

/// In the order and with the numbers of the script: whole multiples of 1/8, so that both are exact.
Floats golden_numbers(int64_t count, int64_t seed) {
  Floats values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    values[static_cast<size_t>(i)] = static_cast<float>((i * i * 7 + i * 13 + seed * 29) % 23 - 11) / 16;
  return values;
}

TEST(Recurrent, GivesWhatOnnxruntimeGives) {
  constexpr int64_t n = 3, steps = 4, inputs = 3, units = 5;
  for (const Golden& golden : recurrent_golden) {
    SCOPED_TRACE(std::string(golden.type) + " " + golden.direction);
    Attributes attributes = {{"direction", std::string(golden.direction)},
                             {"output", std::string(golden.output)}};
    const std::string type = golden.type;
    if (type == "GRU") attributes["linear_before_reset"] = int64_t{golden.variant};
    if (type == "RNN" && golden.variant) attributes["activations"] = std::vector<std::string>{"Relu"};
    OpSpec spec = completed(recurrent({.type = golden.type,
                                       .samples = n,
                                       .steps = steps,
                                       .inputs = inputs,
                                       .units = units,
                                       .attributes = attributes,
                                       .lengths = golden.lengths}));
    spec.training = false;
    Operands operands;
    operands.inputs = {golden_numbers(n * steps * inputs, 1)};
    if (golden.lengths) operands.inputs.push_back({2, 4, 1});
    for (size_t i = 0; i < 3; ++i)
      operands.parameters.push_back(
          golden_numbers(element_count(spec.parameters[i]), static_cast<int64_t>(i) + 2));
    operands.sample_ids = {0, 1, 2};
    expect_near(run_op(spec, operands).output, golden.values, 2e-6, "output");
  }
}

TEST(Recurrent, Refusals) {
  const auto lstm = [](const char* name, const Attribute& value) {
    return recurrent({.attributes = {{name, value}}});
  };
  expect_refused(lstm("direction", std::string("backward")), "direction \"backward\"");
  expect_refused(lstm("output", std::string("Y_c")), "gives Y or Y_h");
  expect_refused(lstm("clip", 1.0), "without clip");
  expect_refused(lstm("input_forget", int64_t{1}), "input_forget = 0");
  expect_refused(lstm("activations", std::vector<std::string>{"Sigmoid", "Relu", "Tanh"}),
                 "Sigmoid, Tanh, Tanh only, not Sigmoid, Relu, Tanh");
  expect_refused(recurrent({.type = "RNN", .attributes = {{"activations", std::vector<std::string>{"Elu"}}}}),
                 "Tanh or Relu only, not Elu");
  expect_refused(
      recurrent({.type = "GRU", .attributes = {{"activations", std::vector<std::string>{"Relu"}}}}),
      "Sigmoid, Tanh only");
  expect_refused(lstm("activations", std::string("Tanh")), "list of texts");
  OpSpec spec = recurrent({});
  spec.attributes["hidden_size"] = int64_t{7};
  expect_refused(spec, "W [1, 28, 4]");
  spec = recurrent({});
  spec.inputs[0] = {4};
  expect_refused(spec, "needs sequences [T, F], not [4]");
  spec = recurrent({.lengths = true});
  spec.inputs[1] = {2};
  expect_refused(spec, "one length per sample");
  spec = recurrent({});
  spec.parameters[1] = {1, 24, 5};
  expect_refused(spec, "R [1, 24, 6], not [1, 24, 5]");
  spec = recurrent({});
  spec.parameters[2] = {1, 24};
  expect_refused(spec, "B [1, 48], not [1, 24]");
  spec = recurrent({});
  spec.parameters.push_back({1, 18});
  expect_refused(spec, "peepholes");
  spec = recurrent({});
  spec.parameters[1] = {24, 6};
  expect_refused(spec, "needs R [directions");
}

}  // namespace
}  // namespace lepton::ops
