// SPDX-License-Identifier: Apache-2.0
// Reading ONNX files; see the header.
#include "onnx/model_file.h"

#include <filesystem>
#include <map>

#include "base/error.h"
#include "storage/file.h"
#include "tensor/shape.h"

namespace lepton::onnx {

namespace {

using messages::ModelProto;
using messages::TensorProto;
namespace fs = std::filesystem;

constexpr size_t bytes_most = INT32_MAX;  // of one message of protobuf's

bool parse(const std::string& bytes, ModelProto& model) {
  return model.ParseFromString(bytes) && model.has_graph() && model.opset_import_size() > 0;
}

ModelProto parsed(const std::string& path, const std::string& bytes) {
  REQUIRE(bytes.size() <= bytes_most, Exit::data, path, "an ONNX model has at most 2 GiB", "");
  ModelProto model;
  REQUIRE(parse(bytes, model), Exit::data, path, "this is no ONNX model, or not all of it",
          "onnx.checker.check_model() in Python tells more.");
  return model;
}

int64_t number_of(const std::string& path, const std::string& tensor, const std::string& text) {
  const bool digits =
      !text.empty() && text.size() < 18 && text.find_first_not_of("0123456789") == std::string::npos;
  REQUIRE(digits, Exit::data, path, "tensor \"" + tensor + "\" lies at no place in a file: " + text, "");
  return std::stoll(text);
}

/// A tensor whose bytes lie in a file beside the model, which must not lead elsewhere.
void put_in(const std::string& path, TensorProto& tensor, std::map<std::string, std::string>& files) {
  std::map<std::string, std::string> entries;
  for (const auto& entry : tensor.external_data()) entries[entry.key()] = entry.value();
  const fs::path location = fs::path(entries["location"]).lexically_normal();
  const bool inside = !location.empty() && location.is_relative() && *location.begin() != "..";
  REQUIRE(inside, Exit::data, path,
          "tensor \"" + tensor.name() + "\" lies outside of the model's folder: " + entries["location"], "");
  const std::string beside = (fs::path(path).parent_path() / location).string();
  if (!files.contains(beside)) files[beside] = storage::read_file(beside);
  const std::string& bytes = files[beside];
  const auto number = [&](const char* key, int64_t otherwise) {
    return entries.contains(key) ? number_of(path, tensor.name(), entries[key]) : otherwise;
  };
  const int64_t size = std::ssize(bytes), offset = number("offset", 0);
  const int64_t length = number("length", std::max<int64_t>(0, size - offset));
  REQUIRE(offset <= size && length <= size - offset, Exit::data, beside,
          "the file ends before tensor \"" + tensor.name() + "\" of " + path + " does", "");
  tensor.set_raw_data(bytes.substr(static_cast<size_t>(offset), static_cast<size_t>(length)));
  tensor.clear_external_data();
  tensor.clear_data_location();
}

}  // namespace

std::string read_model(const std::string& path) {
  std::string bytes = storage::read_file(path);
  ModelProto model = parsed(path, bytes);
  std::map<std::string, std::string> files;
  for (TensorProto& tensor : *model.mutable_graph()->mutable_initializer())
    if (tensor.data_location() == TensorProto::EXTERNAL) put_in(path, tensor, files);
  if (files.empty()) return bytes;
  REQUIRE(model.ByteSizeLong() <= bytes_most, Exit::data, path,
          "with the tensors in files beside it, the model has more than 2 GiB", "");
  return model.SerializeAsString();
}

ModelProto parse_model(const std::string& path, const std::string& bytes) {
  ModelProto model = parsed(path, bytes);
  const int64_t opset = opset_of(model);
  REQUIRE(opset >= opset_least && opset <= opset_most, Exit::deck, path,
          opset == 0 ? "the model names no version of ONNX's operators"
                     : "the model is written for operators of opset " + std::to_string(opset),
          "Lepton reads opset " + std::to_string(opset_least) + " to " + std::to_string(opset_most) +
              "; export it for one of these, or convert it by onnx.version_converter in Python.");
  return model;
}

int64_t opset_of(const ModelProto& model) {
  for (const auto& entry : model.opset_import())
    if (entry.domain().empty() || entry.domain() == "ai.onnx") return entry.version();
  return 0;
}

std::string declared_shape(const messages::ValueInfoProto& value) {
  std::string text;
  for (const auto& dimension : value.type().tensor_type().shape().dim()) {
    text += text.empty() ? "" : ", ";
    text += dimension.has_dim_value()       ? std::to_string(dimension.dim_value())
            : dimension.dim_param().empty() ? "?"
                                            : dimension.dim_param();
  }
  return "[" + text + "]";
}

Summary summarise(const std::string& path) {
  const ModelProto model = parsed(path, read_model(path));
  Summary summary;
  summary.producer =
      model.producer_name() + (model.producer_version().empty() ? "" : " ") + model.producer_version();
  summary.opset = opset_of(model);
  std::map<std::string, int64_t> operators;
  for (const auto& node : model.graph().node()) ++operators[node.op_type()];
  summary.operators.assign(operators.begin(), operators.end());
  for (const TensorProto& tensor : model.graph().initializer()) {
    const Shape shape(tensor.dims().begin(), tensor.dims().end());
    summary.tensors.emplace_back(tensor.name(), shape_text(shape));
    summary.values += element_count(shape);
  }
  for (const auto& value : model.graph().input()) {
    bool initialised = false;
    for (const TensorProto& tensor : model.graph().initializer())
      initialised = initialised || tensor.name() == value.name();
    if (!initialised) summary.inputs.push_back(value.name() + " " + declared_shape(value));
  }
  for (const auto& value : model.graph().output())
    summary.outputs.push_back(value.name() + " " + declared_shape(value));
  return summary;
}

}  // namespace lepton::onnx
