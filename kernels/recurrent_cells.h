// SPDX-License-Identifier: Apache-2.0
// One step of a recurrent cell on CUDA, a thread for each unit of each row (sample): the twin of
// src/ops/recurrent_rows, with the output's rows and their gradients. Arrays lie step by step, as on the host
// (src/ops/recurrent.cpp); what a product reads or writes is a copy of its own that begins on 64 bytes.
// Called by kernels/recurrent.cu.
#pragma once

#include "kernels/context.h"
#include "ops/recurrent_shape.h"

namespace lepton::cuda {

struct RecurrentCellStep {
  int64_t rows = 0, units = 0, steps = 0, t = 0;
  const float* lengths = nullptr;  ///< of the rows' samples; may be null
  bool first = false;              ///< of this direction: there is no state before
  bool backwards = false, sequence = false;
  int64_t output_width = 0, output_begin = 0;  ///< of a row of the output, and this direction's part of it

  float* gates = nullptr;         ///< [rows, G units] of this step
  const float* before = nullptr;  ///< the state, [rows, units]
  float* next = nullptr;          ///< where the step behind this one has its `before`; null: there is none
  const float* cell_before = nullptr;
  float* cell = nullptr;
  float* kept = nullptr;        ///< of a GRU
  const float* bias = nullptr;  ///< of a GRU's candidate, with reset_after

  const float* sums = nullptr;  ///< what the state before gives; null at the first step
  float* now = nullptr;         ///< the state behind, for the product
  float* reset_now = nullptr;   ///< a GRU's state that was reset, for the product
  float* output = nullptr;

  const float* output_gradient = nullptr;
  const float* carried = nullptr;  ///< gradient of the state by the product of the step behind; may be null
  float *dstate = nullptr, *dcell = nullptr;
  float* dsums = nullptr;       ///< for the product with R
  float* dcandidate = nullptr;  ///< a GRU's without reset_after, [rows, units] of this step
  float* dcandidate_now = nullptr;
};

void rnn_forward(const Context&, const RecurrentCellStep&, bool relu);
void rnn_backward(const Context&, const RecurrentCellStep&, bool relu);
void lstm_forward(const Context&, const RecurrentCellStep&);
void lstm_backward(const Context&, const RecurrentCellStep&);
void gru_forward(const Context&, const RecurrentCellStep&);
void gru_backward(const Context&, const RecurrentCellStep&);
void gru_gates_forward(const Context&, const RecurrentCellStep&);
void gru_candidate_forward(const Context&, const RecurrentCellStep&);
void gru_candidate_backward(const Context&, const RecurrentCellStep&);
/// `dreset`: of what was reset, [rows, units]; null at the first step.
void gru_gates_backward(const Context&, const RecurrentCellStep&, const float* dreset);

}  // namespace lepton::cuda
