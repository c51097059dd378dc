// SPDX-License-Identifier: Apache-2.0
// Shapes and steps of operands that are broadcast; see the header. Also the rules of layouts and shapes of
// elementwise operators.
#include "ops/broadcast.h"

#include <algorithm>

namespace lepton::ops {

namespace {

/// Without the batch dimension of 1 that a parameter may have; with as many dimensions as `rank`.
Shape aligned(Shape shape, size_t rank) {
  if (shape.size() == rank + 1 && shape.front() == 1) shape.erase(shape.begin());
  if (shape.size() < rank) shape.insert(shape.begin(), rank - shape.size(), 1);
  return shape;
}

Shape steps_of(const Shape& dimensions) {
  Shape steps(dimensions.size(), 1);
  for (size_t d = dimensions.size(); d-- > 1;) steps[d - 1] = steps[d] * dimensions[d];
  return steps;
}

/// Steps along samples and the dimensions as they lie, 0 where the operand is the same.
Shape laid_steps(const LaidShape& operand, size_t rank, Layout layout) {
  const Shape shape = aligned(operand.shape, rank), memory = in_memory(shape, layout);
  Shape steps = operand.per_sample ? steps_of(memory) : in_memory(steps_of(shape), layout);
  for (size_t d = 0; d < rank; ++d)
    if (memory[d] == 1) steps[d] = 0;
  steps.insert(steps.begin(), operand.per_sample ? element_count(shape) : 0);
  return steps;
}

/// One for each channel, [C, 1, ...]?
bool is_by_channel(const Shape& shape) {
  return shape.size() > 1 && shape.front() == element_count(shape);
}

const std::pair<const char*, ElementwiseKind> kinds[] = {
    {"Neg", ElementwiseKind::neg},
    {"Abs", ElementwiseKind::abs},
    {"Sqrt", ElementwiseKind::sqrt},
    {"Exp", ElementwiseKind::exp},
    {"Log", ElementwiseKind::log},
    {"Erf", ElementwiseKind::erf},
    {"Reciprocal", ElementwiseKind::reciprocal},
    {"Clip", ElementwiseKind::clip},
    {"Sign", ElementwiseKind::sign},
    {"Floor", ElementwiseKind::floor},
    {"Ceil", ElementwiseKind::ceil},
    {"Not", ElementwiseKind::logical_not},
    {"Add", ElementwiseKind::add},
    {"Sub", ElementwiseKind::sub},
    {"Mul", ElementwiseKind::mul},
    {"Div", ElementwiseKind::div},
    {"Pow", ElementwiseKind::pow},
    {"Min", ElementwiseKind::min},
    {"Max", ElementwiseKind::max},
    {"Equal", ElementwiseKind::equal},
    {"Greater", ElementwiseKind::greater},
    {"Less", ElementwiseKind::less},
    {"Where", ElementwiseKind::where},
};

}  // namespace

std::vector<Operand> operands_of(const OpSpec& spec) {
  const size_t values = spec.inputs.size(), parameters = spec.parameters.size(), count = values + parameters;
  std::vector<int64_t> places = ints_attribute(spec.attributes, "parameter_at", {});
  const int64_t first = int_attribute(spec.attributes, "parameter_first", 0);
  require_shape(places.empty() || !spec.attributes.contains("parameter_first"),
                spec.type + " takes parameter_first or parameter_at, not both");
  if (places.empty())
    for (size_t k = 0; k < parameters; ++k) places.push_back(static_cast<int64_t>(first ? k : values + k));
  const bool fits = places.size() == parameters && std::is_sorted(places.begin(), places.end()) &&
                    std::adjacent_find(places.begin(), places.end()) == places.end() &&
                    (places.empty() || (places.front() >= 0 && places.back() < static_cast<int64_t>(count)));
  require_shape(fits, spec.type + " parameter_at " + shape_text(places) + " are not the places of its " +
                          std::to_string(parameters) + " parameters, ascending");
  std::vector<Operand> operands;
  for (size_t at = 0, value = 0, parameter = 0; at < count; ++at) {
    const bool is_parameter = parameter < parameters && places[parameter] == static_cast<int64_t>(at);
    operands.push_back({is_parameter, is_parameter ? parameter++ : value++});
  }
  return operands;
}

Broadcast broadcast_of(int64_t samples, const Shape& large, Layout layout,
                       const std::vector<LaidShape>& operands) {
  Shape sizes = in_memory(large, layout);
  sizes.insert(sizes.begin(), samples);
  std::vector<Shape> steps;
  Broadcast result;
  for (size_t k = 0; k < operands.size(); ++k) {
    steps.push_back(laid_steps(operands[k], large.size(), layout));
    result.own[k] = element_count(operands[k].shape) * (operands[k].per_sample ? samples : 1);
  }
  int& count = result.dimensions;
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] == 1) continue;
    bool joins = count > 0;
    for (size_t k = 0; k < operands.size(); ++k)
      joins = joins && result.step[k][count - 1] == steps[k][d] * sizes[d];
    if (!joins) {
      require_shape(count < broadcast_most, "operands of " + shape_text(large) + " need too many dimensions");
      result.size[count++] = 1;
    }
    result.size[count - 1] *= sizes[d];
    for (size_t k = 0; k < operands.size(); ++k) result.step[k][count - 1] = steps[k][d];
  }
  if (count == 0) result.size[count++] = 1;
  result.count = samples * element_count(large);
  for (size_t k = 0; k < operands.size(); ++k) {
    int64_t step = 1;
    result.whole[k] = true;
    for (int d = count; d-- > 0; step *= result.size[d])
      result.whole[k] = result.whole[k] && (result.size[d] == 1 || result.step[k][d] == step);
  }
  return result;
}

Broadcast broadcast_of(const OpSpec& spec) {
  std::vector<LaidShape> shapes;
  for (const Operand& operand : operands_of(spec))
    shapes.push_back({operand.shape(spec), !operand.is_parameter});
  return broadcast_of(spec.samples, spec.output, spec.output_layout, shapes);
}

Elementwise elementwise_of(const OpSpec& spec) {
  const auto* found = std::find_if(std::begin(kinds), std::end(kinds),
                                   [&](const auto& row) { return spec.type == row.first; });
  CHECK(found != std::end(kinds), "elementwise " + spec.type);
  Elementwise f{found->second};
  if (f.kind == ElementwiseKind::clip) {
    f.low = static_cast<float>(float_attribute(spec.attributes, "min", static_cast<double>(f.low)));
    f.high = static_cast<float>(float_attribute(spec.attributes, "max", static_cast<double>(f.high)));
    require_shape(f.low <= f.high, "Clip needs min <= max");
  }
  return f;
}

Shape infer_elementwise(const OpSpec& spec) {
  const int wanted = elementwise_of(spec).operands();
  const std::vector<Operand> operands = operands_of(spec);
  static const char* const numbers[] = {"", "one operand", "two operands", "three operands"};
  require_shape(std::ssize(operands) == wanted, spec.type + " needs " + numbers[wanted]);
  const size_t rank = spec.inputs[0].size();
  Shape output(rank, 1);
  std::string texts;
  for (const Operand& operand : operands) {
    if (!texts.empty()) texts += " and ";
    texts += std::string(operand.is_parameter ? "a parameter " : "") + shape_text(operand.shape(spec));
  }
  for (const Operand& operand : operands) {
    const Shape shape = aligned(operand.shape(spec), rank);
    require_shape(shape.size() == rank && (operand.is_parameter || operand.shape(spec).size() == rank),
                  spec.type + " cannot combine " + texts + ": values need as many dimensions, and one " +
                      "parameter serves all samples");
    for (size_t d = 0; d < rank; ++d) {
      require_shape(shape[d] == output[d] || shape[d] == 1 || output[d] == 1,
                    spec.type + " cannot combine " + texts);
      output[d] = std::max(output[d], shape[d]);
    }
  }
  return output;
}

Layouts lay_broadcast(const OpSpec& spec) {
  size_t largest = 0;
  for (size_t k = 1; k < spec.inputs.size(); ++k)
    if (element_count(spec.inputs[k]) > element_count(spec.inputs[largest])) largest = k;
  Layout layout = spec.layouts[largest];
  const size_t rank = spec.inputs[0].size();
  bool other = false;
  for (const Shape& parameter : spec.parameters) {
    if (element_count(parameter) == 1) continue;
    const bool channels = rank > 1 && is_by_channel(aligned(parameter, rank));
    if (channels) layout = Layout::channels_last;
    other = other || !channels;
  }
  if (other) layout = Layout::plain;
  return {std::vector<Layout>(spec.inputs.size(), layout), layout};
}

}  // namespace lepton::ops
