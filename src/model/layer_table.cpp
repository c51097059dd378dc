// SPDX-License-Identifier: Apache-2.0
// The table of deck layer types (see layers.h), and the reference that `lepton keys` prints from it.
#include "model/layers.h"

namespace lepton::model {

namespace {

const OptionRow activation = {"activation", "activation", "none", "activation behind the layer"};
const OptionRow bias = {"bias", "true | false", "true", "add a bias per output"};
const OptionRow init = {
    "init", "name", "he_normal before relu-like activations, else glorot_uniform",
    "initial weights: he_normal, he_uniform, glorot_normal, glorot_uniform, normal or zeros"};
const OptionRow init_deviation = {"init_deviation", "number", "0.01",
                                  "standard deviation of init = \"normal\""};
const OptionRow l2 = {"l2", "number", "[model] l2", "adds l2 * weight to the mean gradient"};
// Of layers whose windows slide over one, two or three axes.
const char* const extents[] = {"", "n", "n | [h, w]", "n | [d, h, w]"};
const char* const paddings[] = {"", "\"valid\" | \"same\" | n", "\"valid\" | \"same\" | n | [h, w]",
                                "\"valid\" | \"same\" | n | [d, h, w]"};
OptionRow extent(size_t axes, const char* name, const char* standard, const char* sentence) {
  return {name, extents[axes], standard, sentence};
}
OptionRow padding(size_t axes) {
  return {"padding", paddings[axes], "\"valid\"",
          "none, output = input / stride rounded up, or so much on each side"};
}

std::vector<OptionRow> convolution_options(size_t axes) {
  return {{"filters", "integer", "", "number of output channels"},
          extent(axes, "kernel", "", "size of the filters"),
          extent(axes, "stride", "1", "step of the filters"),
          padding(axes),
          extent(axes, "dilation", "1", "distance of the filters' taps"),
          {"groups", "integer", "1", "groups of channels that are convolved by themselves"},
          activation,
          bias,
          init,
          init_deviation,
          l2};
}
std::vector<OptionRow> transposed_options(size_t axes) {
  std::vector<OptionRow> options = convolution_options(axes);
  options.insert(options.begin() + 4, extent(axes, "output_padding", "0", "more at the end of the output"));
  return options;
}
std::vector<OptionRow> pool_options(size_t axes) {
  return {extent(axes, "size", "2", "size of the window"),
          extent(axes, "stride", "size", "step of the window"), padding(axes)};
}

std::vector<LayerRow> weighted_rows() {
  return {
      {"dense",
       "Fully connected layer on a flat input, or on each row of a sequence.",
       {{"units", "integer", "", "number of outputs"}, activation, bias, init, init_deviation, l2},
       {},
       read_dense},
      {"conv1d", "Convolution over a sequence [length, features].", convolution_options(1), {}, read_conv},
      {"conv2d", "Convolution over [channels, height, width].", convolution_options(2), {}, read_conv},
      {"conv3d", "Convolution over [channels, depth, height, width].", convolution_options(3), {}, read_conv},
      {"conv1d_transpose",
       "The transpose of a conv1d: a longer sequence.",
       transposed_options(1),
       {},
       read_conv_transpose},
      {"conv2d_transpose",
       "The transpose of a conv2d: a larger image.",
       transposed_options(2),
       {},
       read_conv_transpose},
      {"conv3d_transpose",
       "The transpose of a conv3d: a larger volume.",
       transposed_options(3),
       {},
       read_conv_transpose},
  };
}

std::vector<LayerRow> pooling_rows() {
  return {
      {"max_pool1d", "Largest value in each window of a sequence.", pool_options(1), {}, read_max_pool},
      {"max_pool2d", "Largest value in each window.", pool_options(2), {}, read_max_pool},
      {"max_pool3d", "Largest value in each window of a volume.", pool_options(3), {}, read_max_pool},
      {"avg_pool1d",
       "Mean of each window of a sequence; padding does not count.",
       pool_options(1),
       {},
       read_avg_pool},
      {"avg_pool2d", "Mean of each window; padding does not count.", pool_options(2), {}, read_avg_pool},
      {"avg_pool3d",
       "Mean of each window of a volume; padding does not count.",
       pool_options(3),
       {},
       read_avg_pool},
      {"global_avg_pool1d",
       "Mean of each feature: [T, F] to [F]; up to its length with from = [\"x\", \"NAME.length\"].",
       {},
       {},
       read_global_avg_pool,
       one_or_with_lengths},
      {"global_avg_pool2d", "Mean of each channel: [C, H, W] to [C].", {}, {}, read_global_avg_pool},
      {"global_avg_pool3d", "Mean of each channel: [C, D, H, W] to [C].", {}, {}, read_global_avg_pool},
      {"global_max_pool1d",
       "Largest value of each feature: [T, F] to [F]; up to its length with from = [\"x\", \"NAME.length\"].",
       {},
       {},
       read_global_max_pool,
       one_or_with_lengths},
      {"global_max_pool2d", "Largest value of each channel: [C, H, W] to [C].", {}, {}, read_global_max_pool},
      {"global_max_pool3d",
       "Largest value of each channel: [C, D, H, W] to [C].",
       {},
       {},
       read_global_max_pool},
  };
}

std::vector<LayerRow> shaping_rows() {
  return {
      {"batch_norm",
       "Normalises each channel over the work unit; evaluation uses running statistics.",
       {{"momentum", "number", "0.9", "share of the old running statistics in the new ones"},
        {"epsilon", "number", "1e-5", "added to the variance"}},
       {},
       read_batch_norm},
      {"layer_norm",
       "Normalises each sample over all its values, each row of a sequence over its own.",
       {{"epsilon", "number", "1e-5", "added to the variance"}},
       {},
       read_layer_norm},
      {"rms_norm",
       "Divides each sample, or each row of a sequence, by its root mean square.",
       {{"epsilon", "number", "1e-5", "added to the mean square"}},
       {},
       read_rms_norm},
      {"dropout",
       "Drops values at random in training and scales the rest.",
       {{"rate", "number", "0.5", "probability of dropping a value"}},
       {},
       read_dropout},
      {"flatten", "[C, H, W] to [C * H * W].", {}, {}, read_flatten},
      {"reshape",
       "Gives the values of a sample another shape.",
       {{"shape", "[...]", "", "the new dimensions without the batch; one may be -1"}},
       {},
       read_reshape},
      {"add", "Sum of several outputs of one shape.", {activation}, {}, read_add, several_inputs},
      {"multiply",
       "Product of several outputs of one shape, element by element.",
       {activation},
       {},
       read_multiply,
       several_inputs},
      {"concat",
       "Several outputs side by side: along the channels of images and volumes, else the last dimension.",
       {{"axis", "integer", "1 of images and volumes, else the last", "from 1; negative ones from the end"}},
       {},
       read_concat,
       several_inputs},
      {"residual",
       "layers(x) + x, or layers(x) + projection(x) where the shapes differ.",
       {activation},
       {"layers", "projection"},
       read_residual},
  };
}

const OptionRow heads = {"heads", "integer", "", "of queries"};
const OptionRow key_heads = {"key_heads", "integer", "heads",
                             "of keys and values; each serves heads / key_heads"};
const OptionRow causal = {"causal", "true | false", "false",
                          "each token sees itself and those before it only"};

std::vector<LayerRow> sequence_rows() {
  const OptionRow deviation = {"init_deviation", "number", "0.02",
                               "standard deviation of the initial weights"};
  return {
      {"embedding",
       "A row of a table for each number: [T] to [T, width].",
       {{"rows", "integer", "", "of the table: numbers are from 0 to rows - 1"},
        {"width", "integer", "", "of a row"},
        deviation},
       {},
       read_embedding},
      {"positional_embedding",
       "Adds a learned row to each position of a sequence.",
       {deviation},
       {},
       read_positional_embedding},
      {"attention",
       "Each token gathers from the others what its heads look for; up to the length with from = [\"x\", "
       "\"NAME.length\"], from another sequence with [\"queries\", \"memory\"] or with its length behind; "
       "an input [T] in place of a length is a mask: tokens where it is 0 are not looked at.",
       {heads, key_heads, causal, bias, init, init_deviation, l2},
       {},
       read_attention,
       {1, 3}},
      {"transformer_block",
       "x + attention(norm(x)), then that + dense(activation(dense(norm(that)))); attention up to the length "
       "with from = [\"x\", \"NAME.length\"], or by a mask.",
       {heads,
        key_heads,
        causal,
        {"units", "integer", "4 * width", "between the two dense layers"},
        {"activation", "activation", "gelu", "between the two dense layers"},
        {"norm", "\"layer_norm\" | \"rms_norm\"", "layer_norm",
         "before attention and before the dense layers"},
        {"dropout", "number", "0", "probability of dropping a value of what is added to x"},
        bias,
        deviation,
        {"residual_deviation", "number", "init_deviation", "of the weights whose results are added to x"},
        l2},
       {},
       read_transformer_block,
       one_or_with_lengths},
  };
}

std::vector<LayerRow> graph_rows() {
  return {
      {"graph_conv",
       "Each node of a graph: a dense layer of itself and its neighbours; [nodes, features].",
       {{"units", "integer", "", "number of outputs of a node"},
        {"normalize", "\"symmetric\" | \"rows\" | \"none\"", "symmetric",
         "the adjacency by its degrees: D^-1/2 A D^-1/2, D^-1 A, or as it is"},
        {"self_loops", "true | false", "true", "a node is its own neighbour, too"},
        activation,
        bias,
        init,
        init_deviation,
        l2},
       {},
       read_graph_conv},
  };
}

std::vector<OptionRow> upsample_options(size_t axes) {
  return {
      extent(axes, "scale", "2", "how often each value is repeated, or how much finer the grid is"),
      {"mode", "\"nearest\" | \"linear\"", "\"nearest\"", "repeats values, or lies linearly between them"}};
}
std::vector<OptionRow> zero_pad_options(size_t axes) {
  return {extent(axes, "padding", "", "zeros on each side")};
}

std::vector<LayerRow> spatial_rows() {
  return {
      {"group_norm",
       "Normalises groups of channels of each sample, over all positions.",
       {{"groups", "integer", "32", "of channels, which they divide"},
        {"epsilon", "number", "1e-5", "added to the variance"}},
       {},
       read_group_norm},
      {"instance_norm",
       "Normalises each channel of each sample over its positions.",
       {{"epsilon", "number", "1e-5", "added to the variance"}},
       {},
       read_instance_norm},
      {"upsample1d", "A longer sequence.", upsample_options(1), {}, read_upsample},
      {"upsample2d", "A larger image.", upsample_options(2), {}, read_upsample},
      {"upsample3d", "A larger volume.", upsample_options(3), {}, read_upsample},
      {"zero_pad1d", "Zeros before and behind a sequence.", zero_pad_options(1), {}, read_zero_pad},
      {"zero_pad2d", "Zeros around an image.", zero_pad_options(2), {}, read_zero_pad},
      {"zero_pad3d", "Zeros around a volume.", zero_pad_options(3), {}, read_zero_pad},
      {"permute",
       "Dimensions of a sample in another order.",
       {{"order", "[...]", "", "the dimensions, counted from 1: [2, 1] swaps two"}},
       {},
       read_permute},
  };
}

std::vector<LayerRow> activation_rows() {
  return {
      {"relu", "max(x, 0).", {}, {}, read_activation_layer},
      {"leaky_relu",
       "x for x > 0, else alpha * x.",
       {{"alpha", "number", "0.01", "slope below 0"}},
       {},
       read_activation_layer},
      {"prelu",
       "x for x > 0, else a slope that is learned for each channel * x.",
       {{"initial", "number", "0.25", "the slopes in the beginning"}},
       {},
       read_prelu},
      {"elu",
       "x for x > 0, else alpha * (exp(x) - 1).",
       {{"alpha", "number", "1", "minus the limit below 0"}},
       {},
       read_activation_layer},
      {"gelu", "x times the normal distribution function of x.", {}, {}, read_activation_layer},
      {"gelu_tanh",
       "gelu, approximated by tanh: the one that GPUs fuse into dense layers.",
       {},
       {},
       read_activation_layer},
      {"selu", "elu that keeps means at 0 and variances at 1.", {}, {}, read_activation_layer},
      {"silu", "x * sigmoid(x).", {}, {}, read_activation_layer},
      {"swish",
       "x * sigmoid(alpha * x).",
       {{"alpha", "number", "1", "how sharp the bend is"}},
       {},
       read_activation_layer},
      {"mish", "x * tanh(log(1 + exp(x))).", {}, {}, read_activation_layer},
      {"softplus", "log(1 + exp(x)).", {}, {}, read_activation_layer},
      {"sigmoid", "1 / (1 + exp(-x)).", {}, {}, read_activation_layer},
      {"hard_sigmoid",
       "alpha * x + 0.5, cut at 0 and 1.",
       {{"alpha", "number", "0.2", "slope at 0"}},
       {},
       read_activation_layer},
      {"tanh", "Hyperbolic tangent.", {}, {}, read_activation_layer},
      {"softmax", "exp(x) over the sum of exp(x) of the sample.", {}, {}, read_activation_layer},
      {"log_softmax", "Logarithms of softmax.", {}, {}, read_activation_layer},
  };
}

}  // namespace

const std::vector<LayerRow>& layer_table() {
  static const std::vector<LayerRow> table = [] {
    std::vector<LayerRow> rows;
    for (const auto& part : {weighted_rows(), pooling_rows(), sequence_rows(), recurrent_layer_rows(),
                             graph_rows(), shaping_rows(), spatial_rows(), activation_rows()})
      rows.insert(rows.end(), part.begin(), part.end());
    return rows;
  }();
  return table;
}

std::string layer_reference() {
  std::string text =
      "Every layer takes:\n"
      "    name = text (default the type and its running number): prefix of the parameters' names\n"
      "    from = text or list of texts (default the layer before): names of the earlier layers of its list, "
      "or "
      "\"input\", whose outputs it reads\n"
      "    weights_of = text: name of an earlier layer whose parameters it uses, as far as that has "
      "parameters "
      "of these names; the others are its own\n"
      "    frozen = true | false (default false): its parameters, and those of layers in it, keep their "
      "values; batch_norm then normalises by its running statistics\n";
  for (const LayerRow& row : layer_table()) {
    text += std::string(row.type) + ": " + row.summary + "\n";
    for (const OptionRow& option : row.options) {
      text += "    " + std::string(option.name) + " = " + option.values;
      text += *option.standard == 0 ? " (required)" : " (default " + std::string(option.standard) + ")";
      text += ": " + std::string(option.sentence) + "\n";
    }
    for (const char* list : row.nested) text += "    " + std::string(list) + " = [...]: a list of layers\n";
  }
  return text;
}

}  // namespace lepton::model
