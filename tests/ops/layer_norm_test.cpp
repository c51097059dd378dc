// SPDX-License-Identifier: Apache-2.0
// LayerNormalization and RMSNormalization against double: axes, images in ONNX order, without B, refusals.
#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec layer_norm(int64_t n, const Shape& input, const Shape& row, int64_t axis, bool shift = true) {
  OpSpec spec{.type = "LayerNormalization",
              .attributes = {{"axis", axis}},
              .samples = n,
              .training = true,
              .inputs = {input},
              .parameters = {row}};
  if (shift) spec.parameters.push_back(row);
  return spec;
}

// `place` maps an element of a row in memory to its parameter.
Reference layer_norm_reference(size_t width, double epsilon, const std::function<size_t(size_t)>& place) {
  return [=](const std::vector<Numbers>& inputs, const std::vector<Numbers>& p) {
    Numbers y;
    for (size_t row = 0; row < inputs[0].size(); row += width) {
      double mean = 0, variance = 0;
      for (size_t i = 0; i < width; ++i) mean += inputs[0][row + i] / static_cast<double>(width);
      for (size_t i = 0; i < width; ++i)
        variance += std::pow(inputs[0][row + i] - mean, 2) / static_cast<double>(width);
      for (size_t i = 0; i < width; ++i)
        y.push_back((inputs[0][row + i] - mean) / std::sqrt(variance + epsilon) * p[0][place(i)] +
                    (p.size() > 1 ? p[1][place(i)] : 0));
    }
    return y;
  };
}

size_t same(size_t i) {
  return i;
}

TEST(LayerNorm, Vectors) {
  for (const int64_t width : {3, 16, 37}) {
    check_op(layer_norm(5, {width}, {width}, -1),
             layer_norm_reference(static_cast<size_t>(width), 1e-5, same), 4e-6);
    check_op(layer_norm(5, {width}, {width}, 1), layer_norm_reference(static_cast<size_t>(width), 1e-5, same),
             4e-6);
  }
  check_op(layer_norm(5, {19}, {19}, -1, false), layer_norm_reference(19, 1e-5, same), 4e-6);
}

TEST(LayerNorm, AxisOfSequences) {
  check_op(layer_norm(2, {3, 7}, {7}, -1), layer_norm_reference(7, 1e-5, same), 4e-6);
  check_op(layer_norm(2, {3, 7}, {3, 7}, 1), layer_norm_reference(21, 1e-5, same), 4e-6);
}

TEST(LayerNorm, ImagesHaveParametersInOnnxOrder) {
  // Memory: pixel p of 6, channel c of 5; parameters: channel by channel.
  check_op(layer_norm(2, {5, 2, 3}, {5, 2, 3}, 1),
           layer_norm_reference(30, 1e-5, [](size_t i) { return i % 5 * 6 + i / 5; }), 4e-6);
}

OpSpec rms_norm(int64_t n, const Shape& input, const Shape& row, int64_t axis) {
  OpSpec spec = layer_norm(n, input, row, axis, false);
  spec.type = "RMSNormalization";
  return spec;
}

Reference rms_reference(size_t width, double epsilon, const std::function<size_t(size_t)>& place) {
  return [=](const std::vector<Numbers>& inputs, const std::vector<Numbers>& p) {
    Numbers y;
    for (size_t row = 0; row < inputs[0].size(); row += width) {
      double square = 0;
      for (size_t i = 0; i < width; ++i)
        square += std::pow(inputs[0][row + i], 2) / static_cast<double>(width);
      for (size_t i = 0; i < width; ++i)
        y.push_back(inputs[0][row + i] / std::sqrt(square + epsilon) * p[0][place(i)]);
    }
    return y;
  };
}

TEST(RmsNorm, VectorsSequencesAndImages) {
  for (const int64_t width : {3, 16, 37})
    check_op(rms_norm(5, {width}, {width}, -1), rms_reference(static_cast<size_t>(width), 1e-5, same), 4e-6);
  check_op(rms_norm(2, {3, 7}, {7}, -1), rms_reference(7, 1e-5, same), 4e-6);
  check_op(rms_norm(2, {5, 2, 3}, {5, 2, 3}, 1),
           rms_reference(30, 1e-5, [](size_t i) { return i % 5 * 6 + i / 5; }), 4e-6);
  OpSpec spec = rms_norm(2, {9}, {9}, -1);
  spec.attributes["epsilon"] = 0.2;
  check_op(spec, rms_reference(9, 0.2, same), 4e-6);
}

TEST(RmsNorm, HasNoShift) {
  OpSpec spec = layer_norm(2, {9}, {9}, -1);
  spec.type = "RMSNormalization";
  expect_refused(spec, "scale alone");
}

TEST(LayerNorm, Epsilon) {
  OpSpec spec = layer_norm(2, {9}, {9}, -1);
  spec.attributes["epsilon"] = 0.2;
  check_op(spec, layer_norm_reference(9, 0.2, same), 4e-6);
}

TEST(LayerNorm, InferenceGivesTheSameBits) {
  OpSpec spec = completed(layer_norm(2, {9}, {9}, -1));
  const Operands operands = random_operands(spec);
  const Floats want = run_op(spec, operands).output;
  spec.training = false;
  EXPECT_EQ(run_op(spec, operands).output, want);
}

TEST(LayerNorm, RefusesWhatDoesNotFit) {
  expect_refused(layer_norm(2, {9}, {8}, -1), "[8] does not fit the normalised dimensions [9]");
  expect_refused(layer_norm(2, {9}, {9}, 2), "no axis 2");
  expect_refused(layer_norm(2, {5, 2, 3}, {5, 2, 3}, -1), "normalised dimensions [3]");
}

}  // namespace
}  // namespace lepton::ops
