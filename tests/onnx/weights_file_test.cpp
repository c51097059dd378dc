// SPDX-License-Identifier: Apache-2.0
// Weights by name from a file: which of its tensors they are, and in which form.
#include "onnx/weights_file.h"

#include <filesystem>
#include <fstream>

#include "onnx/run.h"

namespace lepton::onnx {
namespace {

namespace fs = std::filesystem;

class WeightsFile : public testing::Test {
 protected:
  WeightsFile() : folder_(fs::path(testing::TempDir()) / ("onnx_weights_" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
  }
  ~WeightsFile() override { fs::remove_all(folder_); }
  std::string file(const std::string& name) const { return (folder_ / name).string(); }
  std::map<std::string, Weights> weights_of(ModelText& text) const {
    std::ofstream(file("net.onnx"), std::ios::binary) << text.message().SerializeAsString();
    return read_weights(file("net.onnx"));
  }

 private:
  fs::path folder_;
};

TEST_F(WeightsFile, HasWhatAnImportTakesForParameters) {
  ModelText text({2, 4, 4});
  text.weights("conv.weight", {3, 2, 3, 3})
      .weights("scale", {3})
      .weights("bias", {3})
      .weights("mean", {3})
      .weights("var", {3})
      .floats("slope", {1}, {0.25F})
      .floats("half", {}, {0.5F})
      .floats("scales", {4}, {1, 1, 2, 2})
      .integers("shape", {0, -1})
      .weights("unused", {7})
      .node("Conv", {"x", "conv.weight"}, "c")
      .node("BatchNormalization", {"c", "scale", "bias", "mean", "var"}, "n")
      .node("PRelu", {"n", "slope"}, "p")
      .node("Mul", {"p", "half"}, "h")
      .node("Resize", {"h", "", "scales"}, "u")
      .node("Reshape", {"u", "shape"}, "y");
  std::vector<std::string> names;
  for (const auto& [name, weights] : weights_of(text)) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"bias", "conv.weight", "mean", "scale", "slope", "var"}));
}

TEST_F(WeightsFile, WeightsOfProductsAreByOutput) {
  ModelText text({3});
  text.floats("a", {3, 2}, {1, 2, 3, 4, 5, 6})
      .floats("b", {2, 2}, {1, 2, 3, 4})
      .floats("c", {2, 2}, {1, 2, 3, 4})
      .floats("d", {2, 2}, {1, 2, 3, 4})
      .node("MatMul", {"x", "a"}, "1")
      .node("Gemm", {"1", "b"}, "2")
      .node("Gemm", {"2", "c"}, "3", {{"transB", int64_t{1}}})
      .node("MatMul", {"3", "d"}, "4")
      .node("Gather", {"d", "x"}, "5");
  const auto weights = weights_of(text);
  EXPECT_EQ(weights.at("a").shape, (Shape{2, 3}));
  EXPECT_EQ(weights.at("a").values, (std::vector<float>{1, 3, 5, 2, 4, 6}));
  EXPECT_EQ(weights.at("b").values, (std::vector<float>{1, 3, 2, 4}));
  EXPECT_EQ(weights.at("c").values, (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(weights.at("d").values, (std::vector<float>{1, 2, 3, 4})) << "a table that gives scores, too";
}

TEST_F(WeightsFile, RefusesWhatIsNoModel) {
  std::ofstream(file("net.onnx")) << "nothing";
  expect_error_of([&] { read_weights(file("net.onnx")); }, Exit::data, {"net.onnx"});
  expect_error_of([&] { read_weights(file("none.onnx")); }, Exit::no_input, {"none.onnx"});
}

TEST_F(WeightsFile, HasTheFactorsOfGemm) {
  ModelText text({2});
  text.floats("w", {2, 2}, {1, 2, 3, 4})
      .floats("b", {2}, {8, -8})
      .node("Gemm", {"x", "w", "b"}, "1", {{"alpha", 0.5}, {"beta", 0.25}});
  const auto weights = weights_of(text);
  EXPECT_EQ(weights.at("w").values, (std::vector<float>{0.5F, 1.5F, 1, 2}));
  EXPECT_EQ(weights.at("b").values, (std::vector<float>{2, -2}));
  text.node("MatMul", {"1", "w"}, "2");
  expect_error_of([&] { weights_of(text); }, Exit::deck, {"net.onnx", "take w with different factors"});
}

}  // namespace
}  // namespace lepton::onnx
