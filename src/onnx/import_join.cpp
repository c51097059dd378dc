// SPDX-License-Identifier: Apache-2.0
// Concat, also of what does not depend on the sample: a learned token in front of a sequence is a value that
// is the same for all samples. See import_shapes.h.
#include "onnx/fold.h"
#include "onnx/import_shapes.h"

namespace lepton::onnx {

/// 0 for each sample, out of the network's input, and the constant added to it.
Value Importer::spread(const ImportNode& node, int number, const Value& like) {
  const Constant& constant = required(node, number);
  const int64_t dimensions = std::ssize(constant.shape);
  require_import(!like.joined() && dimensions == rank(like) && dimensions > 1 &&
                     constant.shape[static_cast<size_t>(like.batch_axis)] == 1,
                 "the constant " + constant.origin + " of shape " + shape_text(constant.shape) +
                     " does not fit what it meets, " + shape_text(shape(like)) + " and the batch");
  using List = std::vector<int64_t>;
  const Shape own = without_batch(constant, like), ones(own.size(), 1);
  const std::string name = node.name + "." + std::to_string(number);
  const Value whole{};
  const auto inputs = static_cast<size_t>(rank(whole) - 1);
  List axes;
  for (size_t d = 0; d < inputs; ++d) axes.push_back(static_cast<int64_t>(d) + 1);
  Value zero = append(
      "Slice", name + ".one",
      {{{"starts", List(inputs, 0)}, {"ends", List(inputs, 1)}, {"axes", axes}, {"steps", List(inputs, 1)}},
       {whole},
       {}});
  zero = reshaped(name + ".shape", zero, ones);
  zero = append("Sub", name + ".zero", {{}, {zero, zero}, {}});
  const int parameter = add_parameter(node, number, constant, role_of(node, number, own));
  Value result = append("Add", name, {{}, {zero}, {parameter}});
  result.batch_axis = like.batch_axis;
  return result;
}

void concat_rule(Importer& importer, const ImportNode& node) {
  const Value* like = nullptr;
  for (int i = 0; i < node.proto.input_size() && like == nullptr; ++i) like = importer.value(node, i);
  Operands operands{importer.attributes(node), {}, {}};
  for (int i = 0; i < node.proto.input_size(); ++i) {
    const Value* value = importer.value(node, i);
    operands.values.push_back(value != nullptr ? *value : importer.spread(node, i, *like));
  }
  importer.give(node, 0, importer.append("Concat", node.name, std::move(operands)));
}

}  // namespace lepton::onnx
