// SPDX-License-Identifier: Apache-2.0
// Usage: onnx_backend_nodes DIR...   Runs the models of single operators that the ONNX project publishes with
// inputs and outputs (folders with model.onnx and test_data_set_0; Debian: libonnx-testdata) through import
// and forward. A model is applicable if it is imported: its first data input is the network's input, whose
// first dimension is taken for the batch (of recurrent layers the second, turned to the front), and its other
// inputs are weights with the values given; where that does not do, those with the same first dimension are
// inputs too. Of several outputs each is a network. Prints the models not applicable by reason, those that
// fail, and a count; exits 1 when an applicable one fails, 77 where there are no models.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "onnx/fold.h"
#include "onnx/importer.h"
#include "onnx/model_file.h"
#include "onnx/run.h"
#include "onnx/slots.h"

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

Constant transposed(const Constant& data, const std::vector<int64_t>& perm) {
  messages::NodeProto node;
  node.set_op_type("Transpose");
  write_attribute("perm", perm, node);
  return fold(node, std::vector<const Constant*>{&data});
}

/// A model with its data: of its outputs one is a network's at a time.
struct Published {
  messages::ModelProto model;
  std::vector<Constant> inputs;
  std::vector<Constant> outputs;
};

/// The batch in front of input and outputs, by Transposes around the node and of the data.
void put_samples_first(Published& published) {
  auto& graph = *published.model.mutable_graph();
  const auto turn = [&](const std::string& from, const std::string& to, const std::vector<int64_t>& perm) {
    messages::NodeProto& node = *graph.add_node();
    node.set_op_type("Transpose");
    node.add_input(from);
    node.add_output(to);
    write_attribute("perm", perm, node);
  };
  messages::NodeProto layer = graph.node(0);
  graph.clear_node();
  turn(graph.input(0).name(), "turned", {1, 0, 2});
  Constant& input = published.inputs.front();
  input = transposed(input, {1, 0, 2});
  auto& dimensions = *graph.mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
  for (int d = 0; d < 3; ++d) dimensions.mutable_dim(d)->set_dim_value(input.shape[static_cast<size_t>(d)]);
  layer.set_input(0, "turned");
  *graph.add_node() = layer;
  for (int i = 0; i < graph.output_size(); ++i) {
    const bool sequence = published.outputs[static_cast<size_t>(i)].shape.size() == 4;
    const std::vector<int64_t> perm =
        sequence ? std::vector<int64_t>{2, 0, 1, 3} : std::vector<int64_t>{1, 0, 2};
    const std::string name = graph.output(i).name();
    turn(name, name + ".turned", perm);
    graph.mutable_output(i)->set_name(name + ".turned");
    Constant& output = published.outputs[static_cast<size_t>(i)];
    output = transposed(output, perm);
  }
}

/// Throws for models that are not applicable. `several`: with all inputs that have samples.
Published read_published(const fs::path& folder, bool several) {
  Published published;
  messages::ModelProto& model = published.model;
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
  const auto given = [&](int i) {
    messages::TensorProto tensor = tensor_of(data / ("input_" + std::to_string(i) + ".pb"));
    tensor.set_name(graph.input(i).name());
    return tensor;
  };
  published.inputs = {read_tensor(given(chosen))};
  const Shape first = published.inputs.front().shape;
  if (first.size() < 2) fail(Exit::deck, "", "its input has no dimension beside the batch", "");
  if (published.inputs.front().elements() == 0) fail(Exit::deck, "", "its input is empty", "");
  const std::string type = graph.node(0).op_type();
  if (type == "Div" && !published.inputs.front().floating) fail(Exit::deck, "", "it divides integers", "");
  std::vector<messages::ValueInfoProto> declared = {graph.input(chosen)};
  for (int i = 0; i < graph.input_size(); ++i) {
    if (i == chosen) continue;
    Constant other = read_tensor(given(i));
    if (several && other.shape.size() > 1 && other.shape[0] == first[0] && !is_parameter_slot(type, i)) {
      published.inputs.push_back(std::move(other));
      declared.push_back(graph.input(i));
    } else {
      *graph.add_initializer() = given(i);
    }
  }
  graph.mutable_input()->Assign(declared.begin(), declared.end());
  for (int i = 0; i < graph.output_size(); ++i)
    published.outputs.push_back(read_tensor(tensor_of(data / ("output_" + std::to_string(i) + ".pb"))));
  const bool recurrent = find_import_rule(type) == recurrent_rule;
  if (recurrent && node_int(graph.node(0), "layout", 0) == 0) put_samples_first(published);
  return published;
}

/// "" when the scores are those published, else what differs. Throws for models that are not applicable.
std::string compare_output(const Published& published, int number) {
  messages::ModelProto model = published.model;
  auto& graph = *model.mutable_graph();
  const messages::ValueInfoProto wanted = graph.output(number);
  graph.clear_output();
  *graph.add_output() = wanted;
  ImportSpec spec;
  std::vector<std::vector<float>> inputs;
  for (size_t i = 0; i < published.inputs.size(); ++i) {
    const Constant& input = published.inputs[i];
    spec.inputs.push_back(
        {graph.input(static_cast<int>(i)).name(), Shape(input.shape.begin() + 1, input.shape.end())});
    inputs.push_back(numbers_of(input));
  }
  spec.input = spec.inputs.front().shape;
  const model::Graph network = import_network(model.SerializeAsString(), spec);
  const std::vector<float> scores = run_inputs(network, arena_of(network), inputs);
  const std::vector<float> expected = numbers_of(published.outputs[static_cast<size_t>(number)]);
  if (scores.size() != expected.size()) return "another number of scores";
  for (size_t i = 0; i < scores.size(); ++i) {
    const bool close = std::abs(scores[i] - expected[i]) <= 1e-5F + 1e-4F * std::abs(expected[i]);
    if (!close && !(std::isnan(scores[i]) && std::isnan(expected[i])) && scores[i] != expected[i])
      return "score " + std::to_string(i) + " is " + std::to_string(scores[i]) + ", not " +
             std::to_string(expected[i]);
  }
  return "";
}

std::string compare(const fs::path& folder, bool several) {
  const Published published = read_published(folder, several);
  std::string differences;
  for (int i = 0; i < published.model.graph().output_size(); ++i) differences += compare_output(published, i);
  return differences;
}

/// With as few inputs as will do.
std::string compare(const fs::path& folder) {
  std::optional<Error> first;
  for (const bool several : {false, true}) try {
      return compare(folder, several);
    } catch (const Error& error) {
      if (error.code() == Exit::software) throw;
      if (!first) first = error;
    }
  throw Error(*first);
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
