// SPDX-License-Identifier: Apache-2.0
// See the header. Parts of a row of gates never overlap, which the compiler learns by __restrict; flatten
// puts the functions of math.h into the loops, which would not be vectorised around calls.
#include "ops/recurrent_rows.h"

#include <algorithm>

#include "base/simd.h"
#include "ops/recurrent_math.h"

#define LEPTON_SIMD_ROWS LEPTON_SIMD [[gnu::flatten]]

namespace lepton::ops {

LEPTON_SIMD_ROWS void add_state_gradients(int64_t rows, int64_t units, const float* carried,
                                          const float* output, int64_t output_row, float* state_gradient) {
  if (carried)
    for (int64_t i = 0; i < rows * units; ++i) state_gradient[i] += carried[i];
  if (!output) return;
  for (int64_t r = 0; r < rows; ++r) {
    float* __restrict dh = state_gradient + r * units;
    const float* dy = output + r * output_row;
    for (int64_t j = 0; j < units; ++j) dh[j] += dy[j];
  }
}

namespace {

template <bool relu>
[[gnu::always_inline]] inline void rnn_rows(const RecurrentStep& s, const float* sums) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    const float* __restrict z = s.gates + r * units;
    const float* __restrict u = sums + r * units;
    float* __restrict h = s.state + r * units;
    if (s.over(r)) {
      std::fill_n(h, units, 0.0f);
      continue;
    }
    for (int64_t j = 0; j < units; ++j) h[j] = rnn_element<relu>(z[j] + u[j]);
  }
}

template <bool relu>
[[gnu::always_inline]] inline void rnn_gradient_rows(const RecurrentStep& s, float* state_gradient) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float* __restrict z = s.gates + r * units;
    const float* __restrict h = s.state + r * units;
    float* __restrict dh = state_gradient + r * units;
    if (s.over(r))
      std::fill_n(z, units, 0.0f);
    else
      for (int64_t j = 0; j < units; ++j) z[j] = rnn_gradient_element<relu>(h[j], dh[j]);
    std::fill_n(dh, units, 0.0f);
  }
}

}  // namespace

LEPTON_SIMD_ROWS static void rnn_relu_forward(const RecurrentStep& s, const float* sums) {
  rnn_rows<true>(s, sums);
}
LEPTON_SIMD_ROWS static void rnn_tanh_forward(const RecurrentStep& s, const float* sums) {
  rnn_rows<false>(s, sums);
}
void rnn_forward(const RecurrentStep& step, bool relu, const float* sums) {
  relu ? rnn_relu_forward(step, sums) : rnn_tanh_forward(step, sums);
}

LEPTON_SIMD_ROWS static void rnn_relu_backward(const RecurrentStep& s, float* state_gradient) {
  rnn_gradient_rows<true>(s, state_gradient);
}
LEPTON_SIMD_ROWS static void rnn_tanh_backward(const RecurrentStep& s, float* state_gradient) {
  rnn_gradient_rows<false>(s, state_gradient);
}
void rnn_backward(const RecurrentStep& step, bool relu, float* state_gradient) {
  relu ? rnn_relu_backward(step, state_gradient) : rnn_tanh_backward(step, state_gradient);
}

LEPTON_SIMD_ROWS void lstm_forward(const RecurrentStep& s, const float* sums) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float* const row = s.gates + r * 4 * units;
    float* __restrict zi = row, * __restrict zo = row + units, * __restrict zf = row + 2 * units, * __restrict zc = row + 3 * units;
    const float* __restrict u = sums + r * 4 * units;
    const float* __restrict before = s.cell_before + r * units;
    float* __restrict cell = s.cell + r * units, * __restrict h = s.state + r * units;
    if (s.over(r)) {
      std::fill_n(cell, units, 0.0f);
      std::fill_n(h, units, 0.0f);
      continue;
    }
    for (int64_t j = 0; j < units; ++j) {
      const LstmGates g = lstm_gates(
          {zi[j] + u[j], zo[j] + u[units + j], zf[j] + u[2 * units + j], zc[j] + u[3 * units + j]});
      const float c = lstm_cell(g, before[j]);
      zi[j] = g.i;
      zo[j] = g.o;
      zf[j] = g.f;
      zc[j] = g.c;
      cell[j] = c;
      h[j] = lstm_state(g, c);
    }
  }
}

LEPTON_SIMD_ROWS void lstm_backward(const RecurrentStep& s, float* state_gradient, float* cell_gradient) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float* const row = s.gates + r * 4 * units;
    float* __restrict zi = row, * __restrict zo = row + units, * __restrict zf = row + 2 * units, * __restrict zc = row + 3 * units;
    const float* __restrict before = s.cell_before + r * units, * __restrict cell = s.cell + r * units;
    float* __restrict dh = state_gradient + r * units, * __restrict dcell = cell_gradient + r * units;
    if (s.over(r)) {
      std::fill_n(row, 4 * units, 0.0f);
      std::fill_n(dcell, units, 0.0f);
      std::fill_n(dh, units, 0.0f);
      continue;
    }
    for (int64_t j = 0; j < units; ++j) {
      const LstmGradients d =
          lstm_gradient_element({zi[j], zo[j], zf[j], zc[j]}, cell[j], before[j], dh[j], dcell[j]);
      zi[j] = d.z.i;
      zo[j] = d.z.o;
      zf[j] = d.z.f;
      zc[j] = d.z.c;
      dcell[j] = d.cell_before;
      dh[j] = 0.0f;
    }
  }
}

LEPTON_SIMD_ROWS void gru_forward(const RecurrentStep& s, const float* sums) {
  const int64_t units = s.units;
  const float* __restrict bias = s.bias;
  for (int64_t r = 0; r < s.rows; ++r) {
    float* const row = s.gates + r * 3 * units;
    float* __restrict zz = row, * __restrict zr = row + units, * __restrict zh = row + 2 * units;
    const float* __restrict u = sums + r * 3 * units;
    const float* __restrict before = s.before + r * units;
    float* __restrict kept = s.kept + r * units, * __restrict h = s.state + r * units;
    if (s.over(r)) {
      std::fill_n(h, units, 0.0f);
      continue;
    }
    for (int64_t j = 0; j < units; ++j) {
      const float z = math::sigmoid(zz[j] + u[j]), reset = math::sigmoid(zr[j] + u[units + j]);
      const float k = u[2 * units + j] + bias[j], candidate = math::tanh(zh[j] + reset * k);
      zz[j] = z;
      zr[j] = reset;
      zh[j] = candidate;
      kept[j] = k;
      h[j] = gru_state(z, candidate, before[j]);
    }
  }
}

LEPTON_SIMD_ROWS void gru_backward(const RecurrentStep& s, float* state_gradient, float* sums_gradient) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float *const row = s.gates + r * 3 * units, *const sums_row = sums_gradient + r * 3 * units;
    float* __restrict zz = row, * __restrict zr = row + units, * __restrict zh = row + 2 * units;
    float* __restrict uz = sums_row, * __restrict ur = sums_row + units, * __restrict uh = sums_row + 2 * units;
    const float* __restrict before = s.before + r * units;
    float* __restrict kept = s.kept + r * units, * __restrict dh = state_gradient + r * units;
    if (s.over(r)) {
      std::fill_n(row, 3 * units, 0.0f);
      std::fill_n(sums_row, 3 * units, 0.0f);
      std::fill_n(kept, units, 0.0f);
      std::fill_n(dh, units, 0.0f);
      continue;
    }
    for (int64_t j = 0; j < units; ++j) {
      const float z = zz[j], reset = zr[j], candidate = zh[j], d = dh[j];
      const float dz = gru_update_gradient(z, candidate, before[j], d);
      const float dc = gru_candidate_gradient(z, candidate, d);
      const float dr = dc * kept[j] * sigmoid_slope(reset);
      zz[j] = uz[j] = dz;
      zr[j] = ur[j] = dr;
      zh[j] = dc;
      kept[j] = uh[j] = dc * reset;
      dh[j] = d * z;
    }
  }
}

LEPTON_SIMD_ROWS void gru_gates_forward(const RecurrentStep& s, const float* sums) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float* const row = s.gates + r * 3 * units;
    float* __restrict zz = row, * __restrict zr = row + units;
    const float* __restrict u = sums + r * 2 * units;
    const float* __restrict before = s.before + r * units;
    float* __restrict kept = s.kept + r * units;
    for (int64_t j = 0; j < units; ++j) {
      const float reset = math::sigmoid(zr[j] + u[units + j]);
      zz[j] = math::sigmoid(zz[j] + u[j]);
      zr[j] = reset;
      kept[j] = reset * before[j];
    }
  }
}

LEPTON_SIMD_ROWS void gru_candidate_forward(const RecurrentStep& s, const float* sums) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float* const row = s.gates + r * 3 * units;
    float* __restrict zz = row, * __restrict zh = row + 2 * units;
    const float* __restrict u = sums + r * units, * __restrict before = s.before + r * units;
    float* __restrict h = s.state + r * units;
    if (s.over(r)) {
      std::fill_n(h, units, 0.0f);
      continue;
    }
    for (int64_t j = 0; j < units; ++j) {
      const float candidate = math::tanh(zh[j] + u[j]);
      zh[j] = candidate;
      h[j] = gru_state(zz[j], candidate, before[j]);
    }
  }
}

LEPTON_SIMD_ROWS void gru_candidate_backward(const RecurrentStep& s, float* state_gradient) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float* const row = s.gates + r * 3 * units;
    float* __restrict zz = row, * __restrict zh = row + 2 * units;
    const float* __restrict before = s.before + r * units;
    float* __restrict dh = state_gradient + r * units;
    if (s.over(r)) {
      std::fill_n(row, 3 * units, 0.0f);
      std::fill_n(dh, units, 0.0f);
      continue;
    }
    for (int64_t j = 0; j < units; ++j) {
      const float z = zz[j], candidate = zh[j], d = dh[j];
      zz[j] = gru_update_gradient(z, candidate, before[j], d);
      zh[j] = gru_candidate_gradient(z, candidate, d);
      dh[j] = d * z;
    }
  }
}

LEPTON_SIMD_ROWS void gru_gates_backward(const RecurrentStep& s, const float* reset_gradient,
                                         float* state_gradient) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float* __restrict zr = s.gates + r * 3 * units + units;  // 0 where the sample is over, and so all here
    const float* __restrict before = s.before + r * units, * __restrict dreset = reset_gradient + r * units;
    float* __restrict dh = state_gradient + r * units;
    for (int64_t j = 0; j < units; ++j) {
      const float reset = zr[j];
      zr[j] = dreset[j] * before[j] * sigmoid_slope(reset);
      dh[j] += dreset[j] * reset;
    }
  }
}

}  // namespace lepton::ops

#undef LEPTON_SIMD_ROWS
