// SPDX-License-Identifier: Apache-2.0
// The arithmetic of ExactSum on its limbs. A double is mantissa * 2^(position - 1074) with an integer
// mantissa below 2^53 and position >= 0, so its bits fall into at most three neighbouring limbs, each of
// which takes an addend below 2^32. Called from every place that sums over samples.
#include "base/exact_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace lepton {

namespace {

constexpr int value_limbs = 66;  // limbs of 32 bits that cover the doubles
constexpr int carry_limb = 66;   // what is carried out of them, and the sign
constexpr int poison_limb = 67;
constexpr int64_t limb_limit = int64_t{1} << 62;  // beyond this an addition carries first
constexpr int top_position = 1074 + 1024;         // 2^1024 as a bit position

struct Parts {
  uint64_t mantissa;
  int position;  // of the lowest bit, in units of 2^-1074
  bool negative;
};

Parts parts_of(double value) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const int exponent = static_cast<int>(bits >> 52) & 0x7FF;
  const uint64_t fraction = bits & ((uint64_t{1} << 52) - 1);
  const bool negative = (bits >> 63) != 0;
  if (exponent == 0) return {fraction, 0, negative};
  return {fraction | (uint64_t{1} << 52), exponent - 1, negative};
}

/// Shifts right by `shift` > 0, to nearest, ties to even.
uint128 shift_right_rounded(uint128 value, int shift) {
  if (shift > 127) return 0;  // only products far below 2^-1075 come here
  const uint128 kept = value >> shift, dropped = value - (kept << shift), half = uint128{1} << (shift - 1);
  const bool up = dropped > half || (dropped == half && (kept & 1) != 0);
  return kept + (up ? 1 : 0);
}

int bit_length(uint128 value) {
  const uint64_t high = static_cast<uint64_t>(value >> 64);
  return high != 0 ? 64 + std::bit_width(high) : std::bit_width(static_cast<uint64_t>(value));
}

}  // namespace

void ExactSum::add_scaled(uint128 magnitude, int position, bool negative) {
  // position % 32 more bits must fit above the magnitude: at most 106 + 31 = 137 bits, taken in two pieces.
  int limb = position / 32;
  const int shift = position % 32;
  uint128 low = (magnitude & 0xFFFFFFFFu) << shift, rest = magnitude >> 32;
  bool near_limit = false;
  while (low != 0 || rest != 0) {
    const int64_t addend = static_cast<int64_t>(static_cast<uint64_t>(low) & 0xFFFFFFFFu);
    int64_t& target = limbs_[static_cast<size_t>(limb++)];
    target += negative ? -addend : addend;
    near_limit |= target > limb_limit || target < -limb_limit;
    low = (low >> 32) + ((rest & 0xFFFFFFFFu) << shift);
    rest >>= 32;
  }
  if (near_limit) [[unlikely]]
    normalise();
}

void ExactSum::add(double value) {
  const Parts parts = parts_of(value);
  if (parts.position > 2045) [[unlikely]] {  // exponent 0x7FF
    ++limbs_[poison_limb];
    return;
  }
  const size_t limb = static_cast<size_t>(parts.position) / 32;
  const int shift = parts.position % 32;
  const uint128 shifted = uint128{parts.mantissa} << shift;
  const int64_t sign = parts.negative ? -1 : 1;
  uint64_t beyond = 0;
  for (size_t i = 0; i < 3; ++i) {
    const int64_t sum = limbs_[limb + i] +=
        sign * static_cast<int64_t>(static_cast<uint32_t>(shifted >> (32 * i)));
    beyond |=
        static_cast<uint64_t>(sum) + static_cast<uint64_t>(limb_limit);  // top bit: outside -limit .. limit
  }
  if ((beyond >> 63) != 0) [[unlikely]]
    normalise();
}

void ExactSum::add_product(double a, double b) {
  const Parts x = parts_of(a), y = parts_of(b);
  if (x.position > 2045 || y.position > 2045) {
    ++limbs_[poison_limb];
    return;
  }
  uint128 product = uint128{x.mantissa} * y.mantissa;
  if (product == 0) return;
  int position = x.position + y.position - 1074;  // two factors of 2^-1074, one kept
  if (position + bit_length(product) > top_position) {
    ++limbs_[poison_limb];
    return;
  }
  if (position < 0) {
    product = shift_right_rounded(product, -position);
    position = 0;
  }
  add_scaled(product, position, x.negative != y.negative);
}

void ExactSum::normalise() {
  for (size_t i = 0; i < value_limbs; ++i) {
    const int64_t carry = limbs_[i] >> 32;  // arithmetic shift: floor
    limbs_[i] &= 0xFFFFFFFF;
    limbs_[i + 1] += carry;
  }
}

void ExactSum::merge(const ExactSum& other) {
  ExactSum addend = other;
  addend.normalise();
  bool near_limit = false;
  for (size_t i = 0; i < limbs_.size(); ++i) {
    limbs_[i] += addend.limbs_[i];
    near_limit |= limbs_[i] > limb_limit || limbs_[i] < -limb_limit;
  }
  if (near_limit) normalise();
}

bool ExactSum::operator==(const ExactSum& other) const {
  ExactSum a = *this, b = other;
  a.normalise();
  b.normalise();
  return a.limbs_ == b.limbs_;
}

double ExactSum::value() const {
  if (poisoned()) return std::numeric_limits<double>::quiet_NaN();
  ExactSum magnitude = *this;
  magnitude.normalise();
  const bool negative = magnitude.limbs_[carry_limb] < 0;
  if (negative) {
    for (int64_t& limb : magnitude.limbs_) limb = -limb;
    magnitude.normalise();
  }
  const auto& limbs = magnitude.limbs_;
  if (limbs[carry_limb] != 0) return negative ? -HUGE_VAL : HUGE_VAL;
  int top = value_limbs - 1;
  while (top > 0 && limbs[static_cast<size_t>(top)] == 0) --top;

  // The 96 bits from the highest non-zero limb down hold the 53 that stay and the rounding bit (65 are sure);
  // all that lies below them can only break a tie, so one sticky bit stands for it.
  const int low = top >= 2 ? top - 2 : 0;
  uint128 window = 0;
  for (int i = top; i >= low; --i)
    window = (window << 32) | static_cast<uint64_t>(limbs[static_cast<size_t>(i)]);
  bool sticky = false;
  for (int i = 0; i < low; ++i) sticky |= limbs[static_cast<size_t>(i)] != 0;
  window = (window << 1) | (sticky ? 1 : 0);
  int position = 32 * low - 1;
  const int excess = bit_length(window) - 53;
  // Below 2^-1022 the spacing of doubles is 2^-1074, position 0: no more than the sticky bit is ever cut
  // there.
  const int cut = std::max(excess, -position);
  if (cut > 0) {
    window = shift_right_rounded(window, cut);
    position += cut;
  }
  const double result = std::ldexp(static_cast<double>(static_cast<uint64_t>(window)), position - 1074);
  return negative ? -result : result;
}

}  // namespace lepton
