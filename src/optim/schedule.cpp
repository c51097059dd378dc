// SPDX-License-Identifier: Apache-2.0
// Schedules in double from + - * / and our own integer powers and cosine series, so that every machine
// computes the same rate. Called by optimizer once per step.
#include "optim/schedule.h"

#include <algorithm>

#include "base/error.h"

namespace lepton::optim {

namespace {

/// cos(pi x) for x in [0, 1], by the Taylor series around the nearest of 0 and 1 (error below 1e-15): libm's
/// cos may differ between machines, and the rate is part of the mathematics.
double cos_pi(double x) {
  constexpr double pi = 3.14159265358979323846;
  if (x > 0.5) return -cos_pi(1 - x);
  const double y = pi * x, square = y * y;
  double term = 1, sum = 1;
  for (int k = 1; k <= 12; ++k) {
    term *= -square / ((2 * k - 1) * (2 * k));
    sum += term;
  }
  return sum;
}

/// base^exponent for base in [0, 1] through exp2/log2-free bisection of the exponent: square roots and
/// products only.
double power(double base, double exponent) {
  if (base <= 0) return exponent == 0 ? 1 : 0;
  double result = 1;
  auto whole = static_cast<int64_t>(exponent);
  double factor = base;
  for (int64_t n = whole; n > 0; n >>= 1, factor *= factor)
    if (n & 1) result *= factor;
  double fraction = exponent - static_cast<double>(whole), root = base;
  for (int bit = 0; bit < 52 && fraction > 0; ++bit) {
    root = __builtin_sqrt(root);
    fraction *= 2;
    if (fraction >= 1) {
      result *= root;
      fraction -= 1;
    }
  }
  return result;
}

double decay_factor(const ScheduleSpec& s, int64_t after_warmup) {
  if (s.kind == ScheduleKind::constant) return 1;
  if (s.kind == ScheduleKind::step) return power(s.factor, static_cast<double>(after_warmup / s.step_every));
  CHECK(s.steps > 0, "schedule.steps has not been resolved");
  const double span = static_cast<double>(std::max<int64_t>(1, s.steps - s.warmup_steps));
  const double x = std::min(1.0, static_cast<double>(after_warmup) / span);
  const double shape = s.kind == ScheduleKind::cosine ? 0.5 * (1 + cos_pi(x)) : power(1 - x, s.power);
  return s.final_factor + (1 - s.final_factor) * shape;
}

}  // namespace

double learning_rate(const OptimizerSpec& spec, int64_t step) {
  const ScheduleSpec& s = spec.schedule;
  if (step <= s.warmup_steps)
    return spec.learning_rate * (static_cast<double>(step) / static_cast<double>(s.warmup_steps));
  return spec.learning_rate * decay_factor(s, step - 1 - s.warmup_steps);
}

}  // namespace lepton::optim
