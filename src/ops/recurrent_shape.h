// SPDX-License-Identifier: Apache-2.0
// What an RNN, LSTM or GRU op is, read off its specification, once for host and CUDA. ONNX's operators with
// their layouts of parameters: W [D, G H, I], R [D, G H, H] and, where there is one, B [D, 2 G H] (of W, then
// of R), for D directions, I inputs and H units; gates in ONNX order (LSTM i o f c, GRU z r h). A sample's
// sequence is [T, I]; behind it may come its length, one number in float32: a step at or behind it gives 0
// and leaves the state as it is, and the reverse direction begins before it. ONNX has several outputs, an op
// of ours one, which the attribute `output` chooses. Called by recurrent.cpp, kernels/recurrent.cu and
// model/graph.
#pragma once

#include <cstdint>

#include "ops/op.h"
#include "ops/sequence_length.h"

namespace lepton::ops {

struct RecurrentShape {
  /// Throws Error(deck) with an empty `where`.
  explicit RecurrentShape(const OpSpec& spec);

  enum class Cell { rnn, lstm, gru };
  Cell cell = Cell::rnn;
  int64_t steps = 0, inputs = 0, units = 0;  ///< T, I and H
  int64_t directions = 1, gates = 1;         ///< D and G
  bool reverse = false;                      ///< the only direction there is
  bool bias = false, lengths = false;
  bool sequence = true;      ///< output Y, [T, D H]; else Y_h, [D H]: the last state of each direction
  bool relu = false;         ///< of an RNN; else tanh
  bool reset_after = false;  ///< of a GRU (linear_before_reset): h R^T is reset; else h

  int64_t width() const { return gates * units; }  ///< of all gates
  int64_t output_width() const { return directions * units; }
  bool backwards(int64_t direction) const { return reverse || direction == 1; }
};

}  // namespace lepton::ops
