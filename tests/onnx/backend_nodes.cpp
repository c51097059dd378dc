// SPDX-License-Identifier: Apache-2.0
// Usage: onnx_backend_nodes DIR...   Runs the models of single operators that the ONNX project publishes with
// inputs and outputs (folders with model.onnx and test_data_set_0; Debian: libonnx-testdata) through import
// and forward. A model is applicable if it is imported: its first data input is the network's input, whose
// first dimension is taken for the batch, and its other inputs are weights with the values given. Prints the
// models not applicable by reason, those that fail, and a count; exits 1 when an applicable one fails, 77
// where there are no models.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "onnx/model_file.h"
#include "onnx/run.h"

namespace {

using namespace lepton;
using namespace lepton::onnx;
namespace fs = std::filesystem;

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

messages::TensorProto tensor_of(const fs::path& path) {
  messages::TensorProto tensor;
  if (!tensor.ParseFromString(bytes_of(path))) fail(Exit::data, "", "its data are no tensors", "");
  return tensor;
}

std::vector<float> numbers_of(const Constant& constant) {
  if (constant.floating) return constant.floats;
  std::vector<float> values;
  for (const Count& count : constant.integers) values.push_back(static_cast<float>(count.number));
  return values;
}

/// "" when the scores are those published, else what differs. Throws for models that are not applicable.
std::string compare(const fs::path& folder) {
  messages::ModelProto model;
  if (!model.ParseFromString(bytes_of(folder / "model.onnx"))) fail(Exit::data, "", "it is no model", "");
  // A file names the opset that brought its operator, whose definition holds since.
  for (auto& opset : *model.mutable_opset_import())
    if (opset.domain().empty() && opset.version() < opset_least) opset.set_version(opset_least);
  const bool trains = folder.filename().string().starts_with("test_training_");
  if (trains) fail(Exit::deck, "", "it draws at random", "");
  auto& graph = *model.mutable_graph();
  const fs::path data = folder / "test_data_set_0";
  int chosen = graph.node_size() == 1 && graph.node(0).op_type() == "Gather" ? 1 : 0;
  if (graph.input_size() <= chosen) fail(Exit::deck, "", "it has no input", "");
  Constant input;
  for (int i = 0; i < graph.input_size(); ++i) {
    messages::TensorProto tensor = tensor_of(data / ("input_" + std::to_string(i) + ".pb"));
    tensor.set_name(graph.input(i).name());
    if (i == chosen)
      input = read_tensor(tensor);
    else
      *graph.add_initializer() = tensor;
  }
  const messages::ValueInfoProto declared = graph.input(chosen);
  graph.clear_input();
  *graph.add_input() = declared;
  if (input.shape.size() < 2) fail(Exit::deck, "", "its input has no dimension beside the batch", "");
  if (input.elements() == 0) fail(Exit::deck, "", "its input is empty", "");
  const Shape sample(input.shape.begin() + 1, input.shape.end());
  const model::Graph network = import_network(model.SerializeAsString(), {"", {}, sample});
  const std::vector<float> scores = run(network, arena_of(network), numbers_of(input));
  const std::vector<float> expected = numbers_of(read_tensor(tensor_of(data / "output_0.pb")));
  if (scores.size() != expected.size()) return "another number of scores";
  for (size_t i = 0; i < scores.size(); ++i) {
    const bool close = std::abs(scores[i] - expected[i]) <= 1e-5F + 1e-4F * std::abs(expected[i]);
    if (!close && !(std::isnan(scores[i]) && std::isnan(expected[i])) && scores[i] != expected[i])
      return "score " + std::to_string(i) + " is " + std::to_string(scores[i]) + ", not " +
             std::to_string(expected[i]);
  }
  return "";
}

/// Without what is particular to one model.
std::string reason_of(const Error& error) {
  std::string text = error.problem();
  const std::string mark = "network:\n    ";
  if (const size_t at = text.find(mark); at != std::string::npos) {
    text = text.substr(at + mark.size());
    text = text.substr(0, text.find('\n'));
    const size_t open = text.find(" (");
    if (open != std::string::npos) text = text.substr(open + 2);
    if (const size_t close = text.find("): "); close != std::string::npos)
      text = text.substr(0, close) + ": " + text.substr(close + 3);
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  int applicable = 0, passed = 0, models = 0;
  std::map<std::string, std::vector<std::string>> reasons;
  for (int i = 1; i < argc; ++i) {
    if (!fs::is_directory(argv[i])) continue;
    std::vector<fs::path> folders(fs::directory_iterator(argv[i]), {});
    std::sort(folders.begin(), folders.end());
    for (const fs::path& folder : folders) {
      if (!fs::exists(folder / "model.onnx")) continue;
      ++models;
      try {
        const std::string difference = compare(folder);
        ++applicable;
        passed += difference.empty() ? 1 : 0;
        if (!difference.empty())
          std::printf("FAILED %s: %s\n", folder.filename().c_str(), difference.c_str());
      } catch (const Error& error) {
        if (error.code() == Exit::software) throw;
        reasons[reason_of(error)].push_back(folder.filename());
      }
    }
  }
  for (const auto& [reason, names] : reasons) {
    std::printf("not applicable: %s:", reason.c_str());
    for (const std::string& name : names) std::printf(" %s", name.c_str());
    std::printf("\n");
  }
  if (models == 0) {
    std::printf("SKIPPED: no models are here (apt-get install libonnx-testdata)\n");
    return 77;
  }
  std::printf("%d of %d applicable models pass; %d models in all\n", passed, applicable, models);
  return passed == applicable ? 0 : 1;
}
