// SPDX-License-Identifier: Apache-2.0
// Elementary functions in float32 from + - * / and integer operations only: with contraction off they give
// the same bits on every machine and in CUDA, and loops over them vectorise (both sides of a choice are
// computed, then one is taken). Errors are at most 2-3 units in the last place (tests/ops/math_test); NaN
// passes through. Methods: argument reduction after Cody and Waite 1980; coefficients from Cephes (Moshier
// 1992), from fdlibm (Sun 1993, log_double) and minimax fits. Callers: every loop of ops that would need
// <cmath>.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/philox.h"

namespace lepton::ops::math {

LEPTON_HD inline uint32_t bits(float x) {
  return std::bit_cast<uint32_t>(x);
}
LEPTON_HD inline float from_bits(uint32_t x) {
  return std::bit_cast<float>(x);
}
LEPTON_HD inline float magnitude(float x) {
  return from_bits(bits(x) & 0x7fffffffu);
}
LEPTON_HD inline float with_sign_of(float size, float sign) {
  return from_bits((bits(size) & 0x7fffffffu) | (bits(sign) & 0x80000000u));
}

/// 2^n for n in [-126, 127].
LEPTON_HD inline float power_of_two(int32_t n) {
  return from_bits(static_cast<uint32_t>(n + 127) << 23);
}

/// e^x; 0 below -104, Inf above 88.72; subnormal results are right.
LEPTON_HD inline float exp(float x) {
  // Beyond these bounds the result is 0 or Inf anyway; a NaN fails both comparisons and stays.
  const float low = x < -104.0f ? -104.0f : x;
  const float y = low > 89.0f ? 89.0f : low;
  // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
  const float shifted = y * 1.44269504f + 12582912.0f;
  const int32_t n = static_cast<int32_t>(bits(shifted) - 0x4b400000u);
  const float k = shifted - 12582912.0f;
  const float r = (y - k * 0.693359375f) - k * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float e = (p * (r * r) + r) + 1.0f;
  // Two factors, for n reaches from -150 to 128. (A NaN makes n arbitrary, but e is NaN then.)
  const int32_t half = n >> 1;
  return e * power_of_two(half) * power_of_two(n - half);
}

/// Natural logarithm; log(0) = -Inf, log of a negative number is NaN; subnormal arguments are right.
LEPTON_HD inline float log(float x) {
  const bool tiny = x < 1.17549435e-38f;
  const float scaled = tiny ? x * 8388608.0f : x;
  // x = m 2^e with m in [sqrt(1/2), sqrt(2)).
  const uint32_t offset = bits(scaled) - 0x3f3504f3u;
  const int32_t exponent = static_cast<int32_t>(offset) >> 23;
  const float m = from_bits((offset & 0x007fffffu) + 0x3f3504f3u);
  const float e = static_cast<float>(exponent - (tiny ? 23 : 0));
  const float f = m - 1.0f, z = f * f;
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  float y = p * (f * z);
  y = y + e * -2.12194440e-4f - 0.5f * z;
  const float regular = (f + y) + e * 0.693359375f;
  const float infinity = std::numeric_limits<float>::infinity();
  const float top = x == infinity ? infinity : regular;
  const float low = x == 0.0f ? -infinity : top;
  return x < 0.0f ? std::numeric_limits<float>::quiet_NaN() : (x != x ? x : low);
}

/// ln(1 + t) for t in [0, 1], accurate relative to itself: 2 artanh(t / (2 + t)), by its series.
LEPTON_HD inline float log1p_unit(float t) {
  const float s = t / (2.0f + t), z = s * s;
  float p = 2.0f / 15;
  p = p * z + 2.0f / 13;
  p = p * z + 2.0f / 11;
  p = p * z + 2.0f / 9;
  p = p * z + 2.0f / 7;
  p = p * z + 2.0f / 5;
  p = p * z + 2.0f / 3;
  return p * (z * s) + 2.0f * s;
}

/// 1 / (1 + e^-x), accurate relative to itself on both sides.
LEPTON_HD inline float sigmoid(float x) {
  const float e = exp(-magnitude(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

LEPTON_HD inline float tanh(float x) {
  const float a = magnitude(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float small = p * z * x + x;
  const float large = 1.0f - 2.0f / (exp(2.0f * a) + 1.0f);
  return a < 0.625f ? small : with_sign_of(large, x);
}

/// The error function (after Juffa's minimax fits): a polynomial in x^2 near 0, 1 - e^p(|x|) beyond.
LEPTON_HD inline float erf(float x) {
  const float t = magnitude(x), s = x * x;
  const float c = t > 4.0f ? 4.0f : t;  // erf(4) rounds to 1
  const float cs = c * c;
  float large = -1.72853470e-5f * c + 3.83197126e-4f;
  const float odd = -3.88396438e-3f * c + 2.42546219e-2f;
  large = large * cs + odd;
  large = large * c - 1.06777877e-1f;
  large = large * c - 6.34846687e-1f;
  large = large * c - 1.28717512e-1f;
  large = large * c - c;
  large = with_sign_of(1.0f - exp(large), x);
  float small = -5.96761703e-4f;
  small = small * s + 4.99119423e-3f;
  small = small * s - 2.67681349e-2f;
  small = small * s + 1.12819925e-1f;
  small = small * s - 3.76125336e-1f;
  small = small * s + 1.28379166e-1f;
  small = small * x + x;
  return t > 0.927734375f ? large : small;
}

struct SinCos {
  float sin, cos;
};

/// sin(2 pi u) and cos(2 pi u) for u in [0, 1]: reduced exactly to |r| <= 1/8 turn.
LEPTON_HD inline SinCos sincos_turns(float u) {
  const float k = (u * 4.0f + 12582912.0f) - 12582912.0f;
  const int32_t quadrant = static_cast<int32_t>(k) & 3;
  // x = 2 pi r with 2 pi in two parts: the first product rounds, the second brings back what 2 pi lost.
  const float r = u - k * 0.25f;
  const float x = r * 6.28318548f + r * -1.74845553e-7f, z = x * x;
  float s = -1.9515295891e-4f;
  s = s * z + 8.3321608736e-3f;
  s = s * z - 1.6666654611e-1f;
  s = s * z * x + x;
  float c = 2.443315711809948e-5f;
  c = c * z - 1.388731625493765e-3f;
  c = c * z + 4.166664568298827e-2f;
  c = c * (z * z) - 0.5f * z + 1.0f;
  const float swapped_sin = quadrant & 1 ? c : s, swapped_cos = quadrant & 1 ? s : c;
  return {quadrant & 2 ? -swapped_sin : swapped_sin, (quadrant + 1) & 2 ? -swapped_cos : swapped_cos};
}

/// Natural logarithm of a positive normal double (fdlibm e_log.c): loss sums, once per sample.
LEPTON_HD inline double log_double(double x) {
  const uint64_t offset = std::bit_cast<uint64_t>(x) - 0x3fe6a09e667f3bcdu;
  const int64_t k = static_cast<int64_t>(offset) >> 52;
  const double f = std::bit_cast<double>((offset & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu) - 1.0;
  const double s = f / (2.0 + f), z = s * s, w = z * z;
  const double even =
      w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
  const double odd =
      z * (6.666666666666735130e-01 +
           w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
  const double half = 0.5 * f * f, e = static_cast<double>(k);
  return e * 6.93147180369123816490e-01 -
         ((half - (s * (half + even + odd) + e * 1.90821492927058770002e-10)) - f);
}

/// e^x in double (fdlibm e_exp.c): 0 below -708, where the true value is below 1e-307; Inf above 709.78.
LEPTON_HD inline double exp_double(double x) {
  if (x > 709.782712893384) return std::numeric_limits<double>::infinity();
  if (x < -708) return 0;
  if (x != x) return x;
  const double shifted = x * 1.44269504088896338700 + 6755399441055744.0;  // 1.5 * 2^52 rounds
  const double k = shifted - 6755399441055744.0;
  const double high = x - k * 6.93147180369123816490e-01, low = k * 1.90821492927058770002e-10;
  const double r = high - low, t = r * r;
  const double c = r - t * (1.66666666666666019037e-01 +
                            t * (-2.77777777770155933842e-03 +
                                 t * (6.61375632143793436117e-05 +
                                      t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))));
  const double y = 1 - ((low - (r * c) / (2 - c)) - high);
  // Two factors, for k reaches 1024.
  const auto n = static_cast<int64_t>(k), half = n / 2;
  const auto power = [](int64_t e) { return std::bit_cast<double>(static_cast<uint64_t>(e + 1023) << 52); };
  return y * power(half) * power(n - half);
}

/// e^x for |x| <= 700, by its series, without branches: relative error below 1e-14.
LEPTON_HD inline double exp_series(double x) {
  const double shifted = x * 1.4426950408889634 + 6755399441055744.0;  // 1.5 * 2^52: rounds, as in exp
  const uint64_t n = std::bit_cast<uint64_t>(shifted) - 0x4338000000000000u;
  const double k = shifted - 6755399441055744.0;
  const double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
  double p = 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = (p * r + 1.0) * r + 1.0;
  return p * std::bit_cast<double>((n + 1023) << 52);
}

/// x^y as IEEE 754 has it, by e^(y ln |x|) in double: right to the last place but for rare ties.
LEPTON_HD inline float pow(float x, float y) {
  const float infinity = std::numeric_limits<float>::infinity(), a = magnitude(x);
  // Where the logarithm is infinite: so large that no y makes it small.
  const double regular = log_double(static_cast<double>(a));
  const double upper = a == infinity ? 1e300 : regular, logarithm = a == 0.0f ? -1e300 : upper;
  const double product = a == 1.0f ? 0.0 : static_cast<double>(y) * logarithm;
  const double low = product < -200.0 ? -200.0 : product;
  const float size = static_cast<float>(exp_series(low > 200.0 ? 200.0 : low));
  const float half = y * 0.5f;
  const bool whole = std::floor(y) == y, odd = whole & (std::floor(half) != half);
  const bool negative = bits(x) >> 31 != 0;
  const float with_sign = negative & odd ? -size : size;
  const bool complex = (x < 0.0f) & (x != -infinity) & !whole, none = complex | (x != x) | (y != y);
  const float result = none ? std::numeric_limits<float>::quiet_NaN() : with_sign;
  return (y == 0.0f) | (x == 1.0f) ? 1.0f : result;
}

}  // namespace lepton::ops::math
