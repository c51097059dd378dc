// SPDX-License-Identifier: Apache-2.0
// One element of a recurrent cell, forward and backward, once for the host (recurrent_rows.cpp) and CUDA
// (kernels/recurrent.cu). Gates come as sums z of what input and state before give, and go on as they are
// behind their activation, from which backward makes the gradients of the sums. Hochreiter and Schmidhuber
// 1997 with the forget gate of Gers et al. 2000; Cho et al. 2014.
#pragma once

#include "base/philox.h"
#include "ops/math.h"

namespace lepton::ops {

LEPTON_HD_ELEMENT inline float sigmoid_slope(float s) {
  return s * (1.0f - s);
}
LEPTON_HD_ELEMENT inline float tanh_slope(float t) {
  return 1.0f - t * t;
}

template <bool relu>
LEPTON_HD_ELEMENT inline float rnn_element(float z) {
  return relu ? (z > 0.0f ? z : (z != z ? z : 0.0f)) : math::tanh(z);
}
/// dz from the state h and its gradient.
template <bool relu>
LEPTON_HD_ELEMENT inline float rnn_gradient_element(float h, float dh) {
  return relu ? (h > 0.0f ? dh : 0.0f) : dh * tanh_slope(h);
}

/// In ONNX order.
struct LstmGates {
  float i, o, f, c;
};
///   cell = f cell' + i c,  state = o tanh(cell)
LEPTON_HD_ELEMENT inline LstmGates lstm_gates(const LstmGates& z) {
  return {math::sigmoid(z.i), math::sigmoid(z.o), math::sigmoid(z.f), math::tanh(z.c)};
}
LEPTON_HD_ELEMENT inline float lstm_cell(const LstmGates& g, float cell_before) {
  return g.f * cell_before + g.i * g.c;
}
LEPTON_HD_ELEMENT inline float lstm_state(const LstmGates& g, float cell) {
  return g.o * math::tanh(cell);
}
struct LstmGradients {
  LstmGates z;
  float cell_before;
};
/// From the gradients of the state and, by the steps behind, of the cell.
LEPTON_HD_ELEMENT inline LstmGradients lstm_gradient_element(const LstmGates& g, float cell,
                                                             float cell_before, float dh, float dcell) {
  const float t = math::tanh(cell);
  const float dc = dcell + dh * g.o * tanh_slope(t);
  return {{dc * g.c * sigmoid_slope(g.i), dh * t * sigmoid_slope(g.o), dc * cell_before * sigmoid_slope(g.f),
           dc * g.i * tanh_slope(g.c)},
          dc * g.f};
}

///   state = (1 - z) h + z state',  with h the candidate
LEPTON_HD_ELEMENT inline float gru_state(float z, float h, float before) {
  return (1.0f - z) * h + z * before;
}
/// Of the update gate's sum.
LEPTON_HD_ELEMENT inline float gru_update_gradient(float z, float h, float before, float dh) {
  return dh * (before - h) * sigmoid_slope(z);
}
/// Of the reset gate's sum, from what it was multiplied with and the gradient of the product.
LEPTON_HD_ELEMENT inline float gru_reset_gradient(float r, float factor, float d) {
  return d * factor * sigmoid_slope(r);
}
/// Of the candidate's sum.
LEPTON_HD_ELEMENT inline float gru_candidate_gradient(float z, float h, float dh) {
  return dh * (1.0f - z) * tanh_slope(h);
}

}  // namespace lepton::ops
