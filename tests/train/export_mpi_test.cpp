// SPDX-License-Identifier: Apache-2.0
// The command `export`: what a run has trained, with and without its normalisation; refusals. What the file
// computes is compared by tests/e2e/onnx_test.py.
#include <gtest/gtest.h>

#include "errors.h"
#include "onnx/model_file.h"
#include "small_runs.h"

namespace lepton::train {
namespace {

using Operators = std::vector<std::pair<std::string, int64_t>>;

class ExportTest : public ::testing::Test {
 protected:
  Options asked(const std::string& deck, const std::string& output) const {
    Options options = runs_.options(deck, "run");
    options.output = runs_.file(output);
    options.opset = 15;
    return options;
  }
  bool tells() const { return runs_.world().rank() == 0; }
  const SmallRuns runs_;
};

TEST_F(ExportTest, WritesTheTrainedNetwork) {
  runs_.train(runs_.options("dense.toml", "run"));
  EXPECT_EQ(export_model(runs_.world(), asked("dense.toml", "plain.onnx")), Exit::done);
  Options inside = asked("dense.toml", "inside.onnx");
  inside.normalize = true;
  EXPECT_EQ(export_model(runs_.world(), inside), Exit::done);
  if (!tells()) return;
  const onnx::Summary plain = onnx::summarise(runs_.file("plain.onnx"));
  EXPECT_EQ(plain.opset, 15);
  EXPECT_EQ(plain.operators, (Operators{{"Flatten", 1}, {"Gemm", 2}, {"Relu", 1}}));
  EXPECT_EQ(plain.inputs, (std::vector<std::string>{"input [N, 1, 6, 6]"}));
  EXPECT_EQ(plain.tensors[0].first, "dense_1.weight");
  const onnx::Summary normalised = onnx::summarise(runs_.file("inside.onnx"));
  EXPECT_EQ(normalised.operators,
            (Operators{{"Flatten", 1}, {"Gemm", 2}, {"Mul", 1}, {"Relu", 1}, {"Sub", 1}}));
}

TEST_F(ExportTest, RefusesWhatItCannotWrite) {
  runs_.train(runs_.options("dense.toml", "run"));
  Options none = asked("dense.toml", "none.onnx");
  none.normalize = true;
  none.overrides.push_back({"data.normalize", "none"});
  expect_error_of([&] { export_model(runs_.world(), none); }, Exit::usage,
                  {"--normalize", "does not normalise"});
  Options nowhere = asked("dense.toml", "no/such/folder.onnx");
  expect_error_of([&] { export_model(runs_.world(), nowhere); }, Exit::io, {"folder.onnx"});
  Options other = asked("conv.toml", "other.onnx");
  expect_error_of([&] { export_model(runs_.world(), other); }, Exit::deck, {"that is another model"});
}

}  // namespace
}  // namespace lepton::train
