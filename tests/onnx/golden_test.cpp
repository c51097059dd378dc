// SPDX-License-Identifier: Apache-2.0
// Models that make_models.py wrote by the Python package onnx, with what onnxruntime makes of an input.
#include <filesystem>

#include "onnx/model_file.h"
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

void expect_golden(const std::string& name) {
  const std::string path = (std::filesystem::path(__FILE__).parent_path() / (name + ".onnx")).string();
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

}  // namespace
}  // namespace lepton::onnx
