// SPDX-License-Identifier: Apache-2.0
// See the header. A row is a function whose pointers are parameters, so that the compiler believes that what
// they point to does not overlap; flatten puts the functions of math.h into its loop, which would not be
// vectorised around calls.
#include "ops/recurrent_rows.h"

#include <algorithm>

#include "base/simd.h"
#include "ops/recurrent_math.h"

#define LEPTON_SIMD_ROW LEPTON_SIMD [[gnu::flatten]] static

namespace lepton::ops {

LEPTON_SIMD_ROW void add_row_to(int64_t count, const float* __restrict from, float* __restrict into) {
  for (int64_t i = 0; i < count; ++i) into[i] += from[i];
}

void add_state_gradients(int64_t rows, int64_t units, const float* carried, const float* output,
                         int64_t output_row, float* state_gradient) {
  if (carried) add_row_to(rows * units, carried, state_gradient);
  for (int64_t r = 0; output && r < rows; ++r)
    add_row_to(units, output + r * output_row, state_gradient + r * units);
}

LEPTON_SIMD_ROW void relu_row(int64_t units, const float* __restrict z, const float* __restrict u,
                              float* __restrict h) {
  for (int64_t j = 0; j < units; ++j) h[j] = rnn_element<true>(z[j] + u[j]);
}
LEPTON_SIMD_ROW void tanh_row(int64_t units, const float* __restrict z, const float* __restrict u,
                              float* __restrict h) {
  for (int64_t j = 0; j < units; ++j) h[j] = rnn_element<false>(z[j] + u[j]);
}

void rnn_forward(const RecurrentStep& s, bool relu, const float* sums) {
  for (int64_t r = 0; r < s.rows; ++r) {
    const int64_t at = r * s.units;
    if (s.over(r))
      std::fill_n(s.state + at, s.units, 0.0f);
    else
      (relu ? relu_row : tanh_row)(s.units, s.gates + at, sums + at, s.state + at);
  }
}

LEPTON_SIMD_ROW void relu_gradient_row(int64_t units, const float* __restrict h, const float* __restrict dh,
                                       float* __restrict dz) {
  for (int64_t j = 0; j < units; ++j) dz[j] = rnn_gradient_element<true>(h[j], dh[j]);
}
LEPTON_SIMD_ROW void tanh_gradient_row(int64_t units, const float* __restrict h, const float* __restrict dh,
                                       float* __restrict dz) {
  for (int64_t j = 0; j < units; ++j) dz[j] = rnn_gradient_element<false>(h[j], dh[j]);
}

void rnn_backward(const RecurrentStep& s, bool relu, float* state_gradient) {
  for (int64_t r = 0; r < s.rows; ++r) {
    const int64_t at = r * s.units;
    if (s.over(r))
      std::fill_n(s.gates + at, s.units, 0.0f);
    else
      (relu ? relu_gradient_row : tanh_gradient_row)(s.units, s.state + at, state_gradient + at,
                                                     s.gates + at);
  }
  std::fill_n(state_gradient, s.rows * s.units, 0.0f);
}

LEPTON_SIMD_ROW void lstm_row(int64_t units, const float* __restrict u, const float* __restrict before,
                              float* __restrict zi, float* __restrict zo, float* __restrict zf,
                              float* __restrict zc, float* __restrict cell, float* __restrict h) {
  for (int64_t j = 0; j < units; ++j) {
    const LstmGates g =
        lstm_gates({zi[j] + u[j], zo[j] + u[units + j], zf[j] + u[2 * units + j], zc[j] + u[3 * units + j]});
    const float c = lstm_cell(g, before[j]);
    zi[j] = g.i;
    zo[j] = g.o;
    zf[j] = g.f;
    zc[j] = g.c;
    cell[j] = c;
    h[j] = lstm_state(g, c);
  }
}

void lstm_forward(const RecurrentStep& s, const float* sums) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float *const row = s.gates + r * 4 * units, *const cell = s.cell + r * units,
                 *const h = s.state + r * units;
    if (s.over(r)) {
      std::fill_n(cell, units, 0.0f);
      std::fill_n(h, units, 0.0f);
    } else {
      lstm_row(units, sums + r * 4 * units, s.cell_before + r * units, row, row + units, row + 2 * units,
               row + 3 * units, cell, h);
    }
  }
}

LEPTON_SIMD_ROW void lstm_gradient_row(int64_t units, const float* __restrict cell,
                                       const float* __restrict before, const float* __restrict dh,
                                       float* __restrict zi, float* __restrict zo, float* __restrict zf,
                                       float* __restrict zc, float* __restrict dcell) {
  for (int64_t j = 0; j < units; ++j) {
    const LstmGradients d =
        lstm_gradient_element({zi[j], zo[j], zf[j], zc[j]}, cell[j], before[j], dh[j], dcell[j]);
    zi[j] = d.z.i;
    zo[j] = d.z.o;
    zf[j] = d.z.f;
    zc[j] = d.z.c;
    dcell[j] = d.cell_before;
  }
}

void lstm_backward(const RecurrentStep& s, float* state_gradient, float* cell_gradient) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float *const row = s.gates + r * 4 * units, *const dcell = cell_gradient + r * units;
    if (s.over(r)) {
      std::fill_n(row, 4 * units, 0.0f);
      std::fill_n(dcell, units, 0.0f);
    } else {
      lstm_gradient_row(units, s.cell + r * units, s.cell_before + r * units, state_gradient + r * units, row,
                        row + units, row + 2 * units, row + 3 * units, dcell);
    }
  }
  std::fill_n(state_gradient, s.rows * units, 0.0f);
}

LEPTON_SIMD_ROW void gru_row(int64_t units, const float* __restrict u, const float* __restrict bias,
                             const float* __restrict before, float* __restrict zz, float* __restrict zr,
                             float* __restrict zh, float* __restrict kept, float* __restrict h) {
  for (int64_t j = 0; j < units; ++j) {
    const float z = math::sigmoid(zz[j] + u[j]), reset = math::sigmoid(zr[j] + u[units + j]);
    const float share = u[2 * units + j] + bias[j], candidate = math::tanh(zh[j] + reset * share);
    zz[j] = z;
    zr[j] = reset;
    zh[j] = candidate;
    kept[j] = share;
    h[j] = gru_state(z, candidate, before[j]);
  }
}

void gru_forward(const RecurrentStep& s, const float* sums) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float *const row = s.gates + r * 3 * units, *const h = s.state + r * units;
    if (s.over(r))
      std::fill_n(h, units, 0.0f);
    else
      gru_row(units, sums + r * 3 * units, s.bias, s.before + r * units, row, row + units, row + 2 * units,
              s.kept + r * units, h);
  }
}

LEPTON_SIMD_ROW void gru_gradient_row(int64_t units, const float* __restrict before, float* __restrict zz,
                                      float* __restrict zr, float* __restrict zh, float* __restrict kept,
                                      float* __restrict du, float* __restrict dh) {
  for (int64_t j = 0; j < units; ++j) {
    const float z = zz[j], reset = zr[j], candidate = zh[j], d = dh[j];
    const float dz = gru_update_gradient(z, candidate, before[j], d);
    const float dc = gru_candidate_gradient(z, candidate, d);
    const float dr = gru_reset_gradient(reset, kept[j], dc);
    zz[j] = dz;
    zr[j] = dr;
    zh[j] = dc;
    kept[j] = dc * reset;
    du[j] = dz;
    du[units + j] = dr;
    du[2 * units + j] = dc * reset;
    dh[j] = d * z;
  }
}

void gru_backward(const RecurrentStep& s, float* state_gradient, float* sums_gradient) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float *const row = s.gates + r * 3 * units, *const du = sums_gradient + r * 3 * units;
    float *const kept = s.kept + r * units, *const dh = state_gradient + r * units;
    if (s.over(r)) {
      std::fill_n(row, 3 * units, 0.0f);
      std::fill_n(du, 3 * units, 0.0f);
      std::fill_n(kept, units, 0.0f);
      std::fill_n(dh, units, 0.0f);
    } else {
      gru_gradient_row(units, s.before + r * units, row, row + units, row + 2 * units, kept, du, dh);
    }
  }
}

LEPTON_SIMD_ROW void gru_gates_row(int64_t units, const float* __restrict u, const float* __restrict before,
                                   float* __restrict zz, float* __restrict zr, float* __restrict kept) {
  for (int64_t j = 0; j < units; ++j) {
    const float reset = math::sigmoid(zr[j] + u[units + j]);
    zz[j] = math::sigmoid(zz[j] + u[j]);
    zr[j] = reset;
    kept[j] = reset * before[j];
  }
}

void gru_gates_forward(const RecurrentStep& s, const float* sums) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float* const row = s.gates + r * 3 * units;
    gru_gates_row(units, sums + r * 2 * units, s.before + r * units, row, row + units, s.kept + r * units);
  }
}

LEPTON_SIMD_ROW void gru_candidate_row(int64_t units, const float* __restrict u,
                                       const float* __restrict before, const float* __restrict z,
                                       float* __restrict zh, float* __restrict h) {
  for (int64_t j = 0; j < units; ++j) {
    const float candidate = math::tanh(zh[j] + u[j]);
    zh[j] = candidate;
    h[j] = gru_state(z[j], candidate, before[j]);
  }
}

void gru_candidate_forward(const RecurrentStep& s, const float* sums) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float *const row = s.gates + r * 3 * units, *const h = s.state + r * units;
    if (s.over(r))
      std::fill_n(h, units, 0.0f);
    else
      gru_candidate_row(units, sums + r * units, s.before + r * units, row, row + 2 * units, h);
  }
}

LEPTON_SIMD_ROW void gru_candidate_gradient_row(int64_t units, const float* __restrict before,
                                                float* __restrict zz, float* __restrict zh,
                                                float* __restrict dh) {
  for (int64_t j = 0; j < units; ++j) {
    const float z = zz[j], candidate = zh[j], d = dh[j];
    zz[j] = gru_update_gradient(z, candidate, before[j], d);
    zh[j] = gru_candidate_gradient(z, candidate, d);
    dh[j] = d * z;
  }
}

void gru_candidate_backward(const RecurrentStep& s, float* state_gradient) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r) {
    float *const row = s.gates + r * 3 * units, *const dh = state_gradient + r * units;
    if (s.over(r)) {
      std::fill_n(row, 3 * units, 0.0f);
      std::fill_n(dh, units, 0.0f);
    } else {
      gru_candidate_gradient_row(units, s.before + r * units, row, row + 2 * units, dh);
    }
  }
}

LEPTON_SIMD_ROW void gru_gates_gradient_row(int64_t units, const float* __restrict before,
                                            const float* __restrict dreset, float* __restrict zr,
                                            float* __restrict dh) {
  for (int64_t j = 0; j < units; ++j) {
    const float reset = zr[j];
    zr[j] = gru_reset_gradient(reset, before[j], dreset[j]);
    dh[j] += dreset[j] * reset;
  }
}

// Where the sample is over, the row of gates is 0 since gru_candidate_backward, and so is what comes of it.
void gru_gates_backward(const RecurrentStep& s, const float* reset_gradient, float* state_gradient) {
  const int64_t units = s.units;
  for (int64_t r = 0; r < s.rows; ++r)
    gru_gates_gradient_row(units, s.before + r * units, reset_gradient + r * units,
                           s.gates + r * 3 * units + units, state_gradient + r * units);
}

}  // namespace lepton::ops

#undef LEPTON_SIMD_ROW
