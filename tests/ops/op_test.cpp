// SPDX-License-Identifier: Apache-2.0
// Attributes: present, absent, of the wrong type.
#include "ops/op.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace lepton::ops {
namespace {

TEST(Attributes, PresentAbsentAndWrong) {
  const Attributes attributes = {
      {"i", int64_t{3}}, {"f", 0.5}, {"s", std::string("tanh")}, {"l", std::vector<int64_t>{1, 2}}};
  EXPECT_EQ(int_attribute(attributes, "i", 7), 3);
  EXPECT_EQ(int_attribute(attributes, "none", 7), 7);
  EXPECT_EQ(float_attribute(attributes, "f", 7), 0.5);
  EXPECT_EQ(float_attribute(attributes, "i", 7), 3.0);  // 3 is a number
  EXPECT_EQ(float_attribute(attributes, "none", 7), 7.0);
  EXPECT_EQ(string_attribute(attributes, "s", "x"), "tanh");
  EXPECT_EQ(string_attribute(attributes, "none", "x"), "x");
  EXPECT_EQ(ints_attribute(attributes, "l", {}), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(ints_attribute(attributes, "none", {4}), (std::vector<int64_t>{4}));
  EXPECT_THROW(int_attribute(attributes, "f", 7), Error);
  EXPECT_THROW(float_attribute(attributes, "s", 7), Error);
  EXPECT_THROW(string_attribute(attributes, "i", "x"), Error);
  EXPECT_THROW(ints_attribute(attributes, "i", {}), Error);
}

}  // namespace
}  // namespace lepton::ops
