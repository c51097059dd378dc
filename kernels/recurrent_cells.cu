// SPDX-License-Identifier: Apache-2.0
// See the header. Elementwise: the bits are the host's.
#include "kernels/recurrent_cells.h"

#include "ops/recurrent_math.h"

namespace lepton::cuda {

namespace {

using Step = RecurrentCellStep;

/// What a thread owns: `at` of [rows, units].
struct CellPlace {
  int64_t at, row, unit;
};
__device__ CellPlace place_of_thread(const Step& s) {
  const int64_t at = int64_t{blockIdx.x} * threads + threadIdx.x;
  return {at, at / s.units, at % s.units};
}

__device__ int64_t length_of(const Step& s, int64_t row) {
  return s.lengths ? ops::sequence_length(s.lengths[row], s.steps) : s.steps;
}
__device__ bool over(const Step& s, int64_t row) {
  return s.t >= length_of(s, row);
}
/// Is this the step whose state Y_h gives?
__device__ bool gives_last(const Step& s, int64_t row) {
  return s.t == (s.backwards ? 0 : length_of(s, row) - 1);
}
__device__ int64_t output_at(const Step& s, const CellPlace& p) {
  const int64_t row = s.sequence ? p.row * s.steps + s.t : p.row;
  return row * s.output_width + s.output_begin + p.unit;
}

/// Gate k of the thread's unit.
__device__ float& gate(const Step& s, const CellPlace& p, int64_t gates, int64_t k) {
  return s.gates[(p.row * gates + k) * s.units + p.unit];
}
__device__ float sum(const Step& s, const CellPlace& p, int64_t gates, int64_t k) {
  return s.sums ? s.sums[(p.row * gates + k) * s.units + p.unit] : 0.0f;
}

/// The state behind the step goes to where it is read.
__device__ void put_state(const Step& s, const CellPlace& p, float h) {
  s.now[p.at] = h;
  if (s.next) s.next[p.at] = h;
  if (s.sequence)
    s.output[output_at(s, p)] = h;
  else if (gives_last(s, p.row))
    s.output[output_at(s, p)] = h;
  else if (s.first)
    s.output[output_at(s, p)] = 0.0f;  // of a sample of no steps it stays
}

/// The gradient of the state behind the step, from all who read it.
__device__ float state_gradient(const Step& s, const CellPlace& p) {
  float dh = s.dstate[p.at];
  if (s.carried) dh += s.carried[p.at];
  if (s.sequence || gives_last(s, p.row)) dh += s.output_gradient[output_at(s, p)];
  return dh;
}

template <bool relu>
__global__ void __launch_bounds__(threads) rnn_forward_kernel(Step s) {
  const CellPlace p = place_of_thread(s);
  if (p.row >= s.rows) return;
  float& z = gate(s, p, 1, 0);
  const float h = over(s, p.row) ? 0.0f : ops::rnn_element<relu>(z + sum(s, p, 1, 0));
  z = h;  // all that backward needs
  put_state(s, p, h);
}

template <bool relu>
__global__ void __launch_bounds__(threads) rnn_backward_kernel(Step s) {
  const CellPlace p = place_of_thread(s);
  if (p.row >= s.rows) return;
  float& z = gate(s, p, 1, 0);
  const float dz = over(s, p.row) ? 0.0f : ops::rnn_gradient_element<relu>(z, state_gradient(s, p));
  z = dz;
  s.dsums[p.at] = dz;
  s.dstate[p.at] = 0.0f;
}

__global__ void __launch_bounds__(threads) lstm_forward_kernel(Step s) {
  const CellPlace p = place_of_thread(s);
  if (p.row >= s.rows) return;
  float h = 0, cell = 0;
  if (!over(s, p.row)) {
    const ops::LstmGates g =
        ops::lstm_gates({gate(s, p, 4, 0) + sum(s, p, 4, 0), gate(s, p, 4, 1) + sum(s, p, 4, 1),
                         gate(s, p, 4, 2) + sum(s, p, 4, 2), gate(s, p, 4, 3) + sum(s, p, 4, 3)});
    cell = ops::lstm_cell(g, s.cell_before[p.at]);
    h = ops::lstm_state(g, cell);
    gate(s, p, 4, 0) = g.i;
    gate(s, p, 4, 1) = g.o;
    gate(s, p, 4, 2) = g.f;
    gate(s, p, 4, 3) = g.c;
  }
  s.cell[p.at] = cell;
  put_state(s, p, h);
}

__global__ void __launch_bounds__(threads) lstm_backward_kernel(Step s) {
  const CellPlace p = place_of_thread(s);
  if (p.row >= s.rows) return;
  ops::LstmGradients d = {};
  if (!over(s, p.row))
    d = ops::lstm_gradient_element({gate(s, p, 4, 0), gate(s, p, 4, 1), gate(s, p, 4, 2), gate(s, p, 4, 3)},
                                   s.cell[p.at], s.cell_before[p.at], state_gradient(s, p), s.dcell[p.at]);
  const float dz[4] = {d.z.i, d.z.o, d.z.f, d.z.c};
  for (int k = 0; k < 4; ++k) {
    gate(s, p, 4, k) = dz[k];
    s.dsums[(p.row * 4 + k) * s.units + p.unit] = dz[k];
  }
  s.dcell[p.at] = d.cell_before;
  s.dstate[p.at] = 0.0f;
}

__global__ void __launch_bounds__(threads) gru_forward_kernel(Step s) {
  const CellPlace p = place_of_thread(s);
  if (p.row >= s.rows) return;
  float h = 0;
  if (!over(s, p.row)) {
    const float z = ops::math::sigmoid(gate(s, p, 3, 0) + sum(s, p, 3, 0)),
                reset = ops::math::sigmoid(gate(s, p, 3, 1) + sum(s, p, 3, 1));
    const float share = sum(s, p, 3, 2) + s.bias[p.unit];
    const float candidate = ops::math::tanh(gate(s, p, 3, 2) + reset * share);
    gate(s, p, 3, 0) = z;
    gate(s, p, 3, 1) = reset;
    gate(s, p, 3, 2) = candidate;
    s.kept[p.at] = share;
    h = ops::gru_state(z, candidate, s.before[p.at]);
  }
  put_state(s, p, h);
}

__global__ void __launch_bounds__(threads) gru_backward_kernel(Step s) {
  const CellPlace p = place_of_thread(s);
  if (p.row >= s.rows) return;
  float dz = 0, dr = 0, dc = 0, dshare = 0, direct = 0;
  if (!over(s, p.row)) {
    const float z = gate(s, p, 3, 0), reset = gate(s, p, 3, 1), candidate = gate(s, p, 3, 2),
                d = state_gradient(s, p);
    dz = ops::gru_update_gradient(z, candidate, s.before[p.at], d);
    dc = ops::gru_candidate_gradient(z, candidate, d);
    dr = ops::gru_reset_gradient(reset, s.kept[p.at], dc);
    dshare = dc * reset;
    direct = d * z;
  }
  gate(s, p, 3, 0) = dz;
  gate(s, p, 3, 1) = dr;
  gate(s, p, 3, 2) = dc;
  s.kept[p.at] = dshare;
  float* const dsums = s.dsums + p.row * 3 * s.units + p.unit;
  dsums[0] = dz;
  dsums[s.units] = dr;
  dsums[2 * s.units] = dshare;
  s.dstate[p.at] = direct;
}

__global__ void __launch_bounds__(threads) gru_gates_forward_kernel(Step s) {
  const CellPlace p = place_of_thread(s);
  if (p.row >= s.rows) return;
  const float reset = ops::math::sigmoid(gate(s, p, 3, 1) + sum(s, p, 2, 1));
  gate(s, p, 3, 0) = ops::math::sigmoid(gate(s, p, 3, 0) + sum(s, p, 2, 0));
  gate(s, p, 3, 1) = reset;
  s.kept[p.at] = s.reset_now[p.at] = reset * s.before[p.at];
}

__global__ void __launch_bounds__(threads) gru_candidate_forward_kernel(Step s) {
  const CellPlace p = place_of_thread(s);
  if (p.row >= s.rows) return;
  float h = 0;
  if (!over(s, p.row)) {
    const float candidate = ops::math::tanh(gate(s, p, 3, 2) + sum(s, p, 1, 0));
    gate(s, p, 3, 2) = candidate;
    h = ops::gru_state(gate(s, p, 3, 0), candidate, s.before[p.at]);
  }
  put_state(s, p, h);
}

__global__ void __launch_bounds__(threads) gru_candidate_backward_kernel(Step s) {
  const CellPlace p = place_of_thread(s);
  if (p.row >= s.rows) return;
  float dz = 0, dc = 0, direct = 0;
  if (over(s, p.row)) {
    gate(s, p, 3, 1) = 0.0f;  // and so is all that gru_gates_backward makes of it
  } else {
    const float z = gate(s, p, 3, 0), candidate = gate(s, p, 3, 2), d = state_gradient(s, p);
    dz = ops::gru_update_gradient(z, candidate, s.before[p.at], d);
    dc = ops::gru_candidate_gradient(z, candidate, d);
    direct = d * z;
  }
  gate(s, p, 3, 0) = dz;
  gate(s, p, 3, 2) = dc;
  s.dsums[p.row * 2 * s.units + p.unit] = dz;
  s.dcandidate[p.at] = s.dcandidate_now[p.at] = dc;
  s.dstate[p.at] = direct;
}

__global__ void __launch_bounds__(threads) gru_gates_backward_kernel(Step s, const float* dreset) {
  const CellPlace p = place_of_thread(s);
  if (p.row >= s.rows) return;
  const float reset = gate(s, p, 3, 1), d = dreset ? dreset[p.at] : 0.0f;
  const float dr = ops::gru_reset_gradient(reset, s.before[p.at], d);
  gate(s, p, 3, 1) = dr;
  s.dsums[(p.row * 2 + 1) * s.units + p.unit] = dr;
  s.dstate[p.at] += d * reset;
}

template <class Kernel, class... More>
void launch(const Context& context, Kernel kernel, const char* name, const Step& s, More... more) {
  kernel<<<blocks_for(s.rows * s.units, threads), threads, 0, context.stream>>>(s, more...);
  check_launch(name);
}

}  // namespace

void rnn_forward(const Context& context, const Step& s, bool relu) {
  launch(context, relu ? rnn_forward_kernel<true> : rnn_forward_kernel<false>, "rnn_forward", s);
}
void rnn_backward(const Context& context, const Step& s, bool relu) {
  launch(context, relu ? rnn_backward_kernel<true> : rnn_backward_kernel<false>, "rnn_backward", s);
}
void lstm_forward(const Context& context, const Step& s) {
  launch(context, lstm_forward_kernel, "lstm_forward", s);
}
void lstm_backward(const Context& context, const Step& s) {
  launch(context, lstm_backward_kernel, "lstm_backward", s);
}
void gru_forward(const Context& context, const Step& s) {
  launch(context, gru_forward_kernel, "gru_forward", s);
}
void gru_backward(const Context& context, const Step& s) {
  launch(context, gru_backward_kernel, "gru_backward", s);
}
void gru_gates_forward(const Context& context, const Step& s) {
  launch(context, gru_gates_forward_kernel, "gru_gates_forward", s);
}
void gru_candidate_forward(const Context& context, const Step& s) {
  launch(context, gru_candidate_forward_kernel, "gru_candidate_forward", s);
}
void gru_candidate_backward(const Context& context, const Step& s) {
  launch(context, gru_candidate_backward_kernel, "gru_candidate_backward", s);
}
void gru_gates_backward(const Context& context, const Step& s, const float* dreset) {
  launch(context, gru_gates_backward_kernel, "gru_gates_backward", s, dreset);
}

}  // namespace lepton::cuda
