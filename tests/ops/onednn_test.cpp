// SPDX-License-Identifier: Apache-2.0
// The wrapper of oneDNN: reorders, matmul through it, versions, instruction sets.
#include "ops/onednn.h"

#include "ops/bf16.h"

namespace lepton::ops {
namespace {

using namespace testing;

// Run in a process where other tests have planned before: the same cap again is no error.
TEST(OneDnn, InstructionSet) {
  if (capped_for(Precision::fp32) != Precision::fp32) GTEST_SKIP() << "another test capped for bf16";
  const std::string name = cap_instruction_set("auto");
  EXPECT_TRUE(name == "avx512" || name == "avx2" || name == "sse4.1") << name;
  EXPECT_EQ(cap_instruction_set("auto"), name);
  EXPECT_THROW(cap_instruction_set("avx10"), Error);
  if (name != "avx512") {
    EXPECT_THROW(cap_instruction_set("avx512"), Error);
  }
}

using OneDnnBf16 = InBf16;

TEST_F(OneDnnBf16, InstructionSet) {
  const std::string name = cap_instruction_set("auto", Precision::bf16);
  EXPECT_TRUE(name == "avx512_bf16" || name == "avx512_amx_bf16") << name;
  EXPECT_THROW(cap_instruction_set("avx2", Precision::bf16), Error) << "the caller must have asked";
}

TEST(OneDnn, WhatTheCpuCannotMultiplyInIsRefusedInWords) {
  const auto says = [](const std::string& isa, Precision precision, const std::string& part) {
    EXPECT_NE(precision_refusal(isa, precision).find(part), std::string::npos)
        << precision_refusal(isa, precision);
  };
  for (const std::string isa : {"auto", "avx2", "avx512"}) {
    EXPECT_EQ(precision_refusal(isa, Precision::fp32), "");
    says(isa, Precision::tf32, "not in tf32");
  }
  if (precision_refusal("auto", Precision::bf16).empty()) {
    EXPECT_EQ(precision_refusal("avx512", Precision::bf16), "");
    says("avx2", Precision::bf16, "run.isa");
  } else {
    for (const std::string isa : {"auto", "avx2", "avx512"}) says(isa, Precision::bf16, "no instructions");
  }
}

TEST(OneDnn, Version) {
  EXPECT_EQ(math_library_version().rfind("oneDNN ", 0), 0u);
}

TEST(OneDnn, EqualLayoutsNeedNoReorder) {
  const auto plain = onednn::desc({4, 6}, onednn::Tag::ab);
  EXPECT_FALSE(onednn::reorder(plain, plain).primitive);
}

TEST(OneDnn, ReorderTransposes) {
  prepare_thread();
  auto reorder =
      onednn::reorder(onednn::desc({2, 3}, onednn::Tag::ab), onednn::desc({2, 3}, onednn::Tag::ba));
  ASSERT_TRUE(reorder.primitive);
  const Floats from = {1, 2, 3, 4, 5, 6};
  Floats to(6);
  Poisoned scratch(reorder.scratchpad_bytes);
  reorder.primitive.run({from.data(), to.data(), scratch.data()});
  EXPECT_EQ(to, (Floats{1, 4, 2, 5, 3, 6}));
}

TEST(OneDnn, PointersMayChangeBetweenRuns) {
  prepare_thread();
  const auto square = onednn::desc({2, 2}, onednn::Tag::ab);
  auto product = onednn::matmul(square, square, {}, square, {});
  const Floats unit = {1, 0, 0, 1}, a = {1, 2, 3, 4}, b = {5, 6, 7, 8};
  Floats y(4), z(4);
  Poisoned scratch(product.scratchpad_bytes);
  product.primitive.run({a.data(), unit.data(), y.data(), scratch.data()});
  product.primitive.run({b.data(), unit.data(), z.data(), scratch.data()});
  EXPECT_EQ(y, a);
  EXPECT_EQ(z, b);
}

}  // namespace
}  // namespace lepton::ops
