// SPDX-License-Identifier: Apache-2.0
// What a recurrent cell does at one step of one direction to the rows of a unit, a row being a sample: the
// loops around recurrent_math.h. A row whose sample is over gets state (and cell) 0 forward, gradients 0
// backward; so a state never goes past a sample's end. Forward adds `sums`, what the state before gives, to
// what the input gives; backward leaves the gradients of the gates' sums where the gates were. Bits are the
// same for every vector width. Called by recurrent.
#pragma once

#include <cstdint>

namespace lepton::ops {

struct RecurrentStep {
  int64_t rows = 0, units = 0;
  const int64_t* lengths = nullptr;  ///< of the rows' samples; null: none is over before the last step
  int64_t step = 0;
  float* gates = nullptr;              ///< [rows, G units]
  const float* before = nullptr;       ///< the state, [rows, units]
  float* state = nullptr;              ///< and behind the step
  const float* cell_before = nullptr;  ///< of an LSTM
  float* cell = nullptr;
  /// Of a GRU, [rows, units]: with reset_after h R^T + B of the candidate, backward its gradient; else the
  /// state before that was reset.
  float* kept = nullptr;
  const float* bias = nullptr;  ///< that B, [units]; 0 where there is none

  bool over(int64_t row) const { return lengths && step >= lengths[row]; }
};

/// state_gradient becomes the sum of itself, `carried` (of what the step behind multiplied; may be null) and
/// `output` (may be null), whose rows begin `output_row` elements apart.
void add_state_gradients(int64_t rows, int64_t units, const float* carried, const float* output,
                         int64_t output_row, float* state_gradient);

// Backward ones take state_gradient, [rows, units], and leave there what goes to the state before without a
// product.
void rnn_forward(const RecurrentStep& step, bool relu, const float* sums);
void rnn_backward(const RecurrentStep& step, bool relu, float* state_gradient);

void lstm_forward(const RecurrentStep& step, const float* sums);
/// cell_gradient: of the cell behind the step; becomes that of the cell before.
void lstm_backward(const RecurrentStep& step, float* state_gradient, float* cell_gradient);

// A GRU with reset_after: sums [rows, 3 units], and their gradient.
void gru_forward(const RecurrentStep& step, const float* sums);
void gru_backward(const RecurrentStep& step, float* state_gradient, float* sums_gradient);

// A GRU without: first the gates, by sums [rows, 2 units], then the candidate, by sums [rows, units] of what
// was reset; backward in the other order, with the gradient of what was reset between.
void gru_gates_forward(const RecurrentStep& step, const float* sums);
void gru_candidate_forward(const RecurrentStep& step, const float* sums);
void gru_candidate_backward(const RecurrentStep& step, float* state_gradient);
void gru_gates_backward(const RecurrentStep& step, const float* reset_gradient, float* state_gradient);

}  // namespace lepton::ops
