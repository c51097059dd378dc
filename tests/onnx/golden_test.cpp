// SPDX-License-Identifier: Apache-2.0
// Models that make_models.py wrote by the Python package onnx, with what onnxruntime makes of an input.
#include <filesystem>

#include "base/philox.h"
#include "model/networks.h"
#include "onnx/export.h"
#include "onnx/model_file.h"
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

std::string path_of(const std::string& name) {
  return (std::filesystem::path(__FILE__).parent_path() / (name + ".onnx")).string();
}

void expect_golden(const std::string& name) {
  const std::string path = path_of(name);
  const std::string bytes = read_model(path);
  std::map<std::string, Constant> tests;
  const messages::ModelProto model = parse_model(path, bytes);
  for (const auto& tensor : model.graph().initializer())
    if (tensor.name().starts_with("test.")) tests[tensor.name()] = read_tensor(tensor);
  const Constant& input = tests.at("test.input");
  const model::Graph graph =
      import_network(bytes, {path, {}, Shape(input.shape.begin() + 1, input.shape.end())});
  expect_near(run(graph, arena_of(graph), input.floats), tests.at("test.output").floats, 1e-5F);
}

TEST(Golden, Mlp) {
  expect_golden("mlp");
}
TEST(Golden, Cnn) {
  expect_golden("cnn");
}
TEST(Golden, Sequence) {
  expect_golden("sequence");
}

/// Written by Lepton.
std::string recurrent() {
  const auto units = std::pair<std::string, model::OptionValue>{"units", int64_t{3}};
  const model::Graph graph = model::graph_of(
      {4, 2}, {model::layer("lstm", {units, {"bidirectional", true}, {"output", std::string("sequence")}}),
               model::layer("upsample1d", {{"scale", int64_t{2}}}),
               model::layer("group_norm", {{"groups", int64_t{2}}}), model::layer("gru", {units})});
  return export_network(graph, arena_of(graph), {}).bytes;
}

/// Bytes flipped, cut out and cut off: what is no network any more is refused, and nothing worse happens.
TEST(Golden, DamagedFilesAreRefused) {
  const std::vector<std::pair<std::string, Shape>> models = {
      {"mlp", {5}}, {"cnn", {4, 7, 6}}, {"sequence", {6, 4}}, {"", {4, 2}}};
  int64_t refused = 0, seed = 0;
  for (const auto& [name, input] : models) {
    const std::string whole = name.empty() ? recurrent() : read_model(path_of(name));
    for (int round = 0; round < 700; ++round) {
      std::string bytes = whole;
      const PhiloxCounter random = philox4x32(9, {static_cast<uint32_t>(++seed), 0, 0, 0});
      const size_t at = random[0] % bytes.size();
      if (round % 3 == 0) bytes[at] = static_cast<char>(random[1]);
      if (round % 3 == 1) bytes.erase(at, random[1] % 16 + 1);
      if (round % 3 == 2) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random[1] % 8));
      if (round % 7 == 0) bytes.resize(random[2] % bytes.size());
      try {
        import_network(bytes, {name, {}, input});
      } catch (const Error& error) {
        EXPECT_TRUE(error.code() == Exit::data || error.code() == Exit::deck) << error.what();
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace lepton::onnx
