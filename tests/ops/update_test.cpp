// SPDX-License-Identifier: Apache-2.0
// Update rules against scalar float formulas, bit for bit, at every length; and against double formulas.
#include "ops/update.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using testing::Floats;
using testing::random_floats;

constexpr float infinite = std::numeric_limits<float>::infinity();

struct Slice {
  Floats g, w, m, v, w_new, m_new, v_new;
  explicit Slice(int64_t count)
      : g(random_floats(count, 1)),
        w(random_floats(count, 2)),
        m(random_floats(count, 3)),
        v(random_floats(count, 4, 0, 1)),
        w_new(g.size(), NAN),
        m_new(g.size(), NAN),
        v_new(g.size(), NAN) {}
};

TEST(Update, SgdBothForms) {
  for (const bool nesterov : {false, true})
    for (const int64_t count : {1, 7, 16, 100}) {
      Slice s(count);
      sgd({0.1f, 0.9f, 0.01f, nesterov}, s.g, s.w, s.m, s.w_new, s.m_new);
      for (size_t i = 0; i < s.g.size(); ++i) {
        const float g = s.g[i] + 0.01f * s.w[i], v = 0.9f * s.m[i] + g;
        EXPECT_EQ(s.m_new[i], v);
        EXPECT_EQ(s.w_new[i], s.w[i] - 0.1f * (nesterov ? g + 0.9f * v : v));
      }
    }
}

TEST(Update, SgdPlainIsSgdWithoutMomentum) {
  Slice s(33), other(33);
  sgd_plain({0.1f, 0, 0.01f, false}, s.g, s.w, s.w_new);
  other.m.assign(33, 0);
  sgd({0.1f, 0, 0.01f, false}, other.g, other.w, other.m, other.w_new, other.m_new);
  EXPECT_EQ(s.w_new, other.w_new);
}

TEST(Update, AdamAgainstTheFormula) {
  const double beta1 = 0.9, beta2 = 0.999, rate = 0.01, epsilon = 1e-8;
  const int t = 5;
  for (const bool decoupled : {false, true}) {
    Slice s(50);
    const double decay = 0.1;
    const AdamStep step{0.9f,
                        0.1f,
                        0.999f,
                        0.001f,
                        static_cast<float>(epsilon),
                        static_cast<float>(rate / (1 - std::pow(beta1, t))),
                        static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, t))),
                        decoupled ? 0.0f : static_cast<float>(decay),
                        decoupled ? static_cast<float>(1 - rate * decay) : 1.0f};
    adam(step, s.g, s.w, s.m, s.v, s.w_new, s.m_new, s.v_new);
    for (size_t i = 0; i < s.g.size(); ++i) {
      const double w = static_cast<double>(s.w[i]);
      const double g = static_cast<double>(s.g[i]) + (decoupled ? 0 : decay * w);
      const double m = beta1 * static_cast<double>(s.m[i]) + (1 - beta1) * g;
      const double v = beta2 * static_cast<double>(s.v[i]) + (1 - beta2) * g * g;
      const double correct =
          m / (1 - std::pow(beta1, t)) / (std::sqrt(v / (1 - std::pow(beta2, t))) + epsilon);
      EXPECT_NEAR(static_cast<double>(s.m_new[i]), m, 2e-7);
      EXPECT_NEAR(static_cast<double>(s.v_new[i]), v, 2e-7);
      EXPECT_NEAR(static_cast<double>(s.w_new[i]), w * (decoupled ? 1 - rate * decay : 1) - rate * correct,
                  4e-7);
    }
  }
}

TEST(Update, SlicesGiveTheBitsOfTheWhole) {
  Slice whole(97), parts(97);
  const AdamStep step{0.9f, 0.1f, 0.999f, 0.001f, 1e-8f, 0.01f, 1.5f, 0.1f, 0.99f};
  adam(step, whole.g, whole.w, whole.m, whole.v, whole.w_new, whole.m_new, whole.v_new);
  for (size_t begin = 0; begin < 97;) {
    const size_t n = std::min<size_t>(97 - begin, 1 + begin % 13);
    const auto part = [&](Floats& values) { return std::span<float>(values).subspan(begin, n); };
    adam(step, part(parts.g), part(parts.w), part(parts.m), part(parts.v), part(parts.w_new),
         part(parts.m_new), part(parts.v_new));
    begin += n;
  }
  EXPECT_EQ(whole.w_new, parts.w_new);
  EXPECT_EQ(whole.m_new, parts.m_new);
  EXPECT_EQ(whole.v_new, parts.v_new);
}

TEST(Update, NormaliseDividesScalesDecaysAndClips) {
  Floats g = {10, -10, 1, 0, NAN, 3};
  const Floats w = {0, 0, 4, 2, 1, 0};
  normalise_gradient(g, 2, 0.5f, 0.25f, w, 1);
  EXPECT_EQ(g[0], 1.0f);
  EXPECT_EQ(g[1], -1.0f);
  EXPECT_EQ(g[2], 1.0f);  // 0.25 + 1, clipped
  EXPECT_EQ(g[3], 0.5f);
  EXPECT_TRUE(std::isnan(g[4]));
  EXPECT_EQ(g[5], 0.75f);
  Floats h = {10};
  normalise_gradient(h, 4, 1, 0, Floats{1}, infinite);
  EXPECT_EQ(h[0], 2.5f);
}

// Weights that are powers of two take another loop, with the bits of the division.
TEST(Update, NormaliseGivesTheBitsOfTheDivision) {
  std::mt19937 random(3);
  for (const float weight : {1.0f, 0.5f, 256.0f, 0x1p-90f, 3.0f, 41.0f, 0x1p120f})
    for (int trial = 0; trial < 1000; ++trial) {
      const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
      if (!std::isfinite(value)) continue;
      Floats g = {value};
      normalise_gradient(g, weight, 0.7f, 0, Floats{1}, infinite);
      EXPECT_EQ(g[0], value / weight * 0.7f) << value << " / " << weight;
    }
}

TEST(Update, RunningStatistic) {
  Floats r_new(2);
  update_statistic(Floats{8, -4}, 4, 0.75f, Floats{1, 1}, r_new);
  EXPECT_EQ(r_new, (Floats{1.25f, 0.5f}));
}

}  // namespace
}  // namespace lepton::ops
