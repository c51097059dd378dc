// SPDX-License-Identifier: Apache-2.0
// What is read off the specification of an RNN, LSTM or GRU. (Refusals: recurrent_test.)
#include "ops/recurrent_shape.h"

#include "ops/recurrent_reference.h"

namespace lepton::ops {
namespace {

using namespace testing;

TEST(RecurrentShape, Defaults) {
  const RecurrentShape lstm(recurrent({.type = "LSTM"})), gru(recurrent({.type = "GRU"})),
      rnn(recurrent({.type = "RNN", .bias = false}));
  EXPECT_EQ(lstm.cell, RecurrentShape::Cell::lstm);
  EXPECT_EQ(gru.cell, RecurrentShape::Cell::gru);
  EXPECT_EQ(rnn.cell, RecurrentShape::Cell::rnn);
  EXPECT_EQ(lstm.gates, 4);
  EXPECT_EQ(gru.gates, 3);
  EXPECT_EQ(rnn.gates, 1);
  EXPECT_EQ(lstm.steps, 5);
  EXPECT_EQ(lstm.inputs, 4);
  EXPECT_EQ(lstm.units, 6);
  EXPECT_EQ(lstm.directions, 1);
  EXPECT_TRUE(lstm.bias && !rnn.bias);
  EXPECT_TRUE(lstm.sequence && !lstm.lengths && !lstm.reverse && !rnn.relu && !gru.reset_after);
  EXPECT_FALSE(lstm.backwards(0));
}

TEST(RecurrentShape, Attributes) {
  const auto with = [](const char* type, const char* name, const Attribute& value, bool lengths = false) {
    return completed(recurrent({.type = type, .attributes = {{name, value}}, .lengths = lengths}));
  };
  const OpSpec both = with("GRU", "direction", std::string("bidirectional"), true);
  const RecurrentShape shape(both);
  EXPECT_EQ(shape.directions, 2);
  EXPECT_TRUE(shape.lengths && !shape.backwards(0) && shape.backwards(1));
  EXPECT_EQ(both.output, (Shape{5, 12}));
  EXPECT_TRUE(RecurrentShape(with("GRU", "direction", std::string("reverse"))).backwards(0));
  EXPECT_TRUE(RecurrentShape(with("GRU", "linear_before_reset", int64_t{1})).reset_after);
  EXPECT_TRUE(RecurrentShape(with("RNN", "activations", std::vector<std::string>{"Relu"})).relu);
  EXPECT_FALSE(RecurrentShape(with("RNN", "activations", std::vector<std::string>{"Tanh"})).relu);
  EXPECT_EQ(with("LSTM", "output", std::string("Y_h")).output, (Shape{6}));
}

TEST(RecurrentShape, Lengths) {
  EXPECT_EQ(sequence_length(0, 5), 0);
  EXPECT_EQ(sequence_length(-1, 5), 0);
  EXPECT_EQ(sequence_length(3, 5), 3);
  EXPECT_EQ(sequence_length(5, 5), 5);
  EXPECT_EQ(sequence_length(std::numeric_limits<float>::infinity(), 5), 5);
  EXPECT_EQ(sequence_length(std::numeric_limits<float>::quiet_NaN(), 5), 0);
}

}  // namespace
}  // namespace lepton::ops
