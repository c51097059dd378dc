// SPDX-License-Identifier: Apache-2.0
// What harness.h declares.
#include "ops/harness.h"

#include <cstring>
#include <random>

namespace lepton::ops::testing {

Floats random_floats(int64_t count, uint32_t seed, float low, float high) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  Floats values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(engine);
  return values;
}

Precision capped_for(Precision wanted) {
  static const Precision taken = [wanted] {
    cap_instruction_set("auto", wanted);
    return wanted;
  }();
  return taken;
}

void prepare_thread() {
  capped_for(Precision::fp32);
  prepare_compute_thread();
}

Numbers widen(const Floats& values) {
  return Numbers(values.begin(), values.end());
}

OpSpec completed(OpSpec spec) {
  if (spec.input_needs_gradient.empty()) spec.input_needs_gradient.assign(spec.inputs.size(), true);
  const OperatorRow& row = *find_operator(spec.type);
  spec.output = row.infer(spec);
  if (spec.layouts.empty())
    for (const Shape& shape : spec.inputs) spec.layouts.push_back(usual_layout(shape));
  const Layouts layouts = row.lay(spec);
  spec.layouts = layouts.inputs;
  spec.output_layout = layouts.output;
  return spec;
}

Operands random_operands(const OpSpec& spec, uint32_t seed) {
  Operands operands;
  for (const Shape& shape : spec.inputs)
    operands.inputs.push_back(random_floats(spec.samples * element_count(shape), seed++));
  for (const Shape& shape : spec.parameters)
    operands.parameters.push_back(random_floats(element_count(shape), seed++));
  operands.output_gradient = random_floats(spec.samples * element_count(spec.output), seed++);
  for (int64_t i = 0; i < spec.samples; ++i) operands.sample_ids.push_back(1000 + 7 * i);
  return operands;
}

namespace {

std::vector<const float*> pointers(const std::vector<Floats>& arrays) {
  std::vector<const float*> result;
  for (const Floats& array : arrays) result.push_back(array.data());
  return result;
}

/// The whole gradient of parameter 0 from the rows that were touched.
Floats spread(const GradientRows& touched, Poisoned& values, const OpSpec& spec) {
  Floats whole(static_cast<size_t>(element_count(spec.parameters[0])), 0.0f);
  for (size_t i = 0; i < touched.rows.size(); ++i)
    std::copy_n(values.floats() + static_cast<int64_t>(i) * touched.width, touched.width,
                whole.begin() + touched.rows[i] * touched.width);
  return whole;
}

}  // namespace

Results run_op(Op& op, const OpSpec& spec, const Operands& operands) {
  const int statistics = find_operator(spec.type)->statistics;
  const size_t outputs = static_cast<size_t>(spec.samples * element_count(spec.output));
  Poisoned saved(op.saved_bytes()), scratch(op.scratch_bytes()), output(outputs * 4);
  std::vector<Poisoned> statistic_memory, input_memory, parameter_memory;
  std::vector<float*> statistic_pointers, input_pointers, parameter_pointers;
  Results results;
  const auto inputs = pointers(operands.inputs), parameters = pointers(operands.parameters);
  const UnitContext unit{operands.sample_ids, &operands.step};
  const size_t own = spec.parameters.size() - static_cast<size_t>(statistics);
  for (size_t i = own; i < spec.parameters.size(); ++i)
    statistic_memory.emplace_back(static_cast<size_t>(element_count(spec.parameters[i])) * 4);
  if (spec.training)
    for (Poisoned& memory : statistic_memory) statistic_pointers.push_back(memory.floats());

  op.forward({inputs, parameters, output.floats(), statistic_pointers, saved.data(), scratch.data(), &unit});
  results.output.assign(output.floats(), output.floats() + outputs);
  for (size_t i = 0; i < statistic_pointers.size(); ++i)
    results.statistics.emplace_back(statistic_pointers[i],
                                    statistic_pointers[i] + element_count(spec.parameters[own + i]));
  EXPECT_TRUE(output.guard_intact() && saved.guard_intact() && scratch.guard_intact());
  if (!spec.training) return results;

  std::memset(scratch.data(), 0xff, op.scratch_bytes());
  const BackwardNeeds needs = op.backward_needs();
  const std::vector<const float*> nothing(spec.inputs.size(), nullptr);
  for (size_t i = 0; i < spec.inputs.size(); ++i)
    input_memory.emplace_back(static_cast<size_t>(spec.samples * element_count(spec.inputs[i])) * 4);
  for (size_t i = 0; i < own; ++i)
    parameter_memory.emplace_back(static_cast<size_t>(element_count(spec.parameters[i])) * 4);
  for (size_t i = 0; i < spec.inputs.size(); ++i)
    input_pointers.push_back(spec.input_needs_gradient[i] ? input_memory[i].floats() : nullptr);
  for (Poisoned& memory : parameter_memory) parameter_pointers.push_back(memory.floats());
  for (int i = 0; i < statistics; ++i) parameter_pointers.push_back(nullptr);

  const OpBackward run{needs.inputs ? std::span<const float* const>(inputs) : nothing,
                       parameters,
                       needs.output ? output.floats() : nullptr,
                       operands.output_gradient.data(),
                       input_pointers,
                       parameter_pointers,
                       saved.data(),
                       scratch.data(),
                       &unit};
  op.backward(run);
  const GradientParts parts = op.gradient_parts();
  Floats in_parts;
  for (int64_t part = 0; parts.count > 1 && part < parts.count; ++part) {
    op.backward_part(run, part);
    const int64_t left = element_count(spec.parameters[0]) - part * parts.elements;
    in_parts.insert(in_parts.end(), parameter_memory[0].floats(),
                    parameter_memory[0].floats() + std::min(parts.elements, left));
  }
  EXPECT_TRUE(scratch.guard_intact() && saved.guard_intact());
  for (size_t i = 0; i < spec.inputs.size(); ++i) {
    EXPECT_TRUE(input_memory[i].guard_intact());
    const size_t count = static_cast<size_t>(spec.samples * element_count(spec.inputs[i]));
    results.input_gradients.emplace_back(input_memory[i].floats(), input_memory[i].floats() + count);
  }
  for (size_t i = 0; i < own; ++i) {
    EXPECT_TRUE(parameter_memory[i].guard_intact());
    results.parameter_gradients.emplace_back(
        parameter_memory[i].floats(), parameter_memory[i].floats() + element_count(spec.parameters[i]));
  }
  if (parts.count > 1) results.parameter_gradients[0] = in_parts;
  if (parts.rows) results.parameter_gradients[0] = spread(op.gradient_rows(run), parameter_memory[0], spec);
  return results;
}

Results run_op(const OpSpec& spec, const Operands& operands) {
  prepare_thread();
  return run_op(*make_op(spec), spec, operands);
}

void expect_near(const Floats& got, const Numbers& want, double tolerance, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double largest = 1e-3;
  for (const double value : want) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(std::abs(static_cast<double>(got[i]) - want[i]) <= tolerance * largest)
        << what << " element " << i << ": " << got[i] << " instead of " << want[i];
}

Numbers differences(Numbers& values, const std::function<double()>& objective, double step) {
  Numbers derivative(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const double kept = values[i];
    values[i] = kept + step;
    const double above = objective();
    values[i] = kept - step;
    const double below = objective();
    values[i] = kept;
    derivative[i] = (above - below) / (2 * step);
  }
  return derivative;
}

void check_op(const OpSpec& open, const Reference& reference, double tolerance, const Operands* given) {
  const OpSpec spec = completed(open);
  const Operands operands = given ? *given : random_operands(spec);
  prepare_thread();
  const auto op = make_op(spec);
  const Results results = run_op(*op, spec, operands), again = run_op(*op, spec, operands);
  std::vector<Numbers> inputs, parameters;
  for (const Floats& array : operands.inputs) inputs.push_back(widen(array));
  for (const Floats& array : operands.parameters) parameters.push_back(widen(array));
  expect_near(results.output, reference(inputs, parameters), tolerance, "output");
  EXPECT_EQ(results.output, again.output);
  if (!spec.training) return;

  const auto objective = [&] {
    const Numbers output = reference(inputs, parameters);
    double sum = 0;
    for (size_t i = 0; i < output.size(); ++i)
      sum += output[i] * static_cast<double>(operands.output_gradient[i]);
    return sum;
  };
  for (size_t i = 0; i < inputs.size(); ++i)
    if (spec.input_needs_gradient[i]) {
      expect_near(results.input_gradients[i], differences(inputs[i], objective), 10 * tolerance,
                  "input gradient");
      EXPECT_EQ(results.input_gradients[i], again.input_gradients[i]);
    }
  for (size_t i = 0; i < results.parameter_gradients.size(); ++i) {
    expect_near(results.parameter_gradients[i], differences(parameters[i], objective), 10 * tolerance,
                "parameter gradient");
    EXPECT_EQ(results.parameter_gradients[i], again.parameter_gradients[i]);
  }
}

void expect_refused(const OpSpec& spec, const std::string& part) {
  try {
    find_operator(spec.type)->infer(spec);
    FAIL() << spec.type << " was not refused: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    EXPECT_TRUE(error.where().empty());
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

}  // namespace lepton::ops::testing
