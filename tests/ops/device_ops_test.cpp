// SPDX-License-Identifier: Apache-2.0
// Every operator on every device against the host's, on random operands at odd sizes: outputs, statistics and
// all gradients, from poisoned memory, twice to the same bits. (The host's ops are held to references in
// double and to finite differences by the tests of each.) On CUDA also in the precisions of tensor cores.
#include <algorithm>
#include <cmath>
#include <set>

#include "ops/device_rig.h"
#include "ops/harness.h"
#include "ops/recurrent_reference.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec gemm(int64_t n, int64_t in, int64_t out, const std::string& activation, Attributes attributes = {}) {
  return {.type = "Gemm",
          .attributes = {{"transB", int64_t{1}}},
          .activation = activation,
          .activation_attributes = std::move(attributes),
          .samples = n,
          .training = true,
          .inputs = {{in}},
          .parameters = {{out, in}, {out}}};
}

OpSpec conv(const Shape& input, const Shape& weights, std::vector<int64_t> strides, std::vector<int64_t> pads,
            std::vector<int64_t> dilations, int64_t group, const std::string& activation) {
  return {.type = "Conv",
          .attributes = {{"strides", strides}, {"pads", pads}, {"dilations", dilations}, {"group", group}},
          .activation = activation,
          .samples = 3,
          .training = true,
          .inputs = {input},
          .parameters = {weights, {weights[0]}}};
}

OpSpec pool_spec(const char* type, std::vector<int64_t> kernel, std::vector<int64_t> strides,
                 std::vector<int64_t> pads, const std::string& activation = "",
                 const Shape& input = {5, 9, 7}) {
  return {.type = type,
          .attributes = {{"kernel_shape", kernel}, {"strides", strides}, {"pads", pads}},
          .activation = activation,
          .samples = 3,
          .training = true,
          .inputs = {input}};
}

OpSpec plain(const char* type, const Shape& input, Attributes attributes = {},
             std::vector<Shape> parameters = {}, const std::string& activation = "") {
  return {.type = type,
          .attributes = std::move(attributes),
          .activation = activation,
          .samples = 3,
          .training = true,
          .inputs = {input},
          .parameters = std::move(parameters),
          .random_key = 77};
}

std::vector<OpSpec> products() {
  return {gemm(5, 7, 3, ""),
          gemm(33, 65, 129, "Relu"),
          gemm(64, 300, 10, "Tanh"),
          gemm(1, 1, 1, "Elu"),
          gemm(9, 33, 40, "Gelu"),
          gemm(9, 33, 40, "Gelu", {{"approximate", std::string("tanh")}}),
          gemm(9, 33, 41, "Gelu", {{"approximate", std::string("tanh")}}),
          conv({3, 7, 5}, {5, 3, 3, 2}, {2, 1}, {1, 0, 2, 1}, {1, 1}, 1, ""),
          conv({8, 9, 11}, {16, 8, 3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, "Relu"),
          conv({4, 11, 9}, {6, 2, 3, 3}, {1, 2}, {2, 2, 2, 2}, {2, 2}, 2, "LeakyRelu"),
          conv({6, 6, 6}, {12, 6, 1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1, ""),
          conv({6, 17}, {8, 3, 3}, {2}, {1, 2}, {1}, 2, "Relu"),
          conv({4, 6, 5, 7}, {6, 2, 3, 2, 3}, {1, 2, 1}, {1, 0, 1, 0, 1, 2}, {1, 1, 2}, 2, "Relu"),
          plain("ConvTranspose", {4, 5, 6},
                {{"strides", std::vector<int64_t>{2, 3}},
                 {"pads", std::vector<int64_t>{1, 0, 0, 1}},
                 {"group", int64_t{2}}},
                {{4, 3, 3, 2}, {6}}),
          plain("ConvTranspose", {4, 3, 4, 2}, {{"strides", std::vector<int64_t>{2, 1, 2}}},
                {{4, 3, 2, 3, 2}, {3}})};
}

OpSpec several(const char* type, std::vector<Shape> inputs, std::vector<Shape> parameters,
               Attributes attributes = {}, const std::string& activation = "") {
  OpSpec spec = plain(type, inputs[0], std::move(attributes), std::move(parameters), activation);
  spec.inputs = std::move(inputs);
  return spec;
}

std::vector<OpSpec> broadcast_ones() {
  const Shape image{5, 9, 7};
  std::vector<OpSpec> specs;
  for (const char* type : {"Sub", "Mul", "Min", "Max", "Greater", "Less", "Equal"}) {
    specs.push_back(several(type, {image, {5, 1, 1}}, {}));
    specs.push_back(several(type, {image}, {{9, 1}}, {{"parameter_first", int64_t{1}}}));
  }
  for (const char* type : {"Neg", "Abs", "Exp", "Erf", "Clip", "Sign", "Floor", "Ceil", "Not"})
    specs.push_back(plain(type, {1003}));
  specs.push_back(plain("Clip", {1003}, {{"min", -0.5}, {"max", 0.25}}));
  specs.push_back(several("Add", {image, {5, 1, 7}}, {}, {}, "Relu"));
  specs.push_back(
      several("Where", {image, {5, 1, 1}}, {{9, 1}}, {{"parameter_at", std::vector<int64_t>{1}}}));
  return specs;
}

std::vector<OpSpec> moving_ones() {
  const Shape image{5, 9, 7};
  std::vector<OpSpec> specs;
  using List = std::vector<int64_t>;
  specs.push_back(plain("LogSoftmax", {1101}));
  specs.push_back(plain("LogSoftmax", {5, 3, 2}, {{"axis", int64_t{1}}}));
  specs.push_back(plain("GroupNormalization", {6, 9, 7}, {{"num_groups", int64_t{3}}}, {{6}, {6}}));
  specs.push_back(plain("InstanceNormalization", image, {}, {{5}, {5}}));
  specs.push_back(
      plain("Slice", image,
            {{"axes", List{1, 3}}, {"starts", List{-1, 0}}, {"ends", List{0, 6}}, {"steps", List{-2, 3}}}));
  for (const char* mode : {"constant", "reflect", "edge"})
    specs.push_back(
        plain("Pad", image, {{"mode", std::string(mode)}, {"pads", List{0, 0, 3, 1, 0, 1, 2, 4}}}));
  for (const char* mode : {"nearest", "linear"}) {
    specs.push_back(plain("Resize", image, {{"mode", std::string(mode)}, {"sizes", List{1, 5, 20, 4}}}));
    specs.push_back(
        plain("Resize", {3, 4, 3, 5}, {{"mode", std::string(mode)}, {"scales", List{1, 1, 2, 3, 2}}}));
  }
  specs.push_back(plain("Expand", {5, 1, 7}, {{"shape", List{3, 1}}}));
  for (const char* type : {"ReduceSum", "ReduceMean", "ReduceMax"}) {
    specs.push_back(plain(type, image, {{"axes", List{2, 3}}, {"keepdims", int64_t{0}}}));
    specs.push_back(plain(type, image, {{"axes", List{1}}}));
  }
  specs.push_back(several("MatMul", {{2, 1, 19, 33}, {2, 3, 33, 21}}, {}));
  return specs;
}

std::vector<OpSpec> others() {
  const Shape image{5, 9, 7}, wide{64, 4, 4};
  std::vector<OpSpec> specs = {
      pool_spec("MaxPool", {2, 2}, {2, 2}, {0, 0, 0, 0}),
      pool_spec("MaxPool", {3, 2}, {2, 1}, {1, 1, 1, 0}, "Relu"),
      pool_spec("AveragePool", {2, 3}, {2, 2}, {0, 1, 1, 1}),
      pool_spec("MaxPool", {3}, {2}, {1, 1}, "", {6, 17}),
      pool_spec("MaxPool", {2, 2, 3}, {2, 1, 2}, {1, 0, 1, 0, 1, 0}, "", {4, 6, 5, 7}),
      pool_spec("AveragePool", {2, 2, 3}, {2, 1, 2}, {1, 0, 1, 0, 1, 0}, "", {4, 6, 5, 7}),
      plain("GlobalAveragePool", image),
      plain("GlobalAveragePool", {4, 6, 5, 7}),
      plain("GlobalMaxPool", image),
      plain("Transpose", image, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}),
      plain("Transpose", {6, 17}, {{"perm", std::vector<int64_t>{0, 2, 1}}}),
      plain("BatchNormalization", image, {}, {{5}, {5}, {5}, {5}}),
      plain("BatchNormalization", wide, {}, {{64}, {64}, {64}, {64}}, "Relu"),
      plain("BatchNormalization", {13}, {}, {{13}, {13}, {13}, {13}}),
      plain("BatchNormalization", image, {{"training_mode", int64_t{0}}}, {{5}, {5}, {5}, {5}}, "Relu"),
      plain("LayerNormalization", {301}, {}, {{301}, {301}}),
      plain("LayerNormalization", {2048}, {}, {{2048}, {2048}}),
      plain("LayerNormalization", {9001}, {}, {{9001}, {9001}}),
      plain("LayerNormalization", {5, 9, 7}, {{"axis", int64_t{1}}}, {{5, 9, 7}, {5, 9, 7}}),
      plain("RMSNormalization", {301}, {}, {{301}}),
      plain("RMSNormalization", {2048}, {}, {{2048}}),
      plain("RMSNormalization", {9001}, {}, {{9001}}),
      plain("RMSNormalization", {5, 9, 7}, {{"axis", int64_t{1}}}, {{5, 9, 7}}),
      plain("PRelu", image, {}, {{image[0], 1, 1}}),
      plain("PRelu", {301}, {}, {{301}}),
      plain("PRelu", {301}, {}, {{1}}),
      plain("Dropout", image, {{"ratio", 0.4}}),
      plain("Flatten", image),
      plain("Identity", image),
      plain("Softmax", {11}),
  };
  for (const char* type : {"Relu", "LeakyRelu", "Elu", "Selu", "Gelu", "Sigmoid", "HardSigmoid", "Tanh",
                           "Softplus", "Swish", "Mish"})
    specs.push_back(plain(type, {1003}));
  specs.push_back(plain("Gelu", {1003}, {{"approximate", std::string("tanh")}}));
  specs.push_back(plain("LayerNormalization", {5, 48}, {}, {{48}, {48}}));
  specs.push_back(plain("Add", {5, 13}, {}, {{5, 13}}, "Relu"));
  specs.push_back(plain("Add", image, {}, {{image[0], 1, 1}}));
  for (const int64_t causal : {0, 1})
    specs.push_back(
        plain("Attention", {37, (4 + 2 * 2) * 5},
              {{"q_num_heads", int64_t{4}}, {"kv_num_heads", int64_t{2}}, {"is_causal", causal}}));
  const SparseMatrix triangle{3, 3, {0, 1, 3, 4}, {1, 2, 0, 2}, {2, 3, 1, 4}};
  specs.push_back(
      plain("SparseMatMul", {3, 13}, {{"matrix", std::make_shared<const SparseMatrix>(triangle)}}));
  OpSpec concat = plain("Concat", image, {{"axis", int64_t{2}}});
  concat.inputs = {image, {5, 2, 7}, image};
  specs.push_back(concat);
  for (const char* type : {"RNN", "LSTM", "GRU"})
    for (const Attributes& attributes : recurrent_attributes(type))
      specs.push_back(
          recurrent({.type = type, .samples = 5, .inputs = 7, .units = 9, .attributes = attributes}));
  specs.push_back(
      recurrent({.type = "GRU", .samples = 1, .steps = 1, .inputs = 1, .units = 1, .bias = false}));
  OpSpec add = plain("Add", image, {}, {}, "Relu");
  add.inputs = {image, image};
  specs.push_back(add);
  for (const OpSpec& spec : broadcast_ones()) specs.push_back(spec);
  for (const OpSpec& spec : moving_ones()) specs.push_back(spec);
  return specs;
}

/// |got - want| / |want| in the Euclidean norm; 1 for NaN.
double distance(const Floats& got, const Floats& want) {
  if (got.size() != want.size()) return 1;
  double error = 0, size = 1e-30;
  for (size_t i = 0; i < got.size(); ++i) {
    const double e = static_cast<double>(got[i]) - static_cast<double>(want[i]);
    error += e * e;
    size += static_cast<double>(want[i]) * static_cast<double>(want[i]);
  }
  const double ratio = std::sqrt(error / size);
  return std::isnan(ratio) ? 1 : ratio;
}

void expect_close(const Results& got, const Results& want, double tolerance, const std::string& what) {
  EXPECT_LE(distance(got.output, want.output), tolerance) << what << ": output";
  const auto expect_all = [&](const std::vector<Floats>& a, const std::vector<Floats>& b, const char* part) {
    ASSERT_EQ(a.size(), b.size()) << what;
    for (size_t i = 0; i < a.size(); ++i) EXPECT_LE(distance(a[i], b[i]), tolerance) << what << part << i;
  };
  expect_all(got.statistics, want.statistics, ": statistic ");
  expect_all(got.input_gradients, want.input_gradients, ": input gradient ");
  expect_all(got.parameter_gradients, want.parameter_gradients, ": parameter gradient ");
}

Results run_on(Rig& rig, const OpSpec& spec, const Operands& operands) {
  DeviceRun run(rig, spec);
  run.upload(operands);
  run.enqueue();
  return run.results();
}

void check_device_ops(Rig& rig, const std::vector<OpSpec>& specs, double tolerance) {
  uint32_t seed = 11;
  for (const OpSpec& open : specs)
    for (const bool training : {true, false}) {
      OpSpec spec = completed(open);
      spec.training = training;
      Operands operands = random_operands(spec, ++seed);
      if (spec.type == "BatchNormalization")
        for (float& variance : operands.parameters[3]) variance = std::abs(variance) + 0.1f;
      const std::string what = spec.type + " " + spec.activation + " " + shape_text(spec.inputs[0]);
      Results got = run_on(rig, spec, operands), want = run_op(spec, operands);
      const Results again = run_on(rig, spec, operands);
      if (int_attribute(spec.attributes, "training_mode", 1) == 0) {  // nothing is written there
        got.statistics.clear();
        want.statistics.clear();
      }
      expect_close(got, want, tolerance, what);
      expect_bits(again.output, got.output, what);
      for (size_t i = 0; i < got.parameter_gradients.size(); ++i)
        expect_bits(again.parameter_gradients[i], got.parameter_gradients[i], what);
      rig.clear();
    }
}

class DeviceOps : public OnDevice {};
INSTANTIATE_TEST_SUITE_P(Device, DeviceOps, every_device(), device_name);

TEST_P(DeviceOps, ProductsAreTheHosts) {
  Rig rig(GetParam());
  check_device_ops(rig, products(), 2e-6);
}

TEST_P(DeviceOps, TheOthersAreTheHosts) {
  Rig rig(GetParam());
  check_device_ops(rig, others(), 2e-6);
}

TEST_P(DeviceOps, GatherIsTheHostsToTheBit) {
  Rig rig(GetParam());
  OpSpec open = plain("Gather", {29}, {}, {{40, 33}});
  open.input_needs_gradient = {false};
  const OpSpec spec = completed(open);
  Operands operands = random_operands(spec, 5);
  for (float& number : operands.inputs[0]) number = std::floor((number + 1) / 2 * 40);
  const Results got = run_on(rig, spec, operands), want = run_op(spec, operands);
  expect_bits(got.output, want.output, spec.type);
  expect_bits(got.parameter_gradients[0], want.parameter_gradients[0], spec.type);
}

TEST_P(DeviceOps, RecurrentOnesEndWhereTheSampleDoes) {
  Rig rig(GetParam());
  for (const char* type : {"RNN", "LSTM", "GRU"})
    for (const Attributes& attributes : recurrent_attributes(type)) {
      const OpSpec spec = completed(recurrent(
          {.type = type, .samples = 5, .inputs = 7, .units = 9, .attributes = attributes, .lengths = true}));
      Operands operands = recurrent_operands(spec);
      operands.inputs[1][4] = 0;
      const Results got = run_on(rig, spec, operands), want = run_op(spec, operands);
      EXPECT_LE(distance(got.output, want.output), 2e-6) << type;
      EXPECT_LE(distance(got.input_gradients[0], want.input_gradients[0]), 2e-6) << type;
      for (size_t i = 0; i < 3; ++i)
        EXPECT_LE(distance(got.parameter_gradients[i], want.parameter_gradients[i]), 2e-6) << type << i;
      rig.clear();
    }
}

TEST_P(DeviceOps, AttentionAndPoolsEndWhereTheSampleDoes) {
  Rig rig(GetParam());
  const Attributes plainly = {{"q_num_heads", int64_t{4}}, {"kv_num_heads", int64_t{2}}};
  Attributes causal = plainly;
  causal["is_causal"] = int64_t{1};
  std::vector<OpSpec> specs = {plain("Attention", {37, (4 + 2 * 2) * 5}, plainly),
                               plain("Attention", {37, (4 + 2 * 2) * 5}, causal),
                               plain("Attention", {37, 20}, plainly),
                               plain("GlobalAveragePool", {13, 37}),
                               plain("GlobalMaxPool", {13, 37}),
                               plain("GlobalAveragePool", {16, 37})};
  specs[2].inputs = {{37, 20}, {29, 10}, {29, 14}};
  const auto compare = [&](OpSpec open, int64_t width, const Floats& last) {
    open.samples = 5;
    open.input_needs_gradient.assign(open.inputs.size(), true);
    open.inputs.push_back({width});
    open.input_needs_gradient.push_back(false);
    const OpSpec spec = completed(open);
    Operands operands = random_operands(spec, 5);
    operands.inputs.back() = last;
    const Results got = run_on(rig, spec, operands), want = run_op(spec, operands);
    EXPECT_LE(distance(got.output, want.output), 2e-6) << spec.type;
    for (size_t i = 0; i + 1 < spec.inputs.size(); ++i)
      EXPECT_LE(distance(got.input_gradients[i], want.input_gradients[i]), 2e-6) << spec.type << i;
    rig.clear();
  };
  for (const OpSpec& open : specs) compare(open, 1, {37, 33, 1, 0, 12});
  for (size_t i = 0; i < 3; ++i) {  // masks: of keys, all of them and none
    const int64_t keys = specs[i].inputs.back().front();
    Floats mask(static_cast<size_t>(5 * keys));
    for (size_t k = 0; k < mask.size(); ++k) mask[k] = k % 3 == 0 ? 0.0f : 1.0f;
    std::fill_n(mask.begin(), keys, 1.0f);
    std::fill_n(mask.begin() + 3 * keys, keys, 0.0f);
    compare(specs[i], keys, mask);
  }
}

TEST_P(DeviceOps, ElementwiseOnesAndMasksAreTheHostsToTheBit) {
  Rig rig(GetParam());
  for (const OpSpec& open : others()) {
    static const std::set<std::string> summed = {"Attention", "MatMul", "Expand", "RNN", "LSTM", "GRU"};
    if (summed.contains(open.type) || open.type.ends_with("Normalization") ||
        open.type.ends_with("Softmax") || open.type.ends_with("AveragePool") ||
        open.type.starts_with("Reduce"))
      continue;
    const OpSpec spec = completed(open);
    const Operands operands = random_operands(spec, 5);
    const Results got = run_on(rig, spec, operands), want = run_op(spec, operands);
    expect_bits(got.output, want.output, spec.type);
    expect_bits(got.input_gradients[0], want.input_gradients[0], spec.type);
    rig.clear();
  }
}

TEST_P(DeviceOps, RootsPowersAndQuotientsAreTheHostsToTheBit) {
  Rig rig(GetParam());
  for (const char* type : {"Sqrt", "Log", "Reciprocal", "Div", "Pow"}) {
    OpSpec open = plain(type, {5, 9, 7});
    if (type[0] == 'D' || type[0] == 'P') open.inputs.push_back({5, 1, 1});
    const OpSpec spec = completed(open);
    Operands operands = random_operands(spec, 5);
    for (Floats& array : operands.inputs)
      for (float& x : array) x = std::abs(x) + 0.1f;
    const Results got = run_on(rig, spec, operands), want = run_op(spec, operands);
    expect_bits(got.output, want.output, spec.type);
    expect_bits(got.input_gradients[0], want.input_gradients[0], spec.type);
    expect_close(got, want, 2e-6, spec.type);
    rig.clear();
  }
}

class TensorCores : public OnDevice {};
INSTANTIATE_TEST_SUITE_P(Device, TensorCores, ::testing::Values("cuda"), device_name);

TEST_P(TensorCores, RoundOperandsOnly) {
  Rig tf32(GetParam(), Precision::tf32), bf16(GetParam(), Precision::bf16);
  check_device_ops(tf32, products(), 2e-3);
  check_device_ops(bf16, products(), 1e-2);
}

TEST_P(DeviceOps, AddsAndFindsWhatIsNotFinite) {
  Rig rig(GetParam());
  for (const int64_t count : {1, 31, 1003, 100'000}) {
    Floats into = random_floats(count, 1), from = random_floats(count, 2);
    float* const sum = rig.up(into);
    rig.engine.arithmetic->add(sum, rig.up(from), count);
    for (size_t i = 0; i < into.size(); ++i) into[i] += from[i];
    expect_bits(rig.down(sum, count), into, "sum");
    EXPECT_TRUE(rig.engine.arithmetic->all_finite(sum, count));
    into[static_cast<size_t>(count) / 2] = -std::numeric_limits<float>::infinity();
    EXPECT_FALSE(rig.engine.arithmetic->all_finite(rig.up(into), count));
  }
}

}  // namespace
}  // namespace lepton::ops
