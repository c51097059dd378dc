// SPDX-License-Identifier: Apache-2.0
// Layers of sequences [T, F]: embeddings of numbers and positions, attention to the sequence itself or to
// another one, and the block of which transformers consist (Vaswani et al. 2017; with the norms before
// instead of behind, as Radford et al. 2019). A length for each sample, where one is given, ends its
// sequence: nobody attends to what lies behind; a mask, [T], hides tokens where it is 0. Names of parameters:
// of attention NAME.qkv (to another sequence NAME.queries, NAME.keys, NAME.values) and NAME.out; of a block
// NAME.norm_1, NAME.attention.qkv, NAME.attention.out, NAME.norm_2, NAME.dense_1, NAME.dense_2.
#include <algorithm>

#include "model/layers.h"

namespace lepton::model {

namespace {

using Kind = Initialiser::Kind;

constexpr double usual_deviation = 0.02;  // Radford et al. 2018

struct HeadOptions {
  int64_t heads, key_heads;
  bool causal;
};

HeadOptions read_heads(const LayerReader& reader) {
  const LayerOptions& options = reader.options;
  HeadOptions heads{};
  heads.heads = options.required_integer("heads", 1);
  heads.key_heads = options.integer("key_heads", heads.heads, 1);
  heads.causal = options.boolean("causal", false);
  if (heads.heads % heads.key_heads != 0)
    options.error("key_heads",
                  "key_heads = " + std::to_string(heads.key_heads) + " does not divide the " +
                      std::to_string(heads.heads) + " heads",
                  "");
  return heads;
}

/// [T, F], or an error that says what is there.
Shape sequence_shape(const LayerContext& context) {
  const Shape& input = context.shape();
  if (input.size() != 2)
    context.error("a " + context.layer.type +
                      " layer takes a sequence [length, features], but its input is " + shape_text(input),
                  "Put an embedding before it, or a reshape layer.");
  return input;
}

int64_t head_size(const LayerContext& context, int64_t width, int64_t heads) {
  if (width % heads != 0)
    context.options.error("heads",
                          "heads = " + std::to_string(heads) + " does not divide the width " +
                              std::to_string(width) + " of the sequence",
                          "");
  return width / heads;
}

/// What says which tokens of the sequence before it among the layer's inputs count: lengths, or a mask.
/// -1: none.
int bound_of(const LayerContext& context, size_t place) {
  if (context.inputs.size() <= place) return -1;
  const int bound = context.inputs[place];
  const GraphBuilder& builder = context.builder;
  const Shape& shape = builder.shape(bound);
  if (shape == Shape{1}) return lengths_of(context, place);
  const Shape mask = {builder.shape(context.inputs[place - 1]).front()};
  // Nothing is learned of a mask.
  const bool given = std::ranges::count(builder.inputs(), bound) == 1;
  if (!given || shape != mask)
    context.options.error("from",
                          std::string("the ") + (place == 1 ? "second" : "third") + " input of a " +
                              context.layer.type + " layer is a length for each sample, [1], or a mask, " +
                              shape_text(mask) + ", not " + (given ? "" : "what a layer gives, ") +
                              shape_text(shape),
                          "Inputs with lengths of their own have one: NAME.length.");
  return bound;
}

/// The Attention node of its operands, behind which lengths or a mask come where there are some (bound_of),
/// and a dense layer of its results.
int add_attention_node(const LayerContext& context, const std::string& name, std::vector<int> operands,
                       int bound, int64_t width, const HeadOptions& heads, const WeightOptions& outer) {
  if (bound >= 0) operands.push_back(bound);
  const int gathered = context.builder.add_node(
      "Attention", name,
      {{"q_num_heads", heads.heads}, {"kv_num_heads", heads.key_heads}, {"is_causal", int64_t{heads.causal}}},
      std::move(operands), {}, context.layer.position);
  return add_dense(context, name + ".out", gathered, width, outer);
}

/// Queries, keys and values of one sequence by one dense layer.
int add_attention(const LayerContext& context, const std::string& name, int value, int bound,
                  const HeadOptions& heads, const WeightOptions& inner, const WeightOptions& outer) {
  const int64_t width = context.builder.shape(value).back();
  const int64_t size = head_size(context, width, heads.heads);
  const int qkv = add_dense(context, name + ".qkv", value, (heads.heads + 2 * heads.key_heads) * size, inner);
  return add_attention_node(context, name, {qkv}, bound, width, heads, outer);
}

/// Queries of one sequence, keys and values of another one, which may be of another width and length.
int add_cross_attention(const LayerContext& context, int memory, int bound, const HeadOptions& heads,
                        const WeightOptions& weights) {
  if (heads.causal)
    context.options.error("causal", "causal = true has no meaning where a sequence attends to another one",
                          "Leave it out.");
  const std::string& name = context.name;
  const int64_t width = sequence_shape(context).back();
  const int64_t size = head_size(context, width, heads.heads), key_width = heads.key_heads * size;
  const int queries = add_dense(context, name + ".queries", context.input, heads.heads * size, weights);
  const int keys = add_dense(context, name + ".keys", memory, key_width, weights);
  const int values = add_dense(context, name + ".values", memory, key_width, weights);
  return add_attention_node(context, name, {queries, keys, values}, bound, width, heads, weights);
}

/// from = ["x"], ["x", "x.length"], ["queries", "memory"] or ["queries", "memory", "memory.length"]; a mask
/// wherever a length may stand.
int build_attention(const LayerContext& context, const HeadOptions& heads, const WeightOptions& weights) {
  sequence_shape(context);
  const size_t count = context.inputs.size();
  const bool crosses = count > 2 || (count == 2 && context.builder.shape(context.inputs[1]).size() > 1);
  if (!crosses)
    return add_attention(context, context.name, context.input, bound_of(context, 1), heads, weights, weights);
  const Shape& memory = context.builder.shape(context.inputs[1]);
  if (memory.size() != 2)
    context.options.error("from",
                          "the second input of an attention layer" +
                              std::string(count > 2 ? " of three" : "") +
                              " is a sequence [length, features] that the first one attends to" +
                              (count > 2 ? "" : ", a length for each sample, [1], or a mask, [length]") +
                              ", not " + shape_text(memory),
                          "");
  return add_cross_attention(context, context.inputs[1], bound_of(context, 2), heads, weights);
}

struct BlockOptions {
  HeadOptions heads;
  int64_t units;  ///< 0: four times the width
  std::string activation;
  bool centred;
  double dropout;
  WeightOptions inner, outer;
};

/// x + what the branch from x gives, dropped at random in training.
int add_branch(const LayerContext& context, const std::string& name, int x, int branch, double dropout) {
  if (dropout > 0)
    branch = context.builder.add_node("Dropout", name + ".dropout", {{"ratio", dropout}}, {branch}, {},
                                      context.layer.position);
  return context.builder.add_node("Add", name + ".add", {}, {branch, x}, {}, context.layer.position);
}

int build_block(const LayerContext& context, const BlockOptions& options) {
  constexpr double epsilon = 1e-5;
  const int64_t width = sequence_shape(context).back();
  const std::string& name = context.name;
  const int first = add_layer_norm(context, name + ".norm_1", context.input, options.centred, epsilon);
  const int gathered = add_attention(context, name + ".attention", first, bound_of(context, 1), options.heads,
                                     options.inner, options.outer);
  const int middle = add_branch(context, name + ".attention", context.input, gathered, options.dropout);
  const int second = add_layer_norm(context, name + ".norm_2", middle, options.centred, epsilon);
  WeightOptions wide = options.inner;
  wide.activation = options.activation;
  const int64_t units = options.units > 0 ? options.units : 4 * width;
  const int hidden = add_dense(context, name + ".dense_1", second, units, wide);
  const int result = add_dense(context, name + ".dense_2", hidden, width, options.outer);
  return add_branch(context, name, middle, result, options.dropout);
}

Initialiser normal(double deviation) {
  return {.kind = Kind::normal, .deviation = deviation};
}

}  // namespace

int lengths_of(const LayerContext& context, size_t place) {
  if (context.inputs.size() <= place) return -1;
  const int lengths = context.inputs[place];
  // Nothing is learned of a length.
  const bool given = std::ranges::count(context.builder.inputs(), lengths) == 1;
  if (!given || context.builder.shape(lengths) != Shape{1})
    context.options.error("from",
                          std::string("the ") + (place == 1 ? "second" : "third") + " input of a " +
                              context.layer.type + " layer is a length for each sample, [1], not " +
                              (given ? "" : "what a layer gives, ") +
                              shape_text(context.builder.shape(lengths)),
                          "Inputs with lengths of their own have one: NAME.length.");
  // A stride or a padded window makes another sequence, of other lengths.
  const Shape& sequence = context.builder.shape(context.inputs[place - 1]);
  const int64_t longest = context.builder.longest_length(lengths);
  if (longest > 0 && std::ranges::find(sequence, longest) == sequence.end())
    context.options.error("from",
                          "the lengths are of sequences of " + std::to_string(longest) + " steps, but the " +
                              context.layer.type + " layer reads one of shape " + shape_text(sequence),
                          "Put the layer before what shortens the sequence.");
  return lengths;
}

/// Bengio et al. 2003: a learned row for each number, a token of a vocabulary say. Rows decay as weights do.
BuildStep read_embedding(const LayerReader& reader) {
  const int64_t rows = reader.options.required_integer("rows", 1);
  const int64_t width = reader.options.required_integer("width", 1);
  const double deviation = reader.options.positive_number("init_deviation", usual_deviation);
  return [=](const LayerContext& context) {
    const Shape table = {rows, width};
    if (too_large(table))
      context.error("its table " + shape_text(table) + " is too large for any machine", "");
    const int weight =
        context.builder.add_parameter(context.name + ".weight", table, normal(deviation), true);
    return context.builder.add_node("Gather", context.name, {{"axis", int64_t{0}}}, {context.input}, {weight},
                                    context.layer.position);
  };
}

/// Gehring et al. 2017: learned, as many as the sequence is long.
BuildStep read_positional_embedding(const LayerReader& reader) {
  const double deviation = reader.options.positive_number("init_deviation", usual_deviation);
  return [deviation](const LayerContext& context) {
    const int weight = context.builder.add_parameter(context.name + ".weight", sequence_shape(context),
                                                     normal(deviation), true);
    return context.builder.add_node("Add", context.name, {}, {context.input}, {weight},
                                    context.layer.position);
  };
}

BuildStep read_attention(const LayerReader& reader) {
  const HeadOptions heads = read_heads(reader);
  const WeightOptions weights = read_weight_options(reader);
  return [heads, weights](const LayerContext& context) { return build_attention(context, heads, weights); };
}

BuildStep read_transformer_block(const LayerReader& reader) {
  const LayerOptions& options = reader.options;
  BlockOptions block{};
  block.heads = read_heads(reader);
  block.units = options.integer("units", 0, 1);
  block.activation = read_activation_option(options, "gelu");
  block.centred = options.choice("norm", "layer_norm", {"layer_norm", "rms_norm"}) == "layer_norm";
  block.dropout = options.number("dropout", 0, 0, 1);
  const double deviation = options.positive_number("init_deviation", usual_deviation);
  block.inner.bias = options.boolean("bias", true);
  if (options.has("l2")) block.inner.l2 = options.number("l2", 0, 0);
  block.outer = block.inner;
  block.inner.initialiser = normal(deviation);
  block.outer.initialiser = normal(options.positive_number("residual_deviation", deviation));
  return [block](const LayerContext& context) { return build_block(context, block); };
}

}  // namespace lepton::model
