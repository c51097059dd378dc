// SPDX-License-Identifier: Apache-2.0
// Reading an RNN, LSTM or GRU op's specification; see the header. Part of the CUDA module too.
#include "ops/recurrent_shape.h"

#include <algorithm>
#include <string>

#include "ops/operators.h"

namespace lepton::ops {

namespace {

using Cell = RecurrentShape::Cell;

Cell cell_of(const std::string& type) {
  return type == "LSTM" ? Cell::lstm : type == "GRU" ? Cell::gru : Cell::rnn;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// Whether it is a Relu's; all but the usual ones are refused.
bool read_activations(const OpSpec& spec, Cell cell, int64_t directions) {
  const std::vector<std::string> usual = cell == Cell::lstm
                                             ? std::vector<std::string>{"Sigmoid", "Tanh", "Tanh"}
                                         : cell == Cell::gru ? std::vector<std::string>{"Sigmoid", "Tanh"}
                                                             : std::vector<std::string>{"Tanh"};
  std::vector<std::string> wanted;
  for (int64_t d = 0; d < directions; ++d) wanted.insert(wanted.end(), usual.begin(), usual.end());
  const std::vector<std::string> names = texts_attribute(spec.attributes, "activations", wanted);
  if (names == wanted) return false;
  const std::vector<std::string> relu(static_cast<size_t>(directions), "Relu");
  require_shape(cell == Cell::rnn && names == relu,
                spec.type + " is computed with the activations " + joined(wanted) +
                    (cell == Cell::rnn ? " or " + joined(relu) : "") + " only, not " + joined(names));
  return true;
}

void check_parameters(const RecurrentShape& shape, const OpSpec& spec) {
  const auto expect = [&](size_t index, const char* name, const Shape& wanted) {
    require_shape(spec.parameters[index] == wanted, spec.type + " needs " + name + " " + shape_text(wanted) +
                                                        ", not " + shape_text(spec.parameters[index]));
  };
  expect(0, "W", {shape.directions, shape.width(), shape.inputs});
  expect(1, "R", {shape.directions, shape.width(), shape.units});
  if (shape.bias) expect(2, "B", {shape.directions, 2 * shape.width()});
}

}  // namespace

RecurrentShape::RecurrentShape(const OpSpec& spec) : cell(cell_of(spec.type)) {
  const std::string direction = string_attribute(spec.attributes, "direction", "forward");
  require_shape(direction == "forward" || direction == "reverse" || direction == "bidirectional",
                spec.type + " has no direction \"" + direction + "\"");
  reverse = direction == "reverse";
  directions = direction == "bidirectional" ? 2 : 1;
  gates = cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1;
  relu = read_activations(spec, cell, directions);
  reset_after = cell == Cell::gru && int_attribute(spec.attributes, "linear_before_reset", 0) != 0;
  require_shape(!spec.attributes.contains("clip"), spec.type + " is computed without clip only");
  require_shape(int_attribute(spec.attributes, "input_forget", 0) == 0,
                spec.type + " is computed with input_forget = 0 only");
  const std::string output = string_attribute(spec.attributes, "output", "Y");
  require_shape(output == "Y" || output == "Y_h", spec.type + " gives Y or Y_h, not \"" + output + "\"");
  sequence = output == "Y";

  const Shape& input = spec.inputs[0];
  require_shape(input.size() == 2, spec.type + " needs sequences [T, F], not " + shape_text(input));
  steps = input[0];
  inputs = input[1];
  lengths = spec.inputs.size() > 1;
  require_shape(!lengths || spec.inputs[1] == Shape{1},
                spec.type + " needs one length per sample, [1], not " + shape_text(spec.inputs.back()));
  require_shape(spec.parameters.size() == 2 || spec.parameters.size() == 3,
                spec.type + " needs W, R and perhaps B; peepholes (P) are not computed");
  require_shape(spec.parameters[1].size() == 3,
                spec.type + " needs R [directions, gates * hidden_size, hidden_size], not " +
                    shape_text(spec.parameters[1]));
  units = int_attribute(spec.attributes, "hidden_size", spec.parameters[1].back());
  bias = spec.parameters.size() > 2;
  check_parameters(*this, spec);
}

}  // namespace lepton::ops
