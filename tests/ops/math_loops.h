// SPDX-License-Identifier: Apache-2.0
// Loops over ops/math.h, included by vector_widths_test once per vector width (hence no include guard), with
// `ops` and LEPTON_SIMD standing for another namespace and target each time.

namespace lepton::ops {

LEPTON_SIMD inline void math_loops(size_t count, const float* x, float* y) {
  for (size_t i = 0; i < count; ++i) y[i] = lepton_math::exp(x[i]);
  for (size_t i = 0; i < count; ++i) y[count + i] = lepton_math::log(x[i]);
  for (size_t i = 0; i < count; ++i) y[2 * count + i] = lepton_math::tanh(x[i]);
  for (size_t i = 0; i < count; ++i) y[3 * count + i] = lepton_math::erf(x[i]);
  for (size_t i = 0; i < count; ++i) y[4 * count + i] = lepton_math::sigmoid(x[i]);
  for (size_t i = 0; i < count; ++i) y[5 * count + i] = lepton_math::pow(x[i], x[count - 1 - i]);
}

}  // namespace lepton::ops
