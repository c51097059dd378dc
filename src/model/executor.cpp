// SPDX-License-Identifier: Apache-2.0
// Running plans: forward, backward with gradients handed to the sink node by node, and the search for the
// first non-finite value.
#include "model/executor.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/error.h"
#include "model/plan.h"

namespace lepton::model {

struct Run {
  Plan* plan = nullptr;
  GradientSink* sink = nullptr;
  ops::UnitContext unit;
};

namespace {

void hand_out_parts(std::span<const Run> runs, size_t index, int64_t elements,
                    const ops::GradientParts& parts) {
  const int64_t turn = runs[0].sink->first_part(parts.count);
  for (int64_t k = 0; k < parts.count; ++k) {
    const int64_t part = (k + turn) % parts.count;
    const int64_t first = part * parts.elements, count = std::min(parts.elements, elements - first);
    for (const Run& run : runs) {
      const Step& step = run.plan->steps()[index];
      step.op->backward_part(step.backward_run, part);
      run.sink->gradient(step.parameters[0], first,
                         {step.parameter_gradient_pointers[0], static_cast<size_t>(count)});
    }
  }
}

/// What no update touches needs no gradient; ops give it all the same where one comes back through them.
bool learns(const Graph& graph, int tensor) {
  return !graph.layout.tensors()[tensor].frozen;
}

/// Neighbouring rows in one piece.
void hand_out_rows(const Graph& graph, const Step& step, GradientSink& sink) {
  const ops::GradientRows touched = step.op->gradient_rows(step.backward_run);
  const int64_t count = std::ssize(touched.rows), width = touched.width;
  const float* values = step.parameter_gradient_pointers[0];
  for (int64_t first = 0, end = 1; first < count; first = end++) {
    while (end < count && touched.rows[end] == touched.rows[end - 1] + 1) ++end;
    sink.gradient(step.parameters[0], touched.rows[first] * width,
                  {values + first * width, static_cast<size_t>((end - first) * width)});
  }
  const int64_t untouched = graph.layout.tensors()[step.parameters[0]].count - count * width;
  if (untouched > 0) sink.zero_gradient(step.parameters[0], untouched);
}

/// All gradients of a step, but that of parameter 0 where it comes in parts or rows.
void hand_out_whole(const Graph& graph, const Step& step, bool apart, GradientSink& sink) {
  size_t statistic = 0;
  for (size_t k = apart ? 1 : 0; k < step.parameters.size(); ++k) {
    const int tensor = step.parameters[k];
    const ArenaTensor& entry = graph.layout.tensors()[tensor];
    const float* values = entry.role == TensorRole::statistic ? step.statistics_pointers[statistic++]
                                                              : step.parameter_gradient_pointers[k];
    if (entry.frozen) continue;
    sink.gradient(tensor, 0, {values, static_cast<size_t>(entry.count)});
  }
}

}  // namespace

Executor::Plans Executor::make_plans(const Graph& graph, uint64_t seed,
                                     std::span<const int64_t> training_sizes,
                                     std::span<const int64_t> inference_sizes, ops::Arithmetic& arithmetic) {
  Plans plans;
  const auto add = [&](std::span<const int64_t> sizes, bool training) {
    for (const int64_t n : sizes) {
      auto& plan = plans[{n, training}];
      if (!plan) plan = std::make_unique<Plan>(graph, seed, n, training, arithmetic);
    }
  };
  add(training_sizes, true);
  add(inference_sizes, false);
  return plans;
}

static size_t largest(const std::map<std::pair<int64_t, bool>, std::unique_ptr<Plan>>& plans) {
  size_t bytes = 0;
  for (const auto& [key, plan] : plans) bytes = std::max(bytes, plan->bytes());
  return bytes;
}

Executor::Executor(const Graph& graph, uint64_t seed, std::span<const int64_t> training_sizes,
                   std::span<const int64_t> inference_sizes, ops::Arithmetic& arithmetic)
    : graph_(graph),
      arithmetic_(arithmetic),
      plans_(make_plans(graph, seed, training_sizes, inference_sizes, arithmetic)),
      workspace_(arithmetic.device(), largest(plans_), "activations and gradients of a compute thread") {
  for (auto& [key, plan] : plans_) plan->bind(workspace_.data());
}

Executor::~Executor() = default;

Plan& Executor::plan(int64_t n, bool training) {
  const auto found = plans_.find({n, training});
  CHECK(found != plans_.end(),
        "no plan for " + std::to_string(n) + (training ? " training" : " inference") + " samples");
  return *found->second;
}

std::span<float> Executor::input(int index, int64_t n, bool training) {
  return plan(n, training).value(graph_.inputs.at(static_cast<size_t>(index)));
}

std::span<const float> Executor::scores(int64_t n, bool training) {
  return plan(n, training).value(graph_.nodes.back().output);
}

std::span<const float> Executor::forward(int64_t n, bool training, const float* arena,
                                         std::span<const int64_t> sample_ids, uint32_t step) {
  const UnitRun unit{this, n, sample_ids, nullptr};
  forward_together({&unit, 1}, training, arena, &step);
  return scores(n, training);
}

void Executor::forward_together(std::span<const UnitRun> units, bool training, const float* arena,
                                const uint32_t* step) {
  std::array<Run, most_together> room;
  const std::span<const Run> runs = runs_of(units, training, step, room);
  for (size_t index = 0; index < runs[0].plan->steps().size(); ++index) {
    for (const Run& run : runs) run.plan->run_forward(run.plan->steps()[index], arena, run.unit);
    if (units[0].executor->between_nodes_) units[0].executor->between_nodes_();
  }
  for (size_t u = 0; u < units.size(); ++u)
    units[u].executor->ready_for_backward_ = training ? runs[u].plan : nullptr;
}

std::span<const Run> Executor::runs_of(std::span<const UnitRun> units, bool training, const uint32_t* step,
                                       std::span<Run> room) {
  CHECK(!units.empty() && units.size() <= most_together, "one to four units");
  for (size_t u = 0; u < units.size(); ++u) {
    const UnitRun& unit = units[u];
    CHECK(unit.sample_ids.size() == static_cast<size_t>(unit.n), "one id per sample");
    room[u] = {&unit.executor->plan(unit.n, training), unit.sink, {unit.sample_ids, step}};
  }
  return room.first(units.size());
}

std::span<float> Executor::output_gradient(int64_t n) {
  return plan(n, true).scores_gradient();
}

void Executor::backward(int64_t n, const float* arena, std::span<const int64_t> sample_ids, uint32_t step,
                        GradientSink& sink) {
  const UnitRun unit{this, n, sample_ids, &sink};
  backward_together({&unit, 1}, arena, &step);
}

void Executor::backward_together(std::span<const UnitRun> units, const float* arena, const uint32_t* step) {
  std::array<Run, most_together> room;
  const std::span<const Run> runs = runs_of(units, true, step, room);
  const Executor& first = *units[0].executor;
  for (size_t u = 0; u < units.size(); ++u)
    CHECK(std::exchange(units[u].executor->ready_for_backward_, nullptr) == runs[u].plan,
          "backward follows the training forward of the same size");
  for (size_t index = runs[0].plan->steps().size(); index-- > 0;) {
    const Step& leading = runs[0].plan->steps()[index];
    if (!leading.backward) continue;
    const ops::GradientParts parts = leading.op->gradient_parts();
    const bool apart = parts.rows || parts.count > 1;
    const bool learning = apart && learns(first.graph_, leading.parameters[0]);
    for (const Run& run : runs) {
      Step& planned = run.plan->steps()[index];
      run.plan->run_backward(planned, arena, run.unit);
      if (parts.rows && learning) hand_out_rows(first.graph_, planned, *run.sink);
      hand_out_whole(first.graph_, planned, apart, *run.sink);
    }
    if (parts.count > 1 && learning)
      hand_out_parts(runs, index, first.graph_.layout.tensors()[leading.parameters[0]].count, parts);
    if (first.between_nodes_) first.between_nodes_();
  }
}

int Executor::first_non_finite(int64_t n, bool training, const float* arena,
                               std::span<const int64_t> sample_ids, const uint32_t* step) {
  Plan& chosen = plan(n, training);
  ready_for_backward_ = nullptr;
  const ops::UnitContext unit{sample_ids, step};
  for (Step& planned : chosen.steps()) {
    chosen.run_forward(planned, arena, unit);
    const std::span<const float> values = chosen.value(planned.output);
    if (!arithmetic_.all_finite(values.data(), static_cast<int64_t>(values.size()))) return planned.node;
  }
  return -1;
}

size_t Executor::workspace_bytes() const {
  return workspace_.bytes();
}

size_t Executor::workspace_bytes(const Graph& graph, std::span<const int64_t> training_sizes,
                                 std::span<const int64_t> inference_sizes, ops::Arithmetic& arithmetic) {
  return largest(make_plans(graph, 0, training_sizes, inference_sizes, arithmetic));
}

}  // namespace lepton::model
