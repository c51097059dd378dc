// SPDX-License-Identifier: Apache-2.0
// Files: whole and truncated ones, other opsets, tensors in files beside the model.
#include "onnx/model_file.h"

#include <filesystem>
#include <fstream>

#include "onnx/run.h"

namespace lepton::onnx {
namespace {

namespace fs = std::filesystem;

class ModelFile : public testing::Test {
 protected:
  ModelFile() : folder_(fs::path(testing::TempDir()) / ("onnx_" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
  }
  ~ModelFile() override { fs::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return (folder_ / name).string();
  }
  static ModelText dense(int64_t opset = 17) {
    ModelText text({3}, opset);
    return text.weights("w", {3, 2}).node("MatMul", {"x", "w"}, "y");
  }
  fs::path folder_;
};

TEST_F(ModelFile, TruncatedAndOtherFilesAreRefused) {
  const std::string bytes = dense().message().SerializeAsString();
  EXPECT_EQ(read_model(write("net.onnx", bytes)), bytes);
  expect_error_of([&] { read_model(write("half.onnx", bytes.substr(0, bytes.size() / 2))); }, Exit::data,
                  {"half.onnx", "no ONNX model, or not all of it"});
  expect_error_of([&] { read_model(write("text.onnx", "a text")); }, Exit::data, {"no ONNX model"});
  expect_error_of([&] { read_model(write("empty.onnx", "")); }, Exit::data, {"no ONNX model"});
  expect_error_of([&] { read_model((folder_ / "none.onnx").string()); }, Exit::no_input, {"none.onnx"});
}

TEST_F(ModelFile, OpsetsBeyondTheKnownAreRefused) {
  for (const int64_t opset : {opset_least, opset_most})
    EXPECT_EQ(opset_of(parse_model("n", dense(opset).message().SerializeAsString())), opset);
  for (const int64_t opset : {opset_least - 1, opset_most + 1})
    expect_error_of([&] { parse_model("net.onnx", dense(opset).message().SerializeAsString()); }, Exit::deck,
                    {"net.onnx", "opset " + std::to_string(opset), "13 to 21"});
}

TEST_F(ModelFile, TensorsBesideTheModelArePutIn) {
  ModelText text = dense();
  const std::string whole = text.message().SerializeAsString();
  auto& tensor = *text.message().mutable_graph()->mutable_initializer(0);
  const std::string numbers = tensor.raw_data();
  tensor.clear_raw_data();
  tensor.set_data_location(messages::TensorProto::EXTERNAL);
  const auto entry = [&](const std::string& key, const std::string& value) {
    auto& added = *tensor.add_external_data();
    added.set_key(key);
    added.set_value(value);
  };
  entry("location", "net.data");
  entry("offset", "4");
  entry("length", std::to_string(numbers.size()));
  const std::string path = write("net.onnx", text.message().SerializeAsString());
  expect_error_of([&] { read_model(path); }, Exit::no_input, {"net.data"});
  write("net.data", "1234" + numbers.substr(1));
  expect_error_of([&] { read_model(path); }, Exit::data, {"net.data", "ends before tensor \"w\""});
  write("net.data", "1234" + numbers);
  EXPECT_EQ(read_model(path), whole);
  tensor.mutable_external_data(0)->set_value("../net.data");
  const std::string outside = write("out.onnx", text.message().SerializeAsString());
  expect_error_of([&] { read_model(outside); }, Exit::data, {"outside of the model's folder"});
}

TEST_F(ModelFile, SummaryTellsWhatIsInside) {
  const Summary summary = summarise(write("net.onnx", dense().message().SerializeAsString()));
  EXPECT_EQ(summary.opset, 17);
  EXPECT_EQ(summary.inputs, (std::vector<std::string>{"x [N, 3]"}));
  EXPECT_EQ(summary.operators, (std::vector<std::pair<std::string, int64_t>>{{"MatMul", 1}}));
  EXPECT_EQ(summary.values, 6);
}

}  // namespace
}  // namespace lepton::onnx
