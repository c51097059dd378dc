// SPDX-License-Identifier: Apache-2.0
// The same bits on every vector width: LEPTON_SIMD picks one clone per machine, so the loops are compiled
// here once more for each width, by including their sources with another namespace and another LEPTON_SIMD.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/simd.h"
#include "ops/harness.h"
#include "ops/math.h"
#include "ops/quantise.h"
#include "ops/update_math.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

namespace lepton_math = lepton::ops::math;
namespace lepton::ops_narrow {
using namespace ops;  // but for what is defined again
}
namespace lepton::ops_middle {
using namespace ops;  // but for what is defined again
}
namespace lepton::ops_wide {
using namespace ops;  // but for what is defined again
}

// clang-format off
#undef LEPTON_SIMD
#define LEPTON_SIMD [[gnu::target("arch=x86-64-v2")]]
#define ops ops_narrow
#include "ops/quantise.cpp"
#include "ops/update.cpp"
#include "ops/math_loops.h"
#undef ops
#undef LEPTON_SIMD
#define LEPTON_SIMD [[gnu::target("arch=x86-64-v3")]]
#define ops ops_middle
#include "ops/quantise.cpp"
#include "ops/update.cpp"
#include "ops/math_loops.h"
#undef ops
#undef LEPTON_SIMD
#define LEPTON_SIMD [[gnu::target("arch=x86-64-v4")]]
#define ops ops_wide
#include "ops/quantise.cpp"
#include "ops/update.cpp"
#include "ops/math_loops.h"
#undef ops
// clang-format on

namespace lepton::ops {
namespace {

using testing::Floats;
using testing::random_floats;

constexpr size_t loop_elements = 1003;

/// Everything that the loops of one width give for fixed operands, as bits.
struct Outcome {
  std::vector<int64_t> integers;
  std::vector<uint32_t> floats;
  void add(const Floats& values) {
    for (const float value : values) floats.push_back(std::bit_cast<uint32_t>(value));
  }
  bool operator==(const Outcome&) const = default;
};

Floats values_of_all_sizes() {
  Floats g = random_floats(loop_elements, 5);
  for (size_t i = 0; i < loop_elements; ++i) g[i] = std::ldexp(g[i], static_cast<int>(i % 80) - 60);
  for (size_t i = 0; i < 40; ++i) g[i] = (static_cast<float>(i) - 20) * 0x1p-31f;  // ties at scale 30
  return g;
}

#define OUTCOME(width)                                                                               \
  Outcome outcome_of_##width() {                                                                     \
    Outcome outcome;                                                                                 \
    const Floats g = values_of_all_sizes(), w = random_floats(loop_elements, 6),                     \
                 m = random_floats(loop_elements, 7);                                                \
    const Floats v = random_floats(loop_elements, 8, 0, 1);                                          \
    std::vector<int64_t> sum(loop_elements, 12345);                                                  \
    const Quantised quantised = width::quantise_add(g, 30, sum);                                     \
    outcome.integers.push_back(static_cast<int64_t>(quantised.check));                               \
    outcome.integers.push_back(static_cast<int64_t>(width::checksum(sum)));                          \
    outcome.integers.push_back(quantised.magnitude_bits);                                            \
    outcome.integers.push_back(std::bit_cast<int64_t>(width::sum_of_squares(g)));                    \
    outcome.integers.insert(outcome.integers.end(), sum.begin(), sum.end());                         \
    Floats a(loop_elements), b(loop_elements), c(loop_elements), math(6 * loop_elements);            \
    width::dequantise(sum, 30, a);                                                                   \
    outcome.add(a);                                                                                  \
    width::adam({0.9f, 0.1f, 0.999f, 0.001f, 1e-8f, 0.01f, 1.5f, 0.1f, 0.99f}, g, w, m, v, a, b, c); \
    outcome.add(a), outcome.add(b), outcome.add(c);                                                  \
    width::sgd({0.1f, 0.9f, 0.01f, true}, g, w, m, a, b);                                            \
    outcome.add(a), outcome.add(b);                                                                  \
    width::normalise_gradient(a, 3, 0.7f, 0.01f, w, 0.5f);                                           \
    outcome.add(a);                                                                                  \
    width::math_loops(loop_elements, g.data(), math.data());                                         \
    outcome.add(math);                                                                               \
    return outcome;                                                                                  \
  }

OUTCOME(ops_narrow)
OUTCOME(ops_middle)
OUTCOME(ops_wide)

TEST(VectorWidths, AvxGivesTheBitsOfSse) {
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "no AVX2 here";
  EXPECT_TRUE(outcome_of_ops_middle() == outcome_of_ops_narrow());
}

TEST(VectorWidths, Avx512GivesTheBitsOfSse) {
  if (!__builtin_cpu_supports("avx512dq")) GTEST_SKIP() << "no AVX-512 here";
  EXPECT_TRUE(outcome_of_ops_wide() == outcome_of_ops_narrow());
}

}  // namespace
}  // namespace lepton::ops

#endif
