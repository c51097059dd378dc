// SPDX-License-Identifier: Apache-2.0
// ops/math.h against double libm: errors in units in the last place over dense sweeps, and special values.
#include "ops/math.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lepton::ops::math {
namespace {

// |got - want| in units in the last place of the float next to want (at least the smallest subnormal).
double error_ulp(float got, double want) {
  const float nearest = static_cast<float>(want);
  if (std::isinf(nearest)) return got == nearest ? 0 : 1e9;
  const double unit = std::max(std::ldexp(1.0, std::ilogb(nearest == 0 ? 1e-45f : nearest) - 23), 0x1p-149);
  return std::abs(static_cast<double>(got) - want) / unit;
}

template <class Function, class Exact>
void sweep(const char* name, float from, float to, int steps, double bound, Function function, Exact exact) {
  double worst = 0;
  float where = 0;
  for (int i = 0; i <= steps; ++i) {
    const float x = from + (to - from) * (static_cast<float>(i) / static_cast<float>(steps));
    const double error = error_ulp(function(x), exact(static_cast<double>(x)));
    if (!(error <= worst)) {
      worst = error;
      where = x;
    }
  }
  EXPECT_LE(worst, bound) << name << " at " << where;
  ::testing::Test::RecordProperty(name, std::to_string(worst));
}

constexpr int dense = 400000;

TEST(Math, Exp) {
  const auto exact = [](double x) { return std::exp(x); };
  sweep("exp", -104.5f, 89.0f, dense, 2, exp, exact);
  sweep("exp_small", -1, 1, dense, 2, exp, exact);
  EXPECT_EQ(exp(0), 1.0f);
  EXPECT_EQ(exp(-1e30f), 0.0f);
  EXPECT_TRUE(std::isinf(exp(1e30f)));
  EXPECT_TRUE(std::isnan(exp(NAN)));
  EXPECT_TRUE(std::isnan(exp(-NAN)));
}

TEST(Math, Log1pOfTheUnitInterval) {
  const auto exact = [](double x) { return std::log1p(x); };
  sweep("log1p", 0, 1, dense, 3, log1p_unit, exact);
  sweep("log1p_tiny", 0, 1e-6f, dense, 3, log1p_unit, exact);
  EXPECT_EQ(log1p_unit(0), 0.0f);
  EXPECT_TRUE(std::isnan(log1p_unit(NAN)));
}

TEST(Math, Log) {
  const auto exact = [](double x) { return std::log(x); };
  sweep("log", 1e-6f, 4, dense, 2, log, exact);
  sweep("log_wide", 1, 3e38f, dense, 2, log, exact);
  sweep("log_subnormal", 1e-45f, 2e-38f, dense, 2, log, exact);
  EXPECT_EQ(log(1), 0.0f);
  EXPECT_EQ(log(0), -INFINITY);
  EXPECT_EQ(log(INFINITY), INFINITY);
  EXPECT_TRUE(std::isnan(log(-1)));
  EXPECT_TRUE(std::isnan(log(NAN)));
}

TEST(Math, LogDouble) {
  for (int i = 1; i < 200000; ++i)
    for (const double x : {i * 1e-5, i * 37.0, 1 + i * 1e-12}) {
      const double want = std::log(x);
      ASSERT_NEAR(log_double(x), want, 4e-16 * std::abs(want) + 1e-320) << x;
    }
  EXPECT_EQ(log_double(1), 0.0);
}

TEST(Math, ExpOfADouble) {
  for (double x = -707; x < 709; x += 0.37) ASSERT_NEAR(exp_double(x), std::exp(x), 4e-16 * std::exp(x)) << x;
  for (double x = -1; x < 1; x += 1e-4) ASSERT_NEAR(exp_double(x), std::exp(x), 4e-16 * std::exp(x)) << x;
  EXPECT_EQ(exp_double(0), 1.0);
  EXPECT_EQ(exp_double(-709), 0.0);
  EXPECT_EQ(exp_double(-INFINITY), 0.0);
  EXPECT_TRUE(std::isinf(exp_double(710)));
  EXPECT_TRUE(std::isnan(exp_double(NAN)));
}

TEST(Math, ExpSeries) {
  for (int i = -200000; i <= 200000; ++i) {
    const double x = i * 1e-3, want = std::exp(x);
    ASSERT_NEAR(exp_series(x), want, 1e-14 * want) << x;
  }
  EXPECT_EQ(exp_series(0), 1.0);
}

TEST(Math, Pow) {
  for (const float y : {2.0f, 3.0f, -1.0f, 0.5f, -0.5f, 1.7f, -2.3f, 10.0f, 0.01f, 31.0f}) {
    const auto power = [y](float x) { return pow(x, y); };
    const auto exact = [y](double x) { return std::pow(x, static_cast<double>(y)); };
    sweep("pow", 1e-6f, 4, dense / 4, 1, power, exact);
    sweep("pow_wide", 1, 3e38f, dense / 4, 1, power, exact);
    sweep("pow_subnormal", 1e-45f, 2e-38f, dense / 4, 1, power, exact);
  }
  const auto cube = [](float x) { return pow(x, 3); };
  sweep("pow_negative", -4, 4, dense, 1, cube, [](double x) { return x * x * x; });
}

TEST(Math, PowOfSpecialValuesIsThatOfIeee754) {
  const float values[] = {0,         -0.0f, 1,    -1,    0.5f,     -0.5f,  2,
                          -2,        3,     -3,   1e30f, -1e30f,   1e-40f, INFINITY,
                          -INFINITY, NAN,   2.5f, -2.5f, 16777216, 1e-20f, -7};
  for (const float x : values)
    for (const float y : values) {
      const float got = pow(x, y), want = std::pow(x, y);
      EXPECT_TRUE(std::isnan(want) ? std::isnan(got) : error_ulp(got, static_cast<double>(want)) <= 1)
          << x << "^" << y << " = " << want << ", not " << got;
      if (want == 0) {
        EXPECT_EQ(std::signbit(got), std::signbit(want)) << x << "^" << y;
      }
    }
}

TEST(Math, Sigmoid) {
  sweep("sigmoid", -104, 40, dense, 3, sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); });
  EXPECT_EQ(sigmoid(-INFINITY), 0.0f);
  EXPECT_EQ(sigmoid(INFINITY), 1.0f);
  EXPECT_TRUE(std::isnan(sigmoid(NAN)));
}

TEST(Math, Tanh) {
  const auto exact = [](double x) { return std::tanh(x); };
  sweep("tanh", -10, 10, dense, 2, tanh, exact);
  sweep("tanh_small", -1e-3f, 1e-3f, dense, 2, tanh, exact);
  EXPECT_EQ(tanh(-INFINITY), -1.0f);
  EXPECT_EQ(tanh(90), 1.0f);
  EXPECT_TRUE(std::isnan(tanh(NAN)));
}

TEST(Math, Erf) {
  const auto exact = [](double x) { return std::erf(x); };
  sweep("erf", -5, 5, dense, 2.5, erf, exact);
  sweep("erf_small", -1e-3f, 1e-3f, dense, 2, erf, exact);
  EXPECT_EQ(erf(INFINITY), 1.0f);
  EXPECT_EQ(erf(-30), -1.0f);
  EXPECT_TRUE(std::isnan(erf(NAN)));
}

TEST(Math, SinCosOfTurns) {
  const double turn = 2 * std::acos(-1.0);
  for (int i = 0; i <= dense; ++i) {
    const float u = static_cast<float>(i) / dense;
    const SinCos got = sincos_turns(u);
    ASSERT_NEAR(static_cast<double>(got.sin), std::sin(turn * static_cast<double>(u)), 1.2e-7) << u;
    ASSERT_NEAR(static_cast<double>(got.cos), std::cos(turn * static_cast<double>(u)), 1.2e-7) << u;
  }
  EXPECT_EQ(sincos_turns(0.25f).sin, 1.0f);
  EXPECT_EQ(sincos_turns(0.5f).cos, -1.0f);
}

}  // namespace
}  // namespace lepton::ops::math
