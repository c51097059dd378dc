// SPDX-License-Identifier: Apache-2.0
// RNN, LSTM and GRU as plain loops in double, straight from ONNX's formulas: sample by sample, state by
// state. Used by the tests of recurrent.
#pragma once

#include "ops/harness.h"
#include "ops/recurrent_shape.h"

namespace lepton::ops::testing {

/// One sample, one direction.
struct RecurrentReference {
  const RecurrentShape& s;
  const double *w, *r, *b;  ///< of the direction; b null where there is none

  double product(const double* matrix, int64_t row, int64_t columns, const double* x) const {
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) sum += matrix[row * columns + c] * x[c];
    return sum;
  }
  double of_input(int64_t row, const double* x) const {
    return product(w, row, s.inputs, x) + (b ? b[row] : 0);
  }
  double of_state(int64_t row, const double* h) const {
    return product(r, row, s.units, h) + (b ? b[s.gates * s.units + row] : 0);
  }
  static double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

  /// h and c become those behind the step.
  void step(const double* x, Numbers& h, Numbers& c) const {
    using Cell = RecurrentShape::Cell;
    const Numbers before = h;
    const int64_t units = s.units;
    const auto gate = [&](int64_t g, int64_t j) {
      return of_input(g * units + j, x) + of_state(g * units + j, before.data());
    };
    Numbers reset(before.size());
    if (s.cell == Cell::gru)
      for (int64_t j = 0; j < units; ++j) reset[static_cast<size_t>(j)] = sigmoid(gate(1, j));
    for (int64_t j = 0; j < units; ++j) {
      const auto at = static_cast<size_t>(j);
      if (s.cell == Cell::rnn) {
        h[at] = s.relu ? std::max(gate(0, j), 0.0) : std::tanh(gate(0, j));
      } else if (s.cell == Cell::lstm) {
        c[at] = sigmoid(gate(2, j)) * c[at] + sigmoid(gate(0, j)) * std::tanh(gate(3, j));
        h[at] = sigmoid(gate(1, j)) * std::tanh(c[at]);
      } else {
        const double z = sigmoid(gate(0, j));
        Numbers reset_state(before.size());
        for (size_t k = 0; k < before.size(); ++k) reset_state[k] = reset[k] * before[k];
        const double share = s.reset_after ? reset[at] * of_state(2 * units + j, before.data())
                                           : of_state(2 * units + j, reset_state.data());
        h[at] = (1 - z) * std::tanh(of_input(2 * units + j, x) + share) + z * before[at];
      }
    }
  }
};

inline Numbers recurrent_reference(const RecurrentShape& s, int64_t samples,
                                   const std::vector<Numbers>& inputs,
                                   const std::vector<Numbers>& parameters) {
  const int64_t all = s.gates * s.units, wide = s.directions * s.units;
  Numbers y(static_cast<size_t>(samples * wide * (s.sequence ? s.steps : 1)), 0.0);
  for (int64_t sample = 0; sample < samples; ++sample)
    for (int64_t d = 0; d < s.directions; ++d) {
      const RecurrentReference cell{s, parameters[0].data() + d * all * s.inputs,
                                    parameters[1].data() + d * all * s.units,
                                    s.bias ? parameters[2].data() + d * 2 * all : nullptr};
      double end = static_cast<double>(s.steps);
      if (s.lengths) end = std::min(std::max(inputs[1][static_cast<size_t>(sample)], 0.0), end);
      const auto length = static_cast<int64_t>(end);
      Numbers h(static_cast<size_t>(s.units), 0.0), c = h;
      for (int64_t k = 0; k < length; ++k) {
        const int64_t t = s.backwards(d) ? length - 1 - k : k;
        cell.step(inputs[0].data() + (sample * s.steps + t) * s.inputs, h, c);
        if (s.sequence)
          std::copy(h.begin(), h.end(), y.begin() + (sample * s.steps + t) * wide + d * s.units);
      }
      if (!s.sequence) std::copy(h.begin(), h.end(), y.begin() + sample * wide + d * s.units);
    }
  return y;
}

/// Of a whole unit, as check_op wants it.
inline Reference recurrent_reference(const OpSpec& spec) {
  return [s = RecurrentShape(spec), n = spec.samples](const std::vector<Numbers>& inputs,
                                                      const std::vector<Numbers>& parameters) {
    return recurrent_reference(s, n, inputs, parameters);
  };
}

struct RecurrentCase {
  const char* type = "LSTM";
  int64_t samples = 3, steps = 5, inputs = 4, units = 6;
  Attributes attributes = {};
  bool bias = true, lengths = false;
};

inline OpSpec recurrent(const RecurrentCase& c) {
  const std::string type = c.type;
  const int64_t gates = type == "LSTM" ? 4 : type == "GRU" ? 3 : 1;
  const int64_t directions =
      string_attribute(c.attributes, "direction", "forward") == "bidirectional" ? 2 : 1;
  OpSpec spec{.type = type,
              .attributes = c.attributes,
              .samples = c.samples,
              .training = true,
              .inputs = {{c.steps, c.inputs}},
              .parameters = {{directions, gates * c.units, c.inputs}, {directions, gates * c.units, c.units}},
              .input_needs_gradient = {true}};
  spec.attributes["hidden_size"] = c.units;
  if (c.bias) spec.parameters.push_back({directions, 2 * gates * c.units});
  if (c.lengths) {
    spec.inputs.push_back({1});
    spec.input_needs_gradient.push_back(false);
  }
  return spec;
}

/// Random ones, but for the lengths: 1, the whole, and what is between.
inline Operands recurrent_operands(const OpSpec& spec, uint32_t seed = 1) {
  Operands operands = random_operands(completed(spec), seed);
  if (spec.inputs.size() > 1)
    for (size_t i = 0; i < operands.inputs[1].size(); ++i) {
      const auto steps = spec.inputs[0][0];
      const int64_t length = i == 0 ? 1 : i == 1 ? steps : 1 + static_cast<int64_t>(i) % steps;
      operands.inputs[1][i] = static_cast<float>(length);
    }
  return operands;
}

inline std::vector<Attributes> recurrent_attributes(const std::string& type) {
  std::vector<Attributes> all;
  for (const char* direction : {"forward", "reverse", "bidirectional"})
    for (const char* output : {"Y", "Y_h"})
      for (int64_t variant = 0; variant < (type == "LSTM" ? 1 : 2); ++variant) {
        Attributes attributes = {{"direction", std::string(direction)}, {"output", std::string(output)}};
        if (type == "GRU") attributes["linear_before_reset"] = variant;
        const bool two = std::string(direction) == "bidirectional";
        if (type == "RNN" && variant == 1)
          attributes["activations"] = std::vector<std::string>(two ? 2 : 1, "Relu");
        all.push_back(attributes);
      }
  return all;
}

}  // namespace lepton::ops::testing
