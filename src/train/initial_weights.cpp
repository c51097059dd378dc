// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/initial_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "onnx/weights_file.h"
#include "storage/safetensors.h"

namespace lepton::train {

namespace {

/// Names in one line; of many the first ones.
std::string listed(const std::vector<std::string>& names) {
  constexpr size_t most = 20;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), most); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > most) text += fmt::format(" and {} more", names.size() - most);
  return text;
}

/// What is wrong, in one message.
class Problems {
 public:
  void add(const std::string& what, const std::vector<std::string>& names) {
    if (!names.empty()) text_ += (text_.empty() ? "" : "; ") + what + ": " + listed(names);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

using NamedWeights = std::map<std::string, onnx::Weights>;

/// By the file's name: ONNX or safetensors.
NamedWeights weights_in(const std::string& path) {
  if (path.ends_with(".onnx")) return onnx::read_weights(path);
  storage::SafetensorsFile file = storage::read_safetensors(path);
  NamedWeights weights;
  for (auto& [name, entry] : file.tensors) weights[name] = {std::move(entry.shape), std::move(entry.values)};
  return weights;
}

}  // namespace

std::string renamed(const WeightsSpec& spec, const std::string& name) {
  for (const auto& [from, to] : spec.rename)
    if (name.starts_with(from)) return to + name.substr(from.size());
  return name;
}

std::string PlacedWeights::text() const {
  std::string text = fmt::format("{} tensors", placed.size());
  if (!left.empty()) text += "; not in the file, so with initial values: " + listed(left);
  if (!unexpected.empty()) text += "; not in the network: " + listed(unexpected);
  return text;
}

PlacedWeights place_weights(const WeightsSpec& spec, const model::Graph& graph, std::span<float> parameters,
                            const std::string& hint) {
  const NamedWeights file = weights_in(spec.file);
  std::map<std::string, const onnx::Weights*> tensors;
  std::vector<std::string> twice, misshapen;
  for (const auto& [name, entry] : file)
    if (!tensors.emplace(renamed(spec, name), &entry).second)
      twice.push_back(name + " as " + renamed(spec, name));
  PlacedWeights weights;
  for (const ArenaTensor& tensor : graph.layout.tensors()) {
    const auto found = tensors.find(tensor.name);
    if (found == tensors.end()) {
      weights.left.push_back(tensor.name);
      continue;
    }
    const onnx::Weights* entry = found->second;
    tensors.erase(found);
    weights.placed.push_back(tensor.name);
    if (entry->shape == tensor.shape)
      std::copy(entry->values.begin(), entry->values.end(), parameters.begin() + tensor.offset);
    else
      misshapen.push_back(fmt::format("{} {} instead of {}", tensor.name, shape_text(entry->shape),
                                      shape_text(tensor.shape)));
  }
  for (const auto& [name, entry] : tensors) weights.unexpected.push_back(name);
  Problems problems;
  if (!spec.initialise_missing) problems.add("without tensors of the network", weights.left);
  if (!spec.ignore_unexpected) problems.add("with tensors that are not in the network", weights.unexpected);
  problems.add("with tensors of another shape", misshapen);
  problems.add("with two tensors of one name once they are renamed", twice);
  if (weights.placed.empty() && problems.text().empty())
    problems.add("without any tensor of the network", {"all keep initial values"});
  REQUIRE(problems.text().empty(), Exit::data, spec.file, "a file " + problems.text(), hint);
  return weights;
}

}  // namespace lepton::train
