// SPDX-License-Identifier: Apache-2.0
// Reading what torch.export noted; see the header.
#include "onnx/signature.h"

#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <regex>
#include <sstream>

#include "onnx/model_file.h"

namespace lepton::onnx {

namespace {

constexpr int metadata_field = 16;  // GraphProto.metadata_props, of IR 10
constexpr const char* signature_key = "pkg.torch.export.ExportedProgram.graph_signature";

/// The value of a StringStringEntryProto with this key; "": it has another.
std::string value_of(const std::string& entry, const std::string& key) {
  messages::StringStringEntryProto pair;
  return pair.ParseFromString(entry) && pair.key() == key ? pair.value() : "";
}

}  // namespace

Signature signature_of(const messages::GraphProto& graph) {
  std::string text;
  const auto& fields = graph.GetReflection()->GetUnknownFields(graph);
  for (int i = 0; i < fields.field_count(); ++i)
    if (fields.field(i).number() == metadata_field &&
        fields.field(i).type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED)
      text += value_of(fields.field(i).length_delimited(), signature_key);
  static const std::regex row(R"(^\w+: (PARAMETER|BUFFER) target='([^']*)'.*)");
  Signature signature;
  std::istringstream lines(text);
  std::smatch found;
  for (std::string line; std::getline(lines, line);) {
    if (!std::regex_match(line, found, row)) continue;
    if (found[1] == "BUFFER")
      signature.buffers.insert(found[2]);
    else
      signature.parameters.push_back(found[2]);
  }
  return signature;
}

std::vector<std::string> lost_parameters(const std::string& path, const std::string& bytes) {
  const messages::ModelProto model = parse_model(path, bytes);
  std::set<std::string> given;
  for (const messages::TensorProto& tensor : model.graph().initializer()) given.insert(tensor.name());
  for (const messages::ValueInfoProto& input : model.graph().input()) given.insert(input.name());
  std::vector<std::string> lost = signature_of(model.graph()).parameters;
  std::erase_if(lost, [&](const std::string& name) { return given.contains(name); });
  return lost;
}

}  // namespace lepton::onnx
