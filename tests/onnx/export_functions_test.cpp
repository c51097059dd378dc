// SPDX-License-Identifier: Apache-2.0
// Functions of the domain lepton: which there are, and that they say what they are made of. What they compute
// is compared with Lepton's by tests/e2e/onnx_test.py.
#include "onnx/export_functions.h"

#include "onnx/run.h"

namespace lepton::onnx {
namespace {

int nodes_of(const messages::FunctionProto& function, const std::string& type) {
  int count = 0;
  for (const auto& node : function.node()) count += node.op_type() == type ? 1 : 0;
  return count;
}

messages::FunctionProto function_of(const FunctionSpec& spec) {
  messages::FunctionProto function;
  EXPECT_TRUE(write_function(spec, function)) << spec.type;
  return function;
}

TEST(ExportFunctions, DependOnAttributesAndOpset) {
  EXPECT_EQ(nodes_of(function_of({"Gelu", {}, {{4}}, 1, 17}), "Erf"), 1);
  EXPECT_EQ(nodes_of(function_of({"Gelu", {{"approximate", std::string("tanh")}}, {{4}}, 1, 17}), "Tanh"), 1);
  EXPECT_EQ(nodes_of(function_of({"LayerNormalization", {}, {{4}}, 3, 13}), "Sub"), 1);
  EXPECT_EQ(nodes_of(function_of({"RMSNormalization", {}, {{4}}, 2, 13}), "Sub"), 0);
  const auto old = function_of({"RMSNormalization", {}, {{4}}, 2, 17});
  const auto recent = function_of({"RMSNormalization", {}, {{4}}, 2, 18});
  EXPECT_EQ(nodes_of(old, "Constant") + 1, nodes_of(recent, "Constant")) << "axes are an input since 18";
  EXPECT_EQ(recent.opset_import(0).version(), 18);
  EXPECT_EQ(nodes_of(function_of({"Swish", {}, {{4}}, 1, 17}), "Mul"), 1);
  EXPECT_EQ(nodes_of(function_of({"Swish", {{"alpha", 2.0}}, {{4}}, 1, 17}), "Mul"), 2);
  EXPECT_EQ(nodes_of(function_of({"Mish", {}, {{4}}, 1, 17}), "Softplus"), 1);
}

TEST(ExportFunctions, AttentionIsWrittenForItsHeads) {
  const ops::Attributes plain{{"q_num_heads", int64_t{4}}};
  ops::Attributes grouped = plain, causal = plain;
  grouped["kv_num_heads"] = int64_t{2};
  causal["is_causal"] = int64_t{1};
  const auto all = function_of({"Attention", plain, {{5, 24}}, 1, 17});
  EXPECT_EQ(nodes_of(all, "Slice"), 3);
  EXPECT_EQ(nodes_of(all, "Expand"), 0);
  EXPECT_EQ(nodes_of(all, "Where"), 0);
  EXPECT_EQ(nodes_of(function_of({"Attention", grouped, {{5, 24}}, 1, 17}), "Expand"), 2);
  EXPECT_EQ(nodes_of(function_of({"Attention", causal, {{5, 24}}, 1, 17}), "Where"), 1);
  EXPECT_EQ(nodes_of(function_of({"Attention", plain, {{5, 8}, {6, 8}, {6, 8}}, 3, 17}), "Slice"), 0);
  EXPECT_EQ(all.attribute(0), "q_num_heads");
}

TEST(ExportFunctions, LengthsAreWritten) {
  const auto own = function_of({"Attention", {}, {{5, 24}, {1}}, 2, 17});
  EXPECT_EQ(own.input_size(), 2);
  EXPECT_EQ(nodes_of(own, "Less"), 2) << "keys and queries";
  EXPECT_EQ(nodes_of(function_of({"Attention", {}, {{5, 8}, {6, 8}, {6, 8}, {1}}, 4, 17}), "Less"), 1);
  const auto masked = function_of({"Attention", {}, {{5, 24}, {5}}, 2, 17});
  EXPECT_EQ(nodes_of(masked, "Less"), 0);
  EXPECT_EQ(nodes_of(masked, "Equal"), 1);
  EXPECT_EQ(nodes_of(function_of({"GlobalAveragePool", {}, {{5, 8}, {1}}, 2, 17}), "Less"), 1);
  EXPECT_EQ(nodes_of(function_of({"GlobalMaxPool", {}, {{5, 8}, {1}}, 2, 18}), "ReduceMax"), 1);
}

TEST(ExportFunctions, OthersHaveNone) {
  messages::FunctionProto function;
  EXPECT_FALSE(write_function({"Conv", {}, {{4}}, 1, 17}, function));
}

}  // namespace
}  // namespace lepton::onnx
