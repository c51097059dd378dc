// SPDX-License-Identifier: Apache-2.0
// Reading the weights of a file; see the header.
#include "onnx/weights_file.h"

#include <set>

#include "base/error.h"
#include "onnx/constant.h"
#include "onnx/fold.h"
#include "onnx/model_file.h"
#include "onnx/slots.h"

namespace lepton::onnx {

namespace {

/// How nodes take an initializer.
struct Uses {
  bool learned = false;    ///< as a parameter or running statistic
  bool operand = false;    ///< as something else than an attribute of ours
  bool by_columns = true;  ///< as a weight [in, out] alone
  float factor = 1;        ///< by which all that take it as an operand multiply it
  bool factors_differ = false;
};

/// The node's input is a weight that Lepton has the other way round.
bool is_by_columns(const messages::NodeProto& node, int input) {
  return input == 1 &&
         (node.op_type() == "MatMul" || (node.op_type() == "Gemm" && node_int(node, "transB", 0) == 0));
}

/// alpha and beta of Gemm, which an import makes part of the parameters.
float factor_of(const messages::NodeProto& node, int input) {
  if (node.op_type() != "Gemm" || input == 0) return 1;
  const messages::AttributeProto* factor = find_attribute(node, input == 1 ? "alpha" : "beta");
  return factor == nullptr ? 1 : static_cast<float>(shortest(factor->f()));
}

/// Numbers that Lepton has as attributes, or states that begin at 0.
bool is_setting(const messages::NodeProto& node, int input) {
  static const std::set<std::string> others = {"GRU", "LSTM", "Resize", "RNN"};
  return find_slot(node.op_type(), input) != nullptr || others.contains(node.op_type());
}

std::map<std::string, Uses> uses_of(const messages::GraphProto& graph) {
  std::map<std::string, Uses> all;
  for (const messages::NodeProto& node : graph.node())
    for (int i = 0; i < node.input_size(); ++i) {
      Uses& uses = all[node.input(i)];
      const bool learned = is_parameter_slot(node.op_type(), i);
      uses.learned = uses.learned || learned;
      if (learned || !is_setting(node, i)) {
        const float factor = factor_of(node, i);
        uses.factors_differ = uses.factors_differ || (uses.operand && uses.factor != factor);
        uses.factor = factor;
        uses.operand = true;
      }
      uses.by_columns = uses.by_columns && is_by_columns(node, i);
    }
  return all;
}

std::vector<float> by_rows(const Constant& constant) {
  const int64_t rows = constant.shape[0], columns = constant.shape[1];
  std::vector<float> values(constant.floats.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      values[static_cast<size_t>(c * rows + r)] = constant.floats[static_cast<size_t>(r * columns + c)];
  return values;
}

}  // namespace

std::map<std::string, Weights> read_weights(const std::string& path) {
  const messages::ModelProto model = parse_model(path, read_model(path));
  const std::map<std::string, Uses> uses = uses_of(model.graph());
  std::map<std::string, Weights> weights;
  for (const messages::TensorProto& tensor : model.graph().initializer()) {
    const auto used = uses.find(tensor.name());
    if (used == uses.end() || !used->second.operand) continue;
    Constant constant;
    try {
      constant = read_tensor(tensor);
    } catch (const Error& error) {
      fail(Exit::deck, path, error.problem(), "");
    }
    if (!constant.floating || (constant.elements() <= 1 && !used->second.learned)) continue;
    REQUIRE(!used->second.factors_differ, Exit::deck, path,
            "nodes take " + tensor.name() + " with different factors, alpha or beta",
            "Export the network with Gemms whose alpha and beta are 1.");
    for (float& value : constant.floats) value *= used->second.factor;
    const bool turned = used->second.by_columns && constant.shape.size() == 2;
    if (turned) {
      std::vector<float> values = by_rows(constant);
      weights[tensor.name()] = {{constant.shape[1], constant.shape[0]}, std::move(values)};
    } else {
      weights[tensor.name()] = {constant.shape, std::move(constant.floats)};
    }
  }
  return weights;
}

}  // namespace lepton::onnx
