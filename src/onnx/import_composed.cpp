// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "onnx/import_composed.h"

#include <limits>

#include "onnx/fold.h"
#include "onnx/import_shapes.h"
#include "ops/op.h"

namespace lepton::onnx {

/// NaN alone is not equal to itself.
void is_nan_rule(Importer& importer, const ImportNode& node) {
  const Value value = importer.required_value(node, 0);
  const Value number = importer.append("Equal", node.name + ".number", {{}, {value, value}, {}});
  importer.give(node, 0, importer.append("Not", node.name, {{}, {number}, {}}));
}

/// Truth values are 0 and 1. (A number that is not less need not be greater or equal: NaN.)
void logic_rule(Importer& importer, const ImportNode& node) {
  const auto append = [&](const char* type, const std::string& ending) {
    const ImportNode like{node.proto, type, node.name, node.own};
    return importer.append(type, node.name + ending, importer.operands(like));
  };
  if (node.type == "And") return importer.give(node, 0, append("Mul", ""));
  if (node.type == "Or") return importer.give(node, 0, append("Max", ""));
  const Value strictly = append(node.type == "GreaterOrEqual" ? "Greater" : "Less", ".strictly");
  const Value equal = append("Equal", ".equal");
  importer.give(node, 0, importer.append("Max", node.name, {{}, {strictly, equal}, {}}));
}

/// Of TensorFlow's exporter: 1 + erf(-x).
void erfc_rule(Importer& importer, const ImportNode& node) {
  const Value turned =
      importer.append("Neg", node.name + ".turned", {{}, {importer.required_value(node, 0)}, {}});
  const Value erf = importer.append("Erf", node.name + ".erf", {{}, {turned}, {}});
  const int one =
      importer.add_parameter({node.proto, "Add", node.name}, 1, float_constant({1}, {1.0F}), {.shape = {1}});
  importer.give(node, 0, importer.append("Add", node.name, {{}, {erf}, {one}}));
}

/// x times HardSigmoid(x) with alpha 1 / 6.
void hard_swish_rule(Importer& importer, const ImportNode& node) {
  const Value value = importer.required_value(node, 0);
  const Value gate =
      importer.append("HardSigmoid", node.name + ".gate", {{{"alpha", 1.0 / 6}, {"beta", 0.5}}, {value}, {}});
  importer.give(node, 0, importer.append("Mul", node.name, {{}, {value, gate}, {}}));
}

/// Largest(-x), but for its sign.
void reduce_min_rule(Importer& importer, const ImportNode& node) {
  Operands operands = importer.operands(node);
  operands.values = {importer.append("Neg", node.name + ".turned", {{}, operands.values, {}})};
  const Value largest = reduced(importer, node, "ReduceMax", std::move(operands));
  importer.give(node, 0, importer.append("Neg", node.name + ".back", {{}, {largest}, {}}));
}

/// The root of a sum of squares. Of zeros the gradient is 0, as PyTorch has it: so small a sum is cut.
void reduce_l2_rule(Importer& importer, const ImportNode& node) {
  constexpr double least = std::numeric_limits<float>::min();
  Operands operands = importer.operands(node);
  const Value x = operands.values.front();
  operands.values = {importer.append("Mul", node.name + ".square", {{}, {x, x}, {}})};
  const Value sum = reduced(importer, node, "ReduceSum", std::move(operands));
  const Value cut = importer.append("Clip", node.name + ".cut", {{{"min", least}}, {sum}, {}});
  importer.give(node, 0, importer.append("Sqrt", node.name + ".root", {{}, {cut}, {}}));
}

/// Pair by pair; of two, one may be constant.
void sum_rule(Importer& importer, const ImportNode& node) {
  const int count = node.proto.input_size();
  const ImportNode add{node.proto, "Add", node.name, node.own};
  if (count == 2) return importer.give(node, 0, importer.append("Add", node.name, importer.operands(add)));
  Value sum = importer.required_value(node, 0);
  for (int i = 1; i < count; ++i)
    sum = importer.append("Add", node.name + "." + std::to_string(i),
                          {{}, {sum, importer.required_value(node, i)}, {}});
  importer.give(node, 0, sum);
}

/// [C, H, W] to [C / b^2, H b, W b]: blocks of channels become blocks of pixels, rows of a block (DCR) or its
/// channels (CRD, as PyTorch's PixelShuffle) first.
void depth_to_space_rule(Importer& importer, const ImportNode& node) {
  using List = std::vector<int64_t>;
  const Value& value = importer.required_value(node, 0);
  const Shape own = importer.shape(value);
  const int64_t block = node_int(node.proto, "blocksize", 0);
  const bool fits = value.plain() && own.size() == 3 && block > 0 && block <= own[0];
  require_import(fits && own[0] % (block * block) == 0,
                 "its blocks of " + std::to_string(block) + " do not fit " + shape_text(own));
  const AttributeProto* mode = find_attribute(node.proto, "mode");
  const bool columns_first = mode != nullptr && mode->s() == "CRD";
  const int64_t channels = own[0] / (block * block);
  const Shape parts = columns_first ? Shape{channels, block, block, own[1], own[2]}
                                    : Shape{block, block, channels, own[1], own[2]};
  const List perm = columns_first ? List{0, 1, 4, 2, 5, 3} : List{0, 3, 4, 1, 5, 2};
  const Value apart = importer.reshaped(node.name + ".blocks", value, parts);
  const Value turned = importer.append("Transpose", node.name + ".turned", {{{"perm", perm}}, {apart}, {}});
  importer.give(node, 0, importer.reshaped(node.name, turned, {channels, own[1] * block, own[2] * block}));
}

/// Along each axis a dimension in front of it that is expanded and joined with it.
void tile_rule(Importer& importer, const ImportNode& node) {
  Value value = importer.required_value(node, 0);
  const std::vector<int64_t> repeats = importer.required(node, 1).numbers();
  std::vector<Count> counts = dimensions(importer, value);
  require_import(repeats.size() == counts.size(), "it repeats other dimensions than its input has");
  for (size_t d = 0; d < repeats.size(); ++d) {
    if (repeats[d] == 1) continue;
    require_import(!counts[d].of_batch && repeats[d] > 1, "it repeats samples of the batch, or nothing");
    const std::string name = node.name + "." + std::to_string(d);
    const auto at = counts.begin() + static_cast<int64_t>(d);
    const Count whole{at->number * repeats[d]};
    std::vector<Count> apart = counts;
    apart.insert(apart.begin() + static_cast<int64_t>(d), Count{1});
    value = with_dimensions(importer, name + ".apart", value, apart);
    apart[d] = {repeats[d]};
    value = expanded(importer, name, value, apart);
    *at = whole;
    value = with_dimensions(importer, name + ".whole", value, counts);
  }
  importer.give(node, 0, value);
}

}  // namespace lepton::onnx
