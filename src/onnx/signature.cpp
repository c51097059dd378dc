// SPDX-License-Identifier: Apache-2.0
// Reading what torch.export noted; see the header.
#include "onnx/signature.h"

#include <google/protobuf/unknown_field_set.h>

#include <optional>
#include <sstream>

namespace lepton::onnx {

namespace {

constexpr int metadata_field = 16;  // GraphProto.metadata_props, of IR 10
constexpr const char* signature_key = "pkg.torch.export.ExportedProgram.graph_signature";

/// The value of a StringStringEntryProto with this key; "": it has another.
std::string value_of(const std::string& entry, const std::string& key) {
  messages::StringStringEntryProto pair;
  return pair.ParseFromString(entry) && pair.key() == key ? pair.value() : "";
}

/// Of a line as in "p_fc_weight: PARAMETER target='fc.weight'"; nullopt: it is of another kind.
std::optional<std::string> target_of(const std::string& line, const std::string& kind) {
  const size_t at = line.find(kind);
  if (at == std::string::npos) return std::nullopt;
  const size_t begin = at + kind.size(), end = line.find('\'', begin);
  if (end == std::string::npos) return std::nullopt;
  return line.substr(begin, end - begin);
}

}  // namespace

Signature signature_of(const messages::GraphProto& graph) {
  std::string text;
  const auto& fields = graph.GetReflection()->GetUnknownFields(graph);
  for (int i = 0; i < fields.field_count(); ++i)
    if (fields.field(i).number() == metadata_field &&
        fields.field(i).type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED)
      text += value_of(fields.field(i).length_delimited(), signature_key);
  Signature signature;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (const auto name = target_of(line, ": PARAMETER target='")) signature.parameters.push_back(*name);
    if (const auto name = target_of(line, ": BUFFER target='")) signature.buffers.insert(*name);
  }
  return signature;
}

std::vector<std::string> lost_parameters(const messages::GraphProto& graph, const Signature& signature) {
  std::set<std::string> given;
  for (const messages::TensorProto& tensor : graph.initializer()) given.insert(tensor.name());
  for (const messages::ValueInfoProto& input : graph.input()) given.insert(input.name());
  std::vector<std::string> lost = signature.parameters;
  std::erase_if(lost, [&](const std::string& name) { return given.contains(name); });
  return lost;
}

}  // namespace lepton::onnx
