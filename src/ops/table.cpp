// SPDX-License-Identifier: Apache-2.0
// The table of operators: one row each (see table.h). Rows are in the order in which the reference lists
// them. Called by model/graph (shapes) and model/executor (ops).
#include "ops/table.h"

#include "ops/activation.h"
#include "ops/operators.h"

namespace lepton::ops {

static bool fuses_none(const std::string& activation) {
  return activation.empty();
}
static bool fuses_relu(const std::string& activation) {
  return activation.empty() || activation == "Relu";
}

static bool fuses_all(const std::string& activation) {
  return is_epilogue(activation) || activation == "Gelu";
}

static constexpr int inputs_many = 64;

static const OperatorRow table[] = {
    {"Gemm", 1, 0, "Dense layer: x W^T + b, weights [out, in].", infer_matmul, lay_plain, make_matmul,
     fuses_all},
    {"Conv", 1, 0, "Convolution over one to three dimensions, strided, padded, dilated, grouped.", infer_conv,
     lay_channels_last, make_conv, is_epilogue},
    {"ConvTranspose", 1, 0, "The transpose of a convolution, for larger images from smaller ones.",
     infer_conv_transpose, lay_channels_last, make_conv_transpose, fuses_none},
    {"MaxPool", 1, 0, "Largest value in a sliding window.", infer_pool, lay_channels_last, make_max_pool,
     fuses_relu},
    {"AveragePool", 1, 0, "Mean of a sliding window, with or without its padding.", infer_pool,
     lay_channels_last, make_average_pool, fuses_none},
    {"GlobalAveragePool", 1, 0, "Mean of each channel over the image, or up to a sequence's length.",
     infer_global_pool, lay_channels_last, make_global_average_pool, fuses_none, 2},
    {"GlobalMaxPool", 1, 0, "Largest value of each channel over the image, or up to a sequence's length.",
     infer_global_pool, lay_channels_last, make_global_max_pool, fuses_none, 2},
    {"BatchNormalization", 1, 2,
     "Normalises channels by the unit's statistics, at inference by running ones.", infer_batch_norm,
     lay_channels_last, make_batch_norm, fuses_relu},
    {"LayerNormalization", 1, 0, "Normalises each sample over the dimensions from axis on.", infer_layer_norm,
     lay_layer_norm, make_layer_norm, fuses_none},
    {"RMSNormalization", 1, 0,
     "Divides each sample by its root mean square over the dimensions from axis on.", infer_layer_norm,
     lay_layer_norm, make_layer_norm, fuses_none},
    {"Dropout", 1, 0, "Zeroes elements at random in training and scales the others.", infer_dropout,
     lay_as_first, make_dropout, fuses_none},
    {"Flatten", 1, 0, "One vector per sample, in ONNX order (C, H, W).", infer_flatten, lay_reshape,
     make_reshape, fuses_none},
    {"Reshape", 1, 0, "Another shape for the same numbers in ONNX order.", infer_reshape, lay_reshape,
     make_reshape, fuses_none},
    {"Transpose", 1, 0, "Dimensions in another order.", infer_transpose, lay_transpose, make_transpose,
     fuses_none},
    {"Concat", 2, 0, "Inputs side by side along an axis.", infer_concat, lay_as_first, make_concat,
     fuses_none, inputs_many},
    {"Relu", 1, 0, "max(x, 0).", infer_activation, lay_as_first, make_activation, fuses_none},
    {"LeakyRelu", 1, 0, "x, or alpha x below 0.", infer_activation, lay_as_first, make_activation,
     fuses_none},
    {"PRelu", 1, 0, "x, or slope x below 0; the slope is learned.", infer_prelu, lay_by_parameter, make_prelu,
     fuses_none},
    {"Elu", 1, 0, "x, or alpha (e^x - 1) below 0.", infer_activation, lay_as_first, make_activation,
     fuses_none},
    {"Selu", 1, 0, "gamma x, or gamma alpha (e^x - 1) below 0.", infer_activation, lay_as_first,
     make_activation, fuses_none},
    {"Gelu", 1, 0, "x times the normal distribution function, exact or by tanh.", infer_activation,
     lay_as_first, make_activation, fuses_none},
    {"Sigmoid", 1, 0, "1 / (1 + e^-x).", infer_activation, lay_as_first, make_activation, fuses_none},
    {"HardSigmoid", 1, 0, "alpha x + beta, cut at 0 and 1.", infer_activation, lay_as_first, make_activation,
     fuses_none},
    {"Tanh", 1, 0, "Hyperbolic tangent.", infer_activation, lay_as_first, make_activation, fuses_none},
    {"Softplus", 1, 0, "ln(1 + e^x).", infer_activation, lay_as_first, make_activation, fuses_none},
    {"Swish", 1, 0, "x / (1 + e^(-alpha x)).", infer_activation, lay_as_first, make_activation, fuses_none},
    {"Mish", 1, 0, "x tanh(ln(1 + e^x)).", infer_activation, lay_as_first, make_activation, fuses_none},
    {"Softmax", 1, 0, "Shares that sum to 1, over features or channels.", infer_softmax, lay_softmax,
     make_softmax, fuses_none},
    {"Add", 1, 0, "a + b.", infer_elementwise, lay_broadcast, make_add, fuses_relu, 2},
    {"Sub", 1, 0, "a - b.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none, 2},
    {"Mul", 1, 0, "a b.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none, 2},
    {"Div", 1, 0, "a / b.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none, 2},
    {"Pow", 1, 0, "a to the power of b.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none, 2},
    {"Min", 1, 0, "The smaller one of a and b.", infer_elementwise, lay_broadcast, make_elementwise,
     fuses_none, 2},
    {"Max", 1, 0, "The larger one of a and b.", infer_elementwise, lay_broadcast, make_elementwise,
     fuses_none, 2},
    {"Equal", 1, 0, "1 where a = b, else 0.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none,
     2},
    {"Greater", 1, 0, "1 where a > b, else 0.", infer_elementwise, lay_broadcast, make_elementwise,
     fuses_none, 2},
    {"Less", 1, 0, "1 where a < b, else 0.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none,
     2},
    {"Where", 1, 0, "a where the condition is not 0, else b.", infer_elementwise, lay_broadcast,
     make_elementwise, fuses_none, 3},
    {"Neg", 1, 0, "-x.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"Abs", 1, 0, "|x|.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"Sqrt", 1, 0, "Square root.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"Exp", 1, 0, "e^x.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"Log", 1, 0, "Natural logarithm.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"Erf", 1, 0, "The error function.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"Reciprocal", 1, 0, "1 / x.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"Clip", 1, 0, "x, at least min and at most max.", infer_elementwise, lay_broadcast, make_elementwise,
     fuses_none},
    {"Sign", 1, 0, "-1, 0 or 1.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"Floor", 1, 0, "x rounded down.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"Ceil", 1, 0, "x rounded up.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"Not", 1, 0, "1 where x is 0, else 0.", infer_elementwise, lay_broadcast, make_elementwise, fuses_none},
    {"LogSoftmax", 1, 0, "Logarithms of Softmax.", infer_softmax, lay_softmax, make_softmax, fuses_none},
    {"GroupNormalization", 1, 0, "Normalises each sample's groups of channels.", infer_group_norm,
     lay_channels_last, make_group_norm, fuses_none},
    {"InstanceNormalization", 1, 0, "Normalises each sample's channels.", infer_group_norm, lay_channels_last,
     make_group_norm, fuses_none},
    {"Slice", 1, 0, "A part along each axis, in steps.", infer_remap, lay_as_first, make_remap, fuses_none},
    {"Pad", 1, 0, "More at the ends of axes: a constant, reflections or the edge.", infer_remap, lay_as_first,
     make_remap, fuses_none},
    {"Resize", 1, 0, "Larger or smaller by the nearest element or linearly between.", infer_remap,
     lay_as_first, make_remap, fuses_none},
    {"Squeeze", 1, 0, "Without dimensions of 1.", infer_squeeze, lay_reshape, make_reshape, fuses_none},
    {"Unsqueeze", 1, 0, "With more dimensions of 1.", infer_unsqueeze, lay_reshape, make_reshape, fuses_none},
    {"Expand", 1, 0, "Repeated along dimensions of 1.", infer_expand, lay_as_first, make_expand, fuses_none},
    {"ReduceSum", 1, 0, "Sum over axes.", infer_reduce, lay_reduce, make_reduce, fuses_none},
    {"ReduceMean", 1, 0, "Mean over axes.", infer_reduce, lay_reduce, make_reduce, fuses_none},
    {"ReduceMax", 1, 0, "Largest value over axes.", infer_reduce, lay_reduce, make_reduce, fuses_none},
    {"MatMul", 2, 0, "Products of the matrices of two inputs.", infer_product, lay_plain, make_product,
     fuses_none},
    {"Gather", 1, 0, "Rows of a table (an embedding) by their numbers.", infer_gather, lay_plain, make_gather,
     fuses_none},
    {"Attention", 1, 0,
     "Scaled dot-product attention of several heads, all or causal, up to lengths or by a mask.",
     infer_attention, lay_plain, make_attention, fuses_none, 4},
    {"SparseMatMul", 1, 0, "A constant sparse matrix times the rows of a sample: neighbours in a graph.",
     infer_sparse_product, lay_plain, make_sparse_product, fuses_none},
    {"RNN", 1, 0, "Simple recurrent layer over a sequence, one or two directions, lengths.", infer_recurrent,
     lay_plain, make_recurrent, fuses_none, 2},
    {"LSTM", 1, 0, "Long short-term memory over a sequence, one or two directions, lengths.", infer_recurrent,
     lay_plain, make_recurrent, fuses_none, 2},
    {"GRU", 1, 0, "Gated recurrent units over a sequence, one or two directions, lengths.", infer_recurrent,
     lay_plain, make_recurrent, fuses_none, 2},
    {"Identity", 1, 0, "The input.", infer_same, lay_identity, make_reshape, fuses_none},
};

const OperatorRow* find_operator(const std::string& type) {
  for (const OperatorRow& row : table)
    if (type == row.type) return &row;
  return nullptr;
}

std::vector<std::string> operator_names() {
  std::vector<std::string> names;
  for (const OperatorRow& row : table) names.emplace_back(row.type);
  return names;
}

std::unique_ptr<Op> make_op(const OpSpec& spec) {
  const OperatorRow* row = find_operator(spec.type);
  CHECK(row, "no operator " + spec.type);
  CHECK(spec.samples >= 1, spec.type + " for no samples");
  CHECK(row->takes(spec.inputs.size()) && spec.input_needs_gradient.size() == spec.inputs.size(),
        spec.type + " does not take " + std::to_string(spec.inputs.size()) + " inputs");
  const Shape inferred = row->infer(spec);
  CHECK(spec.output == inferred,
        spec.type + " gives " + shape_text(inferred) + ", not " + shape_text(spec.output));
  const Layouts layouts = row->lay(spec);
  CHECK(spec.layouts == layouts.inputs && spec.output_layout == layouts.output,
        spec.type + " does not take its inputs as they lie");
  CHECK(spec.precision != Precision::tf32, "no CPU multiplies in tf32");
  CHECK(row->fuses(spec.activation), spec.type + " cannot fuse " + spec.activation);
  return row->make(spec);
}

}  // namespace lepton::ops
