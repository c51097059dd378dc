// SPDX-License-Identifier: Apache-2.0
// Operands that lie in another order or type than a primitive wants: where they are, packed and unpacked;
// rounding to bfloat16; the bias gradient.
#include "ops/operands.h"

#include <limits>

#include "ops/bf16.h"

namespace lepton::ops {
namespace {

using namespace testing;
using onednn::Tag;
using onednn::Type;

TEST(Packed, WhatLiesRightIsUsedWhereItIs) {
  const auto layout = onednn::desc({3, 5}, Tag::ab);
  Packed packed = Packed::operand(layout, layout);
  MemoryPlan memory;
  packed.place(memory);
  EXPECT_EQ(memory.bytes(), 0U);
  const Floats values(15);
  EXPECT_EQ(packed.pack(values.data(), nullptr, nullptr), values.data());
  EXPECT_EQ(Packed::result(layout, layout).where(values.data(), nullptr), values.data());
}

TEST(Packed, OperandsAndResultsOfAnotherOrderLieInScratch) {
  prepare_thread();
  const auto rows = onednn::desc({2, 3}, Tag::ab), columns = onednn::desc({2, 3}, Tag::ba);
  const Floats values = {1, 2, 3, 4, 5, 6}, turned = {1, 4, 2, 5, 3, 6};
  Packed operand = Packed::operand(rows, columns), result = Packed::result(rows, columns);
  MemoryPlan memory;
  const size_t before = memory.add(100);
  operand.place(memory);
  result.place(memory);
  EXPECT_EQ(memory.bytes(), before + 128 + 64 + 64);
  Poisoned scratch(memory.bytes()), pad(std::max(operand.scratchpad_bytes(), result.scratchpad_bytes()));

  const auto* packed = static_cast<const float*>(operand.pack(values.data(), scratch.data(), pad.data()));
  EXPECT_EQ(reinterpret_cast<const std::byte*>(packed), scratch.data() + 128);
  EXPECT_EQ(packed, operand.where(values.data(), scratch.data()));
  EXPECT_EQ(Floats(packed, packed + 6), turned);

  Floats back(6);
  std::copy(turned.begin(), turned.end(), reinterpret_cast<float*>(scratch.data() + 192));
  result.unpack(back.data(), scratch.data(), pad.data());
  EXPECT_EQ(back, values);
  EXPECT_TRUE(scratch.guard_intact());
}

using PackedBf16 = InBf16;

TEST_F(PackedBf16, IsTheNearestAndTiesAreEven) {
  prepare_thread();
  constexpr float infinity = std::numeric_limits<float>::infinity(), unit = 0x1p-7f;
  const Floats values = {1,
                         1 + unit,
                         1 + unit / 2,                       // between 1 and 1 + unit: to the even one
                         1 + unit / 2 + 0x1p-23f,            // nearer to 1 + unit
                         1 + 3 * unit / 2,                   // between 1 + unit and 1 + 2 unit
                         -(1 + unit / 2),                    // the same below zero
                         std::numeric_limits<float>::max(),  // beyond what bfloat16 holds
                         -infinity,
                         0,
                         0x1.23456p-100f};
  const Floats want = {1, 1 + unit, 1, 1 + unit, 1 + 2 * unit, -1, infinity, -infinity, 0, 0x1.24p-100f};
  const onednn::Dims dims = {static_cast<int64_t>(values.size())};
  Packed operand = Packed::operand(onednn::desc(dims, Tag::a), onednn::desc(dims, Tag::a, Type::bf16));
  MemoryPlan memory;
  operand.place(memory);
  Poisoned scratch(memory.bytes()), pad(operand.scratchpad_bytes());
  const auto* half = static_cast<const uint16_t*>(operand.pack(values.data(), scratch.data(), pad.data()));
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(std::bit_cast<float>(static_cast<uint32_t>(half[i]) << 16), want[i]) << i;
    if (std::isfinite(want[i])) {
      EXPECT_EQ(rounded_to_bf16(values[i]), want[i]) << "by the tests' own: " << i;
    }
  }
}

TEST(OperandType, IsThatOfThePrecision) {
  EXPECT_EQ(operand_type(Precision::fp32), Type::f32);
  EXPECT_EQ(operand_type(Precision::bf16), Type::bf16);
  EXPECT_EQ(onednn::bytes(Type::f32), 4U);
  EXPECT_EQ(onednn::bytes(Type::bf16), 2U);
}

TEST(SumRows, AddsRowsInOrder) {
  for (const auto& [rows, columns] : {std::array<int64_t, 2>{1, 1}, {1, 40}, {3, 1}, {7, 33}, {100, 17}}) {
    const Floats z = random_floats(rows * columns, 1);
    Floats got(static_cast<size_t>(columns), std::numeric_limits<float>::quiet_NaN());
    sum_rows(rows, columns, z.data(), got.data());
    for (int64_t c = 0; c < columns; ++c) {
      float want = z[c];
      for (int64_t r = 1; r < rows; ++r) want += z[r * columns + c];
      ASSERT_EQ(got[c], want) << rows << " x " << columns << " at " << c;
    }
  }
}

TEST(PackedProduct, IsTheProductHoweverTheMatrixLies) {
  prepare_thread();
  const Floats from = {1, 2, 99, 3, 4, 99, 5, 6}, bias = {10, 20, 30};  // rows of two, three apart
  const Floats plain = {1, 2, 3, 4, 5, 6}, turned = {1, 4, 2, 5, 3, 6};
  for (const bool with_bias : {false, true})
    for (const bool turn : {false, true}) {
      PackedProduct product(3, 2, 3, 3, turn, with_bias);
      MemoryPlan memory;
      product.place(memory);
      Poisoned scratch(memory.bytes()), pad(product.scratchpad_bytes()), to(9 * sizeof(float));
      product.pack(turn ? turned.data() : plain.data(), scratch.data(), pad.data());
      product.run(from.data(), to.floats(), pad.data(), bias.data());
      for (size_t r = 0; r < 3; ++r)
        for (size_t c = 0; c < 3; ++c)
          EXPECT_EQ(to.floats()[3 * r + c],
                    from[3 * r] * plain[c] + from[3 * r + 1] * plain[3 + c] + (with_bias ? bias[c] : 0.0f));
      EXPECT_TRUE(scratch.guard_intact() && pad.guard_intact() && to.guard_intact());
    }
  EXPECT_FALSE(PackedProduct());
}

}  // namespace
}  // namespace lepton::ops
