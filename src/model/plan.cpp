// SPDX-License-Identifier: Apache-2.0
// Planning one unit size: fusion, liveness, in-place decisions and binding; see the header. Two arrays share
// a place outright where an op may work in place and nobody else still reads what it overwrites.
#include "model/plan.h"

#include <algorithm>

#include "base/error.h"
#include "base/philox.h"
#include "ops/table.h"

namespace lepton::model {

Plan::Plan(const Graph& graph, uint64_t seed, int64_t samples, bool training, ops::Arithmetic& arithmetic)
    : graph_(graph),
      arithmetic_(arithmetic),
      samples_(samples),
      training_(training),
      needs_gradient_(values_needing_gradient(graph)),
      value_ranges_(graph.values.size(), -1),
      gradient_ranges_(graph.values.size(), -1) {
  CHECK(samples > 0, "a unit holds samples");
  fuse_and_make_ops(seed);
  place_values();
  if (training_) place_gradients();
  place_workspaces();
  memory_ = plan_memory(ranges_);
}

int64_t Plan::elements(int value) const {
  return samples_ * element_count(graph_.values[value].shape);
}

RangeIndex Plan::add_range(size_t bytes, int begin, int end) {
  ranges_.push_back({bytes, begin, end});
  return static_cast<RangeIndex>(ranges_.size()) - 1;
}

void Plan::extend(RangeIndex range, int time) {
  ranges_[range].end = std::max(ranges_[range].end, time);
}

ops::OpSpec Plan::op_spec(const Node& node, const Node* activation, uint64_t random_key) const {
  ops::OpSpec spec;
  spec.type = node.type;
  spec.attributes = node.attributes;
  if (activation != nullptr) {
    spec.activation = activation->type;
    spec.activation_attributes = activation->attributes;
  }
  spec.samples = samples_;
  spec.training = training_;
  for (const int input : node.inputs) {
    spec.inputs.push_back(graph_.values[input].shape);
    spec.layouts.push_back(graph_.values[input].layout);
    spec.input_needs_gradient.push_back(training_ && needs_gradient_[input]);
  }
  for (const int tensor : node.parameters) spec.parameters.push_back(graph_.layout.tensors()[tensor].shape);
  spec.output = graph_.values[node.output].shape;
  spec.output_layout = graph_.values[node.output].layout;
  spec.random_key = random_key;
  return spec;
}

/// Index of the only node that reads each value; -1: none or several.
static std::vector<int> only_readers(const Graph& graph) {
  std::vector<int> readers(graph.values.size(), 0), last(graph.values.size(), -1);
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    for (const int input : graph.nodes[i].inputs) {
      ++readers[input];
      last[input] = static_cast<int>(i);
    }
  for (size_t value = 0; value < last.size(); ++value)
    if (readers[value] != 1) last[value] = -1;
  return last;
}

/// Two ways to join an activation with a neighbour, when nobody else reads what is between: with the operator
/// before it, if that takes it; and a Relu in front of a MaxPool behind that, where it has fewer elements and
/// costs no pass of its own in backward (the two commute, gradients included).
void Plan::fuse_and_make_ops(uint64_t seed) {
  const std::vector<Node>& nodes = graph_.nodes;
  const std::vector<int> reader = only_readers(graph_);
  std::vector<const Node*> behind(nodes.size(), nullptr);  // the Relu that goes behind a pool
  std::vector<bool> fused(nodes.size(), false);
  for (size_t i = 0; i < nodes.size(); ++i) {
    const int next = reader[nodes[i].output];
    if (nodes[i].type != "Relu" || next < 0 || nodes[next].type != "MaxPool") continue;
    behind[next] = &nodes[i];
    fused[i] = true;
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (fused[i]) continue;
    const Node& node = nodes[i];
    const ops::OperatorRow* row = ops::find_operator(node.type);
    CHECK(row != nullptr, node.type);
    const Node* activation = behind[i];
    Step step;
    step.inputs = activation == nullptr ? node.inputs : activation->inputs;
    step.output = node.output;
    if (const int next = reader[node.output]; activation == nullptr && next >= 0 && !fused[next])
      if (nodes[next].parameters.empty() && nodes[next].inputs.size() == 1 && row->fuses(nodes[next].type)) {
        activation = &nodes[next];
        fused[next] = true;
        step.output = activation->output;
      }
    step.node = static_cast<int>(i);
    step.parameters = node.parameters;
    step.backward = training_ && needs_gradient_[node.output];
    step.op = arithmetic_.make_op(op_spec(node, activation, stream_key(seed, Purpose::dropout, i)));
    steps_.push_back(std::move(step));
  }
}

/// Per value the last time at which somebody reads it.
std::vector<int> Plan::last_uses() const {
  std::vector<int> last(graph_.values.size(), 0);
  const auto use = [&](int value, int time) { last[value] = std::max(last[value], time); };
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    use(step.output, static_cast<int>(i));
    const ops::BackwardNeeds needs = step.backward ? step.op->backward_needs() : ops::BackwardNeeds{};
    for (const int input : step.inputs) use(input, needs.inputs ? time_of_backward(i) : static_cast<int>(i));
    if (needs.output) use(step.output, time_of_backward(i));
  }
  use(steps_.back().output, training_ ? time_of_backward(0) : static_cast<int>(steps_.size()));
  return last;
}

void Plan::place_values() {
  const std::vector<int> last = last_uses();
  // An input that nobody reads is written all the same, so it has its place until the first step.
  for (const int input : graph_.inputs) value_ranges_[input] = add_range(bytes_of(input), 0, last[input]);
  for (size_t i = 0; i < steps_.size(); ++i) {
    Step& step = steps_[i];
    const int now = static_cast<int>(i), input = step.inputs.front();
    const bool alone = std::count(step.inputs.begin(), step.inputs.end(), input) == 1;
    if (step.op->in_place() && alone && last[input] == now && bytes_of(input) == bytes_of(step.output)) {
      value_ranges_[step.output] = value_ranges_[input];
      extend(value_ranges_[input], last[step.output]);
    } else {
      value_ranges_[step.output] = add_range(bytes_of(step.output), now, last[step.output]);
    }
    step.output_range = value_ranges_[step.output];
    for (const int value : step.inputs) step.input_ranges.push_back(value_ranges_[value]);
  }
}

/// The first node to give a value's gradient writes it (=), later ones write beside it and are added.
RangeIndex Plan::place_input_gradient(Step& step, size_t input, int time) {
  const int value = step.inputs[input];
  const bool in_place = input == 0 && step.op->in_place() && bytes_of(value) == bytes_of(step.output);
  const RangeIndex range = in_place ? step.output_gradient_range : add_range(bytes_of(value), time, time);
  RangeIndex& whole = gradient_ranges_[value];
  if (whole < 0) {
    whole = range;
  } else {
    step.additions.push_back({whole, range, elements(value)});
    extend(whole, time);
  }
  return range;
}

void Plan::place_gradients() {
  const int scores = steps_.back().output, loss = static_cast<int>(steps_.size());
  gradient_ranges_[scores] = add_range(bytes_of(scores), loss, loss);
  size_t largest = 0;
  for (size_t i = steps_.size(); i-- > 0;) {
    Step& step = steps_[i];
    if (!step.backward) continue;
    const int now = time_of_backward(i);
    step.output_gradient_range = gradient_ranges_[step.output];
    CHECK(step.output_gradient_range >= 0, "nobody reads " + graph_.values[step.output].name);
    extend(step.output_gradient_range, now);
    for (size_t k = 0; k < step.inputs.size(); ++k)
      step.input_gradient_ranges.push_back(
          needs_gradient_[step.inputs[k]] ? place_input_gradient(step, k, now) : -1);
    size_t bytes = 0;
    const ops::GradientParts parts = step.op->gradient_parts();
    for (size_t k = 0; k < step.parameters.size(); ++k) {
      const ArenaTensor& entry = graph_.layout.tensors()[step.parameters[k]];
      const bool apart = k == 0 && (parts.rows || parts.count > 1);
      const int64_t count = apart ? parts.elements : entry.count;
      const size_t size = (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
      if (entry.role == TensorRole::statistic)
        step.statistics_ranges.push_back(add_range(size, static_cast<int>(i), now));
      step.parameter_gradient_offsets.push_back(bytes);
      if (entry.role == TensorRole::parameter) bytes += size;
    }
    largest = std::max(largest, bytes);
  }
  parameter_gradient_range_ = add_range(largest, loss, time_of_backward(0));
}

/// Scratch and parameter gradients have one place each for the whole run: it stays in cache.
void Plan::place_workspaces() {
  const int end = training_ ? time_of_backward(0) : static_cast<int>(steps_.size());
  size_t scratch = 0;
  for (size_t i = 0; i < steps_.size(); ++i) {
    scratch = std::max(scratch, steps_[i].op->scratch_bytes());
    const int now = static_cast<int>(i);
    steps_[i].saved_range =
        add_range(steps_[i].op->saved_bytes(), now, steps_[i].backward ? time_of_backward(i) : now);
  }
  scratch_range_ = add_range(scratch, 0, end);
}

float* Plan::pointer(RangeIndex range) const {
  return range < 0 ? nullptr : reinterpret_cast<float*>(workspace_ + memory_.offsets[range]);
}

void Plan::bind(std::byte* workspace) {
  workspace_ = workspace;
  for (Step& step : steps_) bind_step(step);
}

void Plan::bind_step(Step& step) {
  step.parameter_pointers.assign(step.parameters.size(), nullptr);
  for (const RangeIndex range : step.input_ranges) step.input_pointers.push_back(pointer(range));
  for (const RangeIndex range : step.statistics_ranges) step.statistics_pointers.push_back(pointer(range));
  step.forward_run.inputs = step.input_pointers;
  step.forward_run.parameters = step.parameter_pointers;
  step.forward_run.output = pointer(step.output_range);
  step.forward_run.statistics = step.statistics_pointers;
  step.forward_run.saved = reinterpret_cast<std::byte*>(pointer(step.saved_range));
  step.forward_run.scratch = reinterpret_cast<std::byte*>(pointer(scratch_range_));
  if (!step.backward) return;

  const ops::BackwardNeeds needs = step.op->backward_needs();
  step.backward_input_pointers = step.input_pointers;
  if (!needs.inputs)
    std::fill(step.backward_input_pointers.begin(), step.backward_input_pointers.end(), nullptr);
  for (const RangeIndex range : step.input_gradient_ranges)
    step.input_gradient_pointers.push_back(pointer(range));
  for (size_t k = 0; k < step.parameters.size(); ++k) {
    const bool statistic = graph_.layout.tensors()[step.parameters[k]].role == TensorRole::statistic;
    float* gradients = pointer(parameter_gradient_range_);
    step.parameter_gradient_pointers.push_back(
        statistic ? nullptr : gradients + step.parameter_gradient_offsets[k] / sizeof(float));
  }
  step.backward_run.inputs = step.backward_input_pointers;
  step.backward_run.parameters = step.parameter_pointers;
  step.backward_run.output = needs.output ? pointer(step.output_range) : nullptr;
  step.backward_run.output_gradient = pointer(step.output_gradient_range);
  step.backward_run.input_gradients = step.input_gradient_pointers;
  step.backward_run.parameter_gradients = step.parameter_gradient_pointers;
  step.backward_run.saved = step.forward_run.saved;
  step.backward_run.scratch = step.forward_run.scratch;
}

void Plan::set_parameters(Step& step, const float* arena) const {
  for (size_t k = 0; k < step.parameters.size(); ++k)
    step.parameter_pointers[k] = arena + graph_.layout.tensors()[step.parameters[k]].offset;
}

void Plan::run_forward(Step& step, const float* arena, const ops::UnitContext& unit) {
  set_parameters(step, arena);
  step.forward_run.unit = &unit;
  step.op->forward(step.forward_run);
}

void Plan::run_backward(Step& step, const float* arena, const ops::UnitContext& unit) {
  set_parameters(step, arena);
  step.backward_run.unit = &unit;
  step.op->backward(step.backward_run);
  for (const GradientAddition& addition : step.additions)
    arithmetic_.add(pointer(addition.into), pointer(addition.from), addition.count);
}

std::span<float> Plan::value(int index) const {
  return {pointer(value_ranges_[index]), static_cast<size_t>(elements(index))};
}

std::span<float> Plan::scores_gradient() const {
  const int scores = steps_.back().output;
  return {pointer(gradient_ranges_[scores]), static_cast<size_t>(elements(scores))};
}

}  // namespace lepton::model
