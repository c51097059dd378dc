// SPDX-License-Identifier: Apache-2.0
// Weights by name: what is placed, what is left, and everything that does not fit in one message.
#include "train/initial_weights.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "errors.h"
#include "model/layers.h"
#include "onnx/export.h"
#include "scratch.h"
#include "storage/safetensors.h"

namespace lepton::train {
namespace {

model::LayerSpec dense(int64_t units, const std::string& name) {
  model::LayerSpec layer;
  layer.type = "dense";
  layer.options["units"] = {units, {}};
  layer.options["name"] = {name, {}};
  return layer;
}

/// [3] to [4] to [2]: a.weight, a.bias, b.weight, b.bias.
model::Graph network() {
  model::ModelSpec spec;
  spec.input = {3};
  spec.layers = {dense(4, "a"), dense(2, "b")};
  return model::build_graph(spec);
}

/// Tensors of these shapes, tensor k filled with k + 1.
std::string file_with(const Scratch& scratch, const std::vector<std::pair<std::string, Shape>>& tensors) {
  std::vector<std::vector<float>> values;
  std::vector<storage::NamedTensor> named;
  for (const auto& [name, shape] : tensors)
    values.emplace_back(static_cast<size_t>(element_count(shape)), static_cast<float>(values.size() + 1));
  for (size_t k = 0; k < tensors.size(); ++k)
    named.push_back({tensors[k].first, tensors[k].second, values[k]});
  storage::write_safetensors(scratch.file("w.safetensors"), named, {});
  return scratch.file("w.safetensors");
}

/// The first element of each tensor after placing over zeros.
std::vector<float> firsts(const WeightsSpec& spec, PlacedWeights* placed = nullptr) {
  const model::Graph graph = network();
  std::vector<float> arena(static_cast<size_t>(graph.layout.elements()), 0.0f), found;
  const PlacedWeights weights = place_weights(spec, graph, arena, "hint");
  if (placed) *placed = weights;
  for (const ArenaTensor& tensor : graph.layout.tensors()) {
    const auto offset = static_cast<size_t>(tensor.offset);
    found.push_back(arena[offset]);
    EXPECT_EQ(arena[offset + static_cast<size_t>(tensor.count) - 1], found.back());
  }
  return found;
}

const std::vector<std::pair<std::string, Shape>> whole = {
    {"b.bias", {2}}, {"a.weight", {4, 3}}, {"b.weight", {2, 4}}, {"a.bias", {4}}};

TEST(InitialWeights, GoByName) {
  const Scratch scratch;
  PlacedWeights placed;
  WeightsSpec spec;
  spec.file = file_with(scratch, whole);
  EXPECT_EQ(firsts(spec, &placed), (std::vector<float>{2, 4, 3, 1}));
  EXPECT_EQ(placed.text(), "4 tensors");
}

TEST(InitialWeights, OnnxFilesHoldThemToo) {
  const Scratch scratch;
  const model::Graph graph = network();
  std::vector<float> arena(static_cast<size_t>(graph.layout.elements()));
  for (const ArenaTensor& tensor : graph.layout.tensors())
    std::fill_n(arena.begin() + tensor.offset, tensor.count,
                static_cast<float>(tensor.name.size() + tensor.offset));
  WeightsSpec spec;
  spec.file = scratch.file("w.onnx");
  std::ofstream(spec.file, std::ios::binary) << onnx::export_network(graph, arena, {}).bytes;
  PlacedWeights placed;
  EXPECT_EQ(firsts(spec, &placed), (std::vector<float>{8, 16 + 6, 32 + 8, 48 + 6}));
  EXPECT_EQ(placed.text(), "4 tensors");
  spec.rename = {{"a.", "c."}};
  expect_error_of([&] { firsts(spec); }, Exit::data,
                  {"w.onnx", "without tensors of the network: a.weight, a.bias", "c.bias, c.weight"});
}

TEST(InitialWeights, MissingAndUnexpectedOnesAreAllowedByKeyOnly) {
  const Scratch scratch;
  WeightsSpec spec;
  spec.file = file_with(scratch, {{"a.weight", {4, 3}}, {"old.weight", {7}}, {"a.bias", {4}}});
  const auto refused = [&](const std::vector<std::string>& parts) {
    expect_error_of([&] { firsts(spec); }, Exit::data, parts);
  };
  refused({"w.safetensors", "without tensors of the network: b.weight, b.bias",
           "with tensors that are not in the network: old.weight", "hint"});
  spec.initialise_missing = true;
  refused({"not in the network: old.weight"});
  spec.initialise_missing = false;
  spec.ignore_unexpected = true;
  refused({"without tensors of the network: b.weight, b.bias"});
  spec.initialise_missing = true;
  PlacedWeights placed;
  EXPECT_EQ(firsts(spec, &placed), (std::vector<float>{1, 3, 0, 0}));
  EXPECT_EQ(placed.text(),
            "2 tensors; not in the file, so with initial values: b.weight, b.bias; not in the network: "
            "old.weight");
}

TEST(InitialWeights, EverythingThatDoesNotFitIsToldAtOnce) {
  const Scratch scratch;
  WeightsSpec spec;
  spec.file = file_with(scratch, {{"a.weight", {3, 4}}, {"a.bias", {4}}, {"b.bias", {3}}, {"c", {1}}});
  expect_error_of([&] { firsts(spec); }, Exit::data,
                  {"without tensors of the network: b.weight", "not in the network: c",
                   "of another shape: a.weight [3, 4] instead of [4, 3], b.bias [3] instead of [2]"});
  spec.initialise_missing = spec.ignore_unexpected = true;  // shapes are never allowed
  expect_error_of([&] { firsts(spec); }, Exit::data, {"of another shape"});
}

TEST(InitialWeights, NamesAreRenamedByTheFirstBeginningThatFits) {
  const Scratch scratch;
  WeightsSpec spec;
  spec.file = file_with(
      scratch, {{"net.fc.weight", {4, 3}}, {"net.fc.bias", {4}}, {"out.weight", {2, 4}}, {"out.bias", {2}}});
  spec.rename = {{"net.fc.", "a."}, {"net.", "never."}, {"out", "b"}};
  EXPECT_EQ(firsts(spec), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(renamed(spec, "net.x"), "never.x");
  EXPECT_EQ(renamed(spec, "other"), "other");
  spec.rename = {{"net.fc.", "out."}};
  expect_error_of([&] { firsts(spec); }, Exit::data, {"two tensors of one name", "out.weight as out.weight"});
}

TEST(InitialWeights, AFileThatHasNothingForTheNetworkIsRefused) {
  const Scratch scratch;
  WeightsSpec spec;
  spec.file = file_with(scratch, {{"x", {1}}});
  spec.initialise_missing = spec.ignore_unexpected = true;
  expect_error_of([&] { firsts(spec); }, Exit::data, {"without any tensor of the network"});
  spec.file = scratch.file("nowhere");
  expect_error_of([&] { firsts(spec); }, Exit::no_input, {"nowhere"});
}

}  // namespace
}  // namespace lepton::train
