// SPDX-License-Identifier: Apache-2.0
// Update rules (see update.h): one loop each, + - * / sqrt only, in the order written, compiled for each
// vector width with the same bits. Called by optim for slices of the arena.
#include "ops/update.h"

#include <cmath>
#include <cstdint>

#include "base/error.h"
#include "base/simd.h"
#include "ops/update_math.h"

namespace lepton::ops {

static int64_t length(std::span<const float> a, std::initializer_list<size_t> others) {
  for (const size_t size : others) CHECK(size == a.size(), "spans of one length");
  return static_cast<int64_t>(a.size());
}

LEPTON_SIMD static void sgd_loop(SgdStep k, const float* __restrict g, const float* __restrict w,
                                 const float* __restrict v, float* __restrict w_new, float* __restrict v_new,
                                 int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const SgdElement to = sgd_element(k, g[i], w[i], v[i]);
    w_new[i] = to.w;
    v_new[i] = to.v;
  }
}

void sgd(const SgdStep& step, std::span<const float> g, std::span<const float> w, std::span<const float> v,
         std::span<float> w_new, std::span<float> v_new) {
  const int64_t count = length(g, {w.size(), v.size(), w_new.size(), v_new.size()});
  sgd_loop(step, g.data(), w.data(), v.data(), w_new.data(), v_new.data(), count);
}

LEPTON_SIMD static void sgd_plain_loop(SgdStep k, const float* __restrict g, const float* __restrict w,
                                       float* __restrict w_new, int64_t count) {
  for (int64_t i = 0; i < count; ++i) w_new[i] = sgd_plain_element(k, g[i], w[i]);
}

void sgd_plain(const SgdStep& step, std::span<const float> g, std::span<const float> w,
               std::span<float> w_new) {
  sgd_plain_loop(step, g.data(), w.data(), w_new.data(), length(g, {w.size(), w_new.size()}));
}

LEPTON_SIMD static void adam_loop(AdamStep k, const float* __restrict g, const float* __restrict w,
                                  const float* __restrict m, const float* __restrict v,
                                  float* __restrict w_new, float* __restrict m_new, float* __restrict v_new,
                                  int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const AdamElement to = adam_element(k, g[i], w[i], m[i], v[i]);
    w_new[i] = to.w;
    m_new[i] = to.m;
    v_new[i] = to.v;
  }
}

void adam(const AdamStep& step, std::span<const float> g, std::span<const float> w, std::span<const float> m,
          std::span<const float> v, std::span<float> w_new, std::span<float> m_new, std::span<float> v_new) {
  const int64_t count = length(g, {w.size(), m.size(), v.size(), w_new.size(), m_new.size(), v_new.size()});
  adam_loop(step, g.data(), w.data(), m.data(), v.data(), w_new.data(), m_new.data(), v_new.data(), count);
}

LEPTON_SIMD static void normalise_loop(float* __restrict g, float weight, float factor, float l2,
                                       const float* __restrict w, float limit, int64_t count) {
  for (int64_t i = 0; i < count; ++i) g[i] = normalised(g[i] / weight, factor, l2, w[i], limit);
}

// The same bits for a power of two as weight, the usual size of a batch, at a third of the time.
LEPTON_SIMD static void normalise_exactly_loop(float* __restrict g, float inverse, float factor, float l2,
                                               const float* __restrict w, float limit, int64_t count) {
  for (int64_t i = 0; i < count; ++i) g[i] = normalised(g[i] * inverse, factor, l2, w[i], limit);
}

void normalise_gradient(std::span<float> g, float weight, float factor, float l2, std::span<const float> w,
                        float limit) {
  const int64_t count = length(g, {w.size()});
  int exponent = 0;
  if (std::frexp(weight, &exponent) == 0.5f && exponent > -100 && exponent < 100)
    normalise_exactly_loop(g.data(), 1 / weight, factor, l2, w.data(), limit, count);
  else
    normalise_loop(g.data(), weight, factor, l2, w.data(), limit, count);
}

LEPTON_SIMD static void statistic_loop(const float* __restrict sum, float weight, float momentum, float rest,
                                       const float* __restrict r, float* __restrict r_new, int64_t count) {
  for (int64_t i = 0; i < count; ++i) r_new[i] = statistic_element(sum[i], weight, momentum, rest, r[i]);
}

void update_statistic(std::span<const float> sum, float weight, float momentum, std::span<const float> r,
                      std::span<float> r_new) {
  const int64_t count = length(sum, {r.size(), r_new.size()});
  statistic_loop(sum.data(), weight, momentum, 1.0f - momentum, r.data(), r_new.data(), count);
}

}  // namespace lepton::ops
