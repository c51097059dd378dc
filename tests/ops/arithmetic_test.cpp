// SPDX-License-Identifier: Apache-2.0
// The host's arithmetic: where it works, sums, and which arrays are finite. Its ops have tests of their own.
#include "ops/arithmetic.h"

#include <bit>
#include <limits>

#include "ops/bf16.h"

namespace lepton::ops {
namespace {

using namespace testing;

TEST(HostArithmetic, WorksOnTheHost) {
  EXPECT_EQ(host_arithmetic().device(), Device{});
  EXPECT_EQ(host_arithmetic().device().backend, nullptr);
}

TEST(HostArithmetic, AddsElementByElement) {
  for (const int64_t count : {0, 1, 7, 16, 33, 1000}) {
    const Floats before = random_floats(count, 1), from = random_floats(count, 2);
    Floats into = before;
    into.push_back(5);  // behind the end
    host_arithmetic().add(into.data(), from.data(), count);
    for (size_t i = 0; i < from.size(); ++i) ASSERT_EQ(into[i], before[i] + from[i]) << i << " of " << count;
    EXPECT_EQ(into.back(), 5);
  }
}

TEST(HostArithmetic, FindsEveryValueThatIsNotFinite) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float signalling = std::numeric_limits<float>::signaling_NaN();
  for (const int64_t count : {1, 8, 67})
    for (int64_t at = 0; at < count; ++at)
      for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN(), signalling}) {
        Floats values = random_floats(count, 3);
        EXPECT_TRUE(host_arithmetic().all_finite(values.data(), count));
        values[static_cast<size_t>(at)] = bad;
        ASSERT_FALSE(host_arithmetic().all_finite(values.data(), count)) << bad << " at " << at;
        EXPECT_TRUE(host_arithmetic().all_finite(values.data(), at));
      }
  EXPECT_FALSE(host_arithmetic().all_finite(Floats{infinity, -infinity}.data(), 2));
}

TEST(HostArithmetic, LargeTinyAndNoValuesAreFinite) {
  constexpr float largest = std::numeric_limits<float>::max();
  const Floats values = {largest, largest, -largest, -0.0f, std::numeric_limits<float>::denorm_min()};
  EXPECT_TRUE(host_arithmetic().all_finite(values.data(), 5));
  EXPECT_TRUE(host_arithmetic().all_finite(nullptr, 0));
}

TEST(HostArithmetic, MakesTheOpsOfTheTable) {
  prepare_thread();
  const OpSpec spec = completed({.type = "Relu", .samples = 1, .inputs = {{3}}});
  const auto op = host_arithmetic().make_op(spec);
  Operands operands = random_operands(spec);
  operands.inputs[0] = {-1, 2, -3};
  EXPECT_EQ(run_op(*op, spec, operands).output, (Floats{0, 2, 0}));
}

TEST(HostArithmetic, IsOnePerPrecisionAndHasNoTf32) {
  EXPECT_EQ(&host_arithmetic(), &host_arithmetic(Precision::fp32));
  EXPECT_NE(&host_arithmetic(), &host_arithmetic(Precision::bf16));
  EXPECT_THROW(host_arithmetic(Precision::tf32), Error);
}

using HostArithmeticBf16 = InBf16;

TEST_F(HostArithmeticBf16, PlansProductsInItsPrecisionWhateverTheSpecSays) {
  prepare_thread();
  const OpSpec fp32 = completed({.type = "Gemm", .samples = 3, .inputs = {{40}}, .parameters = {{7, 40}}});
  const OpSpec bf16 = in_bf16(fp32);
  const Operands operands = random_operands(fp32);
  const auto output = [&](Precision precision, const OpSpec& spec) {
    return run_op(*host_arithmetic(precision).make_op(spec), spec, operands).output;
  };
  const Floats rounded = output(Precision::bf16, fp32), exact = output(Precision::fp32, bf16);
  EXPECT_EQ(rounded, run_op(bf16, operands).output);
  EXPECT_EQ(exact, run_op(fp32, operands).output);
  EXPECT_NE(rounded, exact);
}

}  // namespace
}  // namespace lepton::ops
