// SPDX-License-Identifier: Apache-2.0
// Slice, Pad and Resize against the rules of axes by index, in both layouts, with gradients; Resize, Pad and
// Slice against onnxruntime (tests/ops/remap_golden.h); and the other way round: the readers of each input.
#include "ops/remap.h"

#include "ops/placed.h"
#include "ops/remap_golden.h"

namespace lepton::ops {
namespace {

using namespace testing;
using List = std::vector<int64_t>;

OpSpec remapped(const char* type, const Shape& input, Attributes attributes, Layout layout = Layout::plain) {
  return {.type = type,
          .attributes = std::move(attributes),
          .samples = 2,
          .training = true,
          .inputs = {input},
          .layouts = {layout}};
}

/// Sums over the taps of all axes, one after the other.
double mixed(const std::vector<AxisRule>& rules, size_t axis, const Shape& at, Shape& from, double value,
             const std::function<double(const Shape&)>& input) {
  if (axis == rules.size()) return input(from);
  const Taps taps = taps_of(rules[axis], at[axis]);
  double sum = taps.count == 0 ? value : 0;
  for (int t = 0; t < taps.count; ++t) {
    from[axis] = taps.index[t];
    sum += static_cast<double>(taps.weight[t]) * mixed(rules, axis + 1, at, from, value, input);
  }
  return sum;
}

void check_remap(const char* type, const Shape& input, const Attributes& attributes) {
  for (const Layout layout : {Layout::plain, Layout::channels_last}) {
    if (input.size() == 1 && layout != Layout::plain) continue;
    const OpSpec spec = completed(remapped(type, input, attributes, layout));
    const std::vector<AxisRule> rules = axis_rules(spec);
    check_op(spec, [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
      Numbers y(static_cast<size_t>(2 * element_count(spec.output)));
      for (int64_t s = 0; s < 2; ++s)
        for_each_index(spec.output, [&](const Shape& at) {
          Shape from(at.size(), 0);
          y[place(spec.output, layout, s, at)] =
              mixed(rules, 0, at, from, float_attribute(attributes, "constant_value", 0),
                    [&](const Shape& index) { return inputs[0][place(input, layout, s, index)]; });
        });
      return y;
    });
  }
}

TEST(Remap, Slices) {
  check_remap("Slice", {7}, {{"axes", List{1}}, {"starts", List{1}}, {"ends", List{6}}, {"steps", List{2}}});
  check_remap("Slice", {3, 5, 4},
              {{"axes", List{2, -1}}, {"starts", List{-4, 1}}, {"ends", List{INT64_MAX, 3}}});
  check_remap(
      "Slice", {3, 5},
      {{"axes", List{1, 2}}, {"starts", List{-1, 4}}, {"ends", List{INT64_MIN, 0}}, {"steps", List{-1, -2}}});
}

TEST(Remap, Pads) {
  for (const char* mode : {"constant", "reflect", "edge"}) {
    check_remap(
        "Pad", {3, 4, 5},
        {{"mode", std::string(mode)}, {"pads", List{0, 0, 1, 2, 0, 0, 2, 4}}, {"constant_value", 0.5}});
    check_remap("Pad", {5}, {{"mode", std::string(mode)}, {"axes", List{1}}, {"pads", List{3, -1}}});
    check_remap("Pad", {2, 3}, {{"mode", std::string(mode)}, {"axes", List{-2}}, {"pads", List{1, 1}}});
  }
}

TEST(Remap, Resizes) {
  for (const char* mode : {"nearest", "linear"})
    for (const char* coordinates : {"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"}) {
      const Attributes common = {{"mode", std::string(mode)},
                                 {"coordinate_transformation_mode", std::string(coordinates)}};
      const auto with = [&](const char* name, const Attribute& value) {
        Attributes attributes = common;
        attributes[name] = value;
        return attributes;
      };
      check_remap("Resize", {2, 3, 4}, with("scales", std::vector<double>{1, 1, 2, 1.7}));
      check_remap("Resize", {2, 5, 4}, with("sizes", List{1, 2, 3, 9}));
      check_remap("Resize", {2, 3}, with("scales", std::vector<double>{1, 1, 0.6}));
    }
  check_remap("Resize", {2, 2, 3, 2}, {{"mode", std::string("linear")}, {"scales", List{1, 1, 2, 2, 2}}});
  check_remap("Resize", {3, 4}, {{"axes", List{2}}, {"sizes", List{6}}});
}

/// readers_of() and reader_of() name every output that reads an input, once, in order.
TEST(Remap, ReadersAreComplete) {
  std::vector<AxisRule> rules;
  for (const int64_t start : {-2, 0, 3})
    for (const AxisKind kind : {AxisKind::pad_constant, AxisKind::pad_edge, AxisKind::pad_reflect})
      rules.push_back({.kind = kind, .in = 5, .out = 5 + start + 2, .start = start});
  rules.push_back({.kind = AxisKind::slice, .in = 9, .out = 3, .start = 7, .step = -3});
  for (int coordinates = 0; coordinates < 4; ++coordinates)
    for (int rounding = 0; rounding < 4; ++rounding)
      for (const int64_t in : {1, 2, 7})
        for (const int64_t out : {1, 2, 3, 7, 19})
          for (const AxisKind kind : {AxisKind::nearest, AxisKind::linear})
            rules.push_back({.kind = kind,
                             .in = in,
                             .out = out,
                             .coordinates = static_cast<Coordinates>(coordinates),
                             .rounding = static_cast<Rounding>(rounding),
                             .scale = static_cast<double>(out) / static_cast<double>(in)});
  for (const AxisRule& rule : rules)
    for (int64_t j = 0; j < rule.in; ++j) {
      std::vector<int64_t> wanted, found;
      for (int64_t i = 0; i < rule.out; ++i)
        if (weight_of(rule, i, j) != 0.0f) wanted.push_back(i);
      const Readers readers = readers_of(rule, j);
      for (int64_t k = 0; k < readers.count; ++k) {
        const int64_t i = reader_of(rule, readers, j, k);
        if (i >= 0 && weight_of(rule, i, j) != 0.0f) found.push_back(i);
      }
      EXPECT_EQ(found, wanted) << static_cast<int>(rule.kind) << " " << rule.in << " " << rule.out << " of "
                               << j;
    }
}

TEST(Remap, IsWhatOnnxruntimeGives) {
  for (const RemapGolden& golden : remap_golden) {
    OpSpec spec = remapped(golden.type, golden.input, golden.attributes);
    spec.samples = 1;
    spec.training = false;
    spec = completed(spec);
    ASSERT_EQ(spec.output, golden.output) << golden.name;
    Operands operands = random_operands(spec);
    for (size_t i = 0; i < operands.inputs[0].size(); ++i)
      operands.inputs[0][i] = static_cast<float>(i * i % 23) - 11.0f;
    const Floats got = run_op(spec, operands).output;
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i], golden.values[i], 2e-5) << golden.name << " element " << i;
  }
}

}  // namespace
}  // namespace lepton::ops
