// SPDX-License-Identifier: Apache-2.0
// The tables of inputs.
#include "onnx/slots.h"

#include <gtest/gtest.h>

namespace lepton::onnx {
namespace {

TEST(Slots, SayWhatInputsAre) {
  ASSERT_NE(find_slot("Clip", 2), nullptr);
  EXPECT_EQ(find_slot("Clip", 2)->name, "max");
  EXPECT_EQ(find_slot("Clip", 0), nullptr);
  EXPECT_EQ(find_slot("ReduceMean", 1)->since, 18);
  EXPECT_TRUE(is_parameter_slot("Conv", 1));
  EXPECT_FALSE(is_parameter_slot("Conv", 0));
  EXPECT_TRUE(is_parameter_slot("Gather", 0));
  EXPECT_FALSE(is_parameter_slot("Gather", 1));
  EXPECT_FALSE(is_parameter_slot("Add", 1));
  EXPECT_TRUE(is_parameter_slot("LSTM", 3));
  EXPECT_FALSE(is_parameter_slot("LSTM", 4)) << "lengths";
  EXPECT_EQ(place_of_lengths("GRU", 2), 1U);
  EXPECT_EQ(place_of_lengths("GlobalMaxPool", 1), 0U);
  EXPECT_EQ(place_of_lengths("Attention", 3), 0U);
  EXPECT_EQ(place_of_lengths("Attention", 4), 3U);
  EXPECT_EQ(place_of_lengths("Concat", 2), 0U);
  EXPECT_EQ(operator_since("LayerNormalization"), 17);
  EXPECT_EQ(operator_since("Conv"), 1);
}

TEST(Slots, FloatsAreMeantAsTheyAreWritten) {
  EXPECT_EQ(shortest(0.1F), 0.1);
  EXPECT_EQ(shortest(1e-5F), 1e-5);
  EXPECT_EQ(shortest(-2.0F), -2.0);
  EXPECT_EQ(static_cast<float>(shortest(1.0F / 3)), 1.0F / 3);
}

}  // namespace
}  // namespace lepton::onnx
