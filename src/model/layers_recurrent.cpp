// SPDX-License-Identifier: Apache-2.0
// Recurrent layers over sequences [T, F]: rnn, lstm and gru, several on top of each other, in one direction
// or both (Schuster and Paliwal 1997). Each is one node (ops/recurrent) with ONNX's parameters
// NAME.weight [directions, gates * units, F], NAME.recurrent_weight [directions, gates * units, units] and
// NAME.bias [directions, 2 * gates * units]; with layers > 1 they are called NAME.layer_1, NAME.layer_2, ...
// Initial values: of weights Glorot and Bengio 2010, gate by gate; of recurrent weights an orthogonal matrix
// for each gate (Saxe et al. 2013); biases 0, those of forget gates 1 (Jozefowicz et al. 2015).

#include "model/layers.h"

namespace lepton::model {

std::vector<LayerRow> recurrent_layer_rows() {
  const OptionRow units = {"units", "integer", "", "width of the state, for each direction"};
  const std::vector<OptionRow> common = {
      {"layers", "integer", "1", "how many, each on the states of the one before"},
      {"bidirectional", "true | false", "false", "a second direction, from the end, beside the first"},
      {"output", "\"last\" | \"sequence\"", "last",
       "the last state of each direction, or the states of all steps"},
      {"dropout", "number", "0", "probability of dropping a value between the layers"},
      {"bias", "true | false", "true", "add biases"},
      {"init", "name", "glorot_uniform",
       "initial weights: he_normal, he_uniform, glorot_normal, glorot_uniform, normal or zeros"},
      {"init_deviation", "number", "0.01", "standard deviation of init = \"normal\""},
      {"recurrent_init", "name", "orthogonal",
       "initial weights of the state: orthogonal, glorot_normal or glorot_uniform"},
      {"l2", "number", "[model] l2", "adds l2 * weight to the mean gradient"}};
  const auto with = [&](const OptionRow& own) {
    std::vector<OptionRow> rows = {units, own};
    rows.insert(rows.end(), common.begin(), common.end());
    return rows;
  };
  return {{"rnn",
           "Simple recurrent layer over a sequence [length, features].",
           with({"activation", "\"tanh\" | \"relu\"", "tanh", "of the state"}),
           {},
           read_recurrent,
           one_or_with_lengths},
          {"lstm",
           "Long short-term memory over a sequence [length, features].",
           with({"forget_bias", "number", "1", "initial bias of the forget gate"}),
           {},
           read_recurrent,
           one_or_with_lengths},
          {"gru",
           "Gated recurrent units over a sequence [length, features].",
           with({"reset_after", "true | false", "true",
                 "reset what the state gives, as cuDNN does; false: the state"}),
           {},
           read_recurrent,
           one_or_with_lengths}};
}

namespace {

std::vector<int> add_recurrent_parameters(const LayerContext& context, const std::string& name,
                                          const RecurrentOptions& options, int64_t inputs) {
  const int64_t directions = options.bidirectional ? 2 : 1, width = options.gates * options.units;
  const Shape weight = {directions, width, inputs}, recurrent = {directions, width, options.units};
  for (const Shape& shape : {weight, recurrent})
    if (too_large(shape))
      context.error("its weights " + shape_text(shape) + " are too large for any machine", "");
  Initialiser first = options.weights.initialiser, second = options.recurrent, bias;
  first.fan_in = inputs;
  second.fan_in = first.fan_out = second.fan_out = options.units;
  const double l2 = options.weights.l2.value_or(context.model.l2);
  std::vector<int> parameters = {
      context.builder.add_parameter(name + ".weight", weight, first, true, l2),
      context.builder.add_parameter(name + ".recurrent_weight", recurrent, second, true, l2)};
  if (!options.weights.bias) return parameters;
  if (options.type == "LSTM")  // i, o, f and c of W, then of R
    bias = {.kind = Initialiser::Kind::columns,
            .value = options.forget_bias,
            .columns_begin = 2 * options.units,
            .columns_end = 3 * options.units};
  parameters.push_back(context.builder.add_parameter(name + ".bias", {directions, 2 * width}, bias));
  return parameters;
}

ops::Attributes recurrent_attributes(const RecurrentOptions& options, bool sequence) {
  ops::Attributes attributes = {
      {"hidden_size", options.units},
      {"direction", std::string(options.bidirectional ? "bidirectional" : "forward")},
      {"output", std::string(sequence ? "Y" : "Y_h")}};
  if (options.type == "GRU") attributes["linear_before_reset"] = int64_t{options.reset_after};
  if (options.relu)
    attributes["activations"] = std::vector<std::string>(options.bidirectional ? 2 : 1, "Relu");
  return attributes;
}

}  // namespace

int add_recurrent(const LayerContext& context, const RecurrentOptions& options, int value, int lengths) {
  for (int64_t layer = 1; layer <= options.layers; ++layer) {
    const std::string number = ".layer_" + std::to_string(layer);
    const std::string name = options.layers == 1 ? context.name : context.name + number;
    if (layer > 1 && options.dropout > 0)
      value = context.builder.add_node("Dropout", name + ".dropout", {{"ratio", options.dropout}}, {value},
                                       {}, context.layer.position);
    const bool sequence = options.sequence || layer < options.layers;
    std::vector<int> parameters =
        add_recurrent_parameters(context, name, options, context.builder.shape(value).back());
    std::vector<int> inputs = {value};
    if (lengths >= 0) inputs.push_back(lengths);
    value = context.builder.add_node(options.type, name, recurrent_attributes(options, sequence),
                                     std::move(inputs), std::move(parameters), context.layer.position);
  }
  return value;
}

RecurrentOptions read_recurrent_options(const LayerReader& reader) {
  const LayerOptions& from = reader.options;
  RecurrentOptions options;
  options.type = reader.layer.type == "lstm" ? "LSTM" : reader.layer.type == "gru" ? "GRU" : "RNN";
  options.gates = options.type == "LSTM" ? 4 : options.type == "GRU" ? 3 : 1;
  options.units = from.required_integer("units", 1);
  options.layers = from.integer("layers", 1, 1);
  options.bidirectional = from.boolean("bidirectional", false);
  options.sequence = from.choice("output", "last", {"last", "sequence"}) == "sequence";
  options.dropout = from.number("dropout", 0, 0, 1);
  if (from.has("dropout") && options.layers == 1)
    from.error("dropout", "dropout has no effect without layers = 2 or more: it acts between them",
               "Put { type = \"dropout\" } behind the layer.");
  options.relu = from.choice("activation", "tanh", {"relu", "tanh"}) == "relu";
  options.reset_after = from.boolean("reset_after", true);
  options.weights = read_weight_options(reader);
  if (!from.has("init")) options.weights.initialiser.kind = Initialiser::Kind::glorot_uniform;
  options.forget_bias = from.number("forget_bias", 1, -1000, 1000);
  if (from.has("forget_bias") && !options.weights.bias)
    from.error("forget_bias", "forget_bias has no effect with bias = false", "");
  const std::string init =
      from.choice("recurrent_init", "orthogonal", {"glorot_normal", "glorot_uniform", "orthogonal"});
  options.recurrent.kind = init == "orthogonal"       ? Initialiser::Kind::orthogonal
                           : init == "glorot_uniform" ? Initialiser::Kind::glorot_uniform
                                                      : Initialiser::Kind::glorot_normal;
  return options;
}

BuildStep read_recurrent(const LayerReader& reader) {
  return [options = read_recurrent_options(reader)](const LayerContext& context) {
    if (context.shape().size() != 2)
      context.error("a " + context.layer.type +
                        " layer takes a sequence [length, features], but its input is " +
                        shape_text(context.shape()),
                    "Put an embedding before it, or a reshape layer.");
    return add_recurrent(context, options, context.input, lengths_of(context));
  };
}

}  // namespace lepton::model
