// SPDX-License-Identifier: Apache-2.0
// Elementwise operators of one to three operands and their derivatives, for one element, once for host and
// CUDA: + - * /, sqrt and ops/math.h, so the bits are the same. A NaN is kept. Of equal operands of Min and
// Max the first has the gradient; Pow has none for its exponent where the base is not positive, nor do
// operators that are constant almost everywhere. The loops: ops/elementwise.cpp, kernels/elementwise.cu.
#pragma once

#include <cmath>

#include "base/philox.h"
#include "ops/math.h"

namespace lepton::ops {

enum class ElementwiseKind {
  neg,
  abs,
  sqrt,
  exp,
  log,
  erf,
  reciprocal,
  clip,
  sign,
  floor,
  ceil,
  logical_not,
  add,
  sub,
  mul,
  div,
  pow,
  min,
  max,
  equal,
  greater,
  less,
  where
};

/// A function; `low` and `high` are Clip's.
struct Elementwise {
  ElementwiseKind kind = ElementwiseKind::add;
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
  constexpr int operands() const {
    return kind < ElementwiseKind::add ? 1 : kind == ElementwiseKind::where ? 3 : 2;
  }
  /// Do derivatives depend on the operands?
  constexpr bool takes_operands() const {
    return kind != ElementwiseKind::neg && kind != ElementwiseKind::add && kind != ElementwiseKind::sub &&
           !(kind >= ElementwiseKind::sign && kind <= ElementwiseKind::logical_not) &&
           !(kind >= ElementwiseKind::equal && kind <= ElementwiseKind::less);
  }
};

/// Of Min and Max: is it the second operand that they give?
LEPTON_HD_ELEMENT inline bool second_is_taken(ElementwiseKind kind, float a, float b) {
  return (kind == ElementwiseKind::min ? b < a : b > a) | ((b != b) & (a == a));
}

LEPTON_HD_ELEMENT inline float sign_element(float x) {
  const float size = x == 0.0f ? 0.0f : 1.0f;
  return x != x ? x : math::with_sign_of(size, x);
}

LEPTON_HD_ELEMENT inline float clip_element(const Elementwise& f, float x) {
  const float low = x < f.low ? f.low : x;
  return low > f.high ? f.high : low;
}

/// f(a, b, c), of which it takes as many as it has operands.
LEPTON_HD_ELEMENT inline float elementwise_element(const Elementwise& f, float a, float b, float c) {
  using enum ElementwiseKind;
  switch (f.kind) {
    case neg:
      return -a;
    case abs:
      return math::magnitude(a);
    case sqrt:
      return std::sqrt(a);
    case exp:
      return math::exp(a);
    case log:
      return math::log(a);
    case erf:
      return math::erf(a);
    case reciprocal:
      return 1.0f / a;
    case clip:
      return clip_element(f, a);
    case sign:
      return sign_element(a);
    case floor:
      return std::floor(a);
    case ceil:
      return std::ceil(a);
    case logical_not:
      return a == 0.0f ? 1.0f : 0.0f;
    case add:
      return a + b;
    case sub:
      return a - b;
    case mul:
      return a * b;
    case div:
      return a / b;
    case pow:
      return math::pow(a, b);
    case min:
    case max:
      return second_is_taken(f.kind, a, b) ? b : a;
    case equal:
      return a == b ? 1.0f : 0.0f;
    case greater:
      return a > b ? 1.0f : 0.0f;
    case less:
      return a < b ? 1.0f : 0.0f;
    case where:
      return a != 0.0f ? b : c;
  }
  return a;
}

/// The derivative of a function of one operand, times dy.
LEPTON_HD_ELEMENT inline float unary_gradient_element(const Elementwise& f, float a, float dy) {
  using enum ElementwiseKind;
  switch (f.kind) {
    case neg:
      return -dy;
    case abs:
      return sign_element(a) * dy;
    case sqrt:
      return dy / (2.0f * std::sqrt(a));
    case exp:
      return math::exp(a) * dy;
    case log:
      return dy / a;
    case erf:
      return 1.12837917f * math::exp(-(a * a)) * dy;
    case reciprocal:
      return -dy / (a * a);
    case clip:
      return (a >= f.low) & (a <= f.high) ? dy : 0.0f;
    default:
      return 0.0f;
  }
}

/// With respect to base and exponent.
LEPTON_HD_ELEMENT inline float pow_base_gradient_element(float a, float b, float dy) {
  const float slope = b * math::pow(a, b - 1.0f);
  return b == 0.0f ? 0.0f : slope * dy;
}
LEPTON_HD_ELEMENT inline float pow_exponent_gradient_element(float a, float b, float dy) {
  const float slope = math::pow(a, b) * math::log(a);
  return a > 0.0f ? slope * dy : 0.0f;
}

/// The derivative with respect to an operand, times dy.
LEPTON_HD_ELEMENT inline float elementwise_gradient_element(const Elementwise& f, int operand, float a,
                                                            float b, float dy) {
  using enum ElementwiseKind;
  const bool first = operand == 0;
  switch (f.kind) {
    case add:
      return dy;
    case sub:
      return first ? dy : -dy;
    case mul:
      return (first ? b : a) * dy;
    case div:
      return first ? dy / b : -dy * (a / b / b);
    case pow:
      return first ? pow_base_gradient_element(a, b, dy) : pow_exponent_gradient_element(a, b, dy);
    case min:
    case max:
      return second_is_taken(f.kind, a, b) == first ? 0.0f : dy;
    case where:
      return first || (a != 0.0f) != (operand == 1) ? 0.0f : dy;
    case equal:
    case greater:
    case less:
      return 0.0f;
    default:
      return unary_gradient_element(f, a, dy);
  }
}

/// use.operator()<kind>() for a kind that is known at run time only.
template <class Use>
auto for_elementwise(ElementwiseKind kind, const Use& use) {
  using enum ElementwiseKind;
#define LEPTON_CASE(name) \
  case name:              \
    return use.template operator()<name>()
  switch (kind) {
    LEPTON_CASE(neg);
    LEPTON_CASE(abs);
    LEPTON_CASE(sqrt);
    LEPTON_CASE(exp);
    LEPTON_CASE(log);
    LEPTON_CASE(erf);
    LEPTON_CASE(reciprocal);
    LEPTON_CASE(clip);
    LEPTON_CASE(sign);
    LEPTON_CASE(floor);
    LEPTON_CASE(ceil);
    LEPTON_CASE(logical_not);
    LEPTON_CASE(add);
    LEPTON_CASE(sub);
    LEPTON_CASE(mul);
    LEPTON_CASE(div);
    LEPTON_CASE(pow);
    LEPTON_CASE(min);
    LEPTON_CASE(max);
    LEPTON_CASE(equal);
    LEPTON_CASE(greater);
    LEPTON_CASE(less);
    LEPTON_CASE(where);
  }
#undef LEPTON_CASE
  return use.template operator()<add>();
}

}  // namespace lepton::ops
