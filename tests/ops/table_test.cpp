// SPDX-License-Identifier: Apache-2.0
// The table: every operator is found by its name, what an op cannot fuse is our bug, shapes are checked.
#include "ops/table.h"

#include <set>

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

TEST(Table, NamesAreUniqueAndFound) {
  std::set<std::string> seen;
  for (const std::string& name : operator_names()) {
    EXPECT_TRUE(seen.insert(name).second) << name;
    ASSERT_NE(find_operator(name), nullptr);
    EXPECT_EQ(find_operator(name)->type, name);
    EXPECT_TRUE(find_operator(name)->fuses(""));
    EXPECT_EQ(find_operator(name)->fuses("Gelu"), name == "Gemm");
  }
  EXPECT_EQ(find_operator("Einsum"), nullptr);
  EXPECT_EQ(find_operator("BatchNormalization")->statistics, 2);
  EXPECT_TRUE(find_operator("Add")->takes(1) && find_operator("Add")->takes(2));
  EXPECT_FALSE(find_operator("Add")->takes(0) || find_operator("Add")->takes(3));
}

TEST(Table, WhatFusesWhat) {
  for (const char* activation : {"Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh"})
    for (const char* type : {"Gemm", "Conv"}) EXPECT_TRUE(find_operator(type)->fuses(activation));
  EXPECT_TRUE(find_operator("BatchNormalization")->fuses("Relu"));
  EXPECT_TRUE(find_operator("Add")->fuses("Relu"));
  EXPECT_FALSE(find_operator("Add")->fuses("Tanh"));
  EXPECT_TRUE(find_operator("MaxPool")->fuses("Relu"));
  EXPECT_FALSE(find_operator("AveragePool")->fuses("Relu"));
}

Exit code_of(const OpSpec& spec) {
  try {
    make_op(spec);
  } catch (const Error& error) {
    return error.code();
  }
  return Exit::done;
}

TEST(Table, MakeOpChecksItsCaller) {
  const OpSpec good = completed({.type = "Relu", .samples = 2, .inputs = {{5}}});
  EXPECT_EQ(code_of(good), Exit::done);
  OpSpec bad = good;
  bad.type = "Einsum";
  EXPECT_EQ(code_of(bad), Exit::software);
  bad = good;
  bad.output = {6};
  EXPECT_EQ(code_of(bad), Exit::software);
  bad = good;
  bad.samples = 0;
  EXPECT_EQ(code_of(bad), Exit::software);
  bad = good;
  bad.activation = "Relu";
  EXPECT_EQ(code_of(bad), Exit::software);
  bad = good;
  bad.inputs.push_back({5});
  EXPECT_EQ(code_of(bad), Exit::software);
  bad = good;
  bad.precision = Precision::tf32;
  EXPECT_EQ(code_of(bad), Exit::software);
}

TEST(Table, MemoryNeedsAreMultiplesOf64) {
  for (const char* type : {"BatchNormalization", "Dropout"}) {
    OpSpec spec{.type = type, .samples = 3, .training = true, .inputs = {{5, 3, 3}}};
    if (spec.type == "BatchNormalization") spec.parameters.assign(4, {5});
    const auto op = make_op(completed(spec));
    EXPECT_GT(op->saved_bytes(), 0u);
    EXPECT_EQ(op->saved_bytes() % 64, 0u);
    EXPECT_EQ(op->scratch_bytes() % 64, 0u);
  }
}

}  // namespace
}  // namespace lepton::ops
