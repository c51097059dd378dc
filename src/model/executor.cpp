// SPDX-License-Identifier: Apache-2.0
// Running plans: forward, backward with gradients handed to the sink node by node, and the search for the
// first non-finite value.
#include "model/executor.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "model/plan.h"

namespace lepton::model {

namespace {

// x * 0 is 0 or -0 for finite x and NaN else; a sum of zeros stays zero. Vectorises, unlike a test per
// element.
bool all_finite(std::span<const float> values) {
  float zero = 0;
  for (const float value : values) zero += value * 0.0F;
  return zero == 0.0F;
}

void hand_out_parts(const Step& step, int64_t elements, const ops::GradientParts& parts, GradientSink& sink) {
  const int64_t turn = sink.first_part(parts.count);
  for (int64_t k = 0; k < parts.count; ++k) {
    const int64_t part = (k + turn) % parts.count;
    step.op->backward_part(step.backward_run, part);
    const int64_t first = part * parts.elements, count = std::min(parts.elements, elements - first);
    sink.gradient(step.parameters[0], first,
                  {step.parameter_gradient_pointers[0], static_cast<size_t>(count)});
  }
}

void hand_out_gradients(const Graph& graph, const Step& step, GradientSink& sink) {
  size_t statistic = 0;
  const ops::GradientParts parts = step.op->gradient_parts();
  for (size_t k = 0; k < step.parameters.size(); ++k) {
    const int tensor = step.parameters[k];
    const ArenaTensor& entry = graph.layout.tensors()[tensor];
    if (k == 0 && parts.count > 1) {
      hand_out_parts(step, entry.count, parts, sink);
      continue;
    }
    const float* values = entry.role == TensorRole::statistic ? step.statistics_pointers[statistic++]
                                                              : step.parameter_gradient_pointers[k];
    sink.gradient(tensor, 0, {values, static_cast<size_t>(entry.count)});
  }
}

}  // namespace

Executor::Plans Executor::make_plans(const Graph& graph, uint64_t seed,
                                     std::span<const int64_t> training_sizes,
                                     std::span<const int64_t> inference_sizes) {
  Plans plans;
  const auto add = [&](std::span<const int64_t> sizes, bool training) {
    for (const int64_t n : sizes) {
      auto& plan = plans[{n, training}];
      if (!plan) plan = std::make_unique<Plan>(graph, seed, n, training);
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
                   std::span<const int64_t> inference_sizes)
    : graph_(graph),
      plans_(make_plans(graph, seed, training_sizes, inference_sizes)),
      workspace_(Device{}, largest(plans_), "activations and gradients of a compute thread") {
  for (auto& [key, plan] : plans_) plan->bind(workspace_.data());
}

Executor::~Executor() = default;

Plan& Executor::plan(int64_t n, bool training) {
  const auto found = plans_.find({n, training});
  CHECK(found != plans_.end(),
        "no plan for " + std::to_string(n) + (training ? " training" : " inference") + " samples");
  return *found->second;
}

std::span<float> Executor::input(int64_t n, bool training) {
  return plan(n, training).value(0);
}

std::span<const float> Executor::forward(int64_t n, bool training, const float* arena,
                                         std::span<const int64_t> sample_ids, uint32_t step) {
  Plan& chosen = plan(n, training);
  CHECK(sample_ids.size() == static_cast<size_t>(n), "one id per sample");
  const ops::UnitContext unit{sample_ids, step};
  for (Step& planned : chosen.steps()) {
    chosen.run_forward(planned, arena, unit);
    if (between_nodes_) between_nodes_();
  }
  ready_for_backward_ = training ? &chosen : nullptr;
  return chosen.value(graph_.nodes.back().output);
}

std::span<float> Executor::output_gradient(int64_t n) {
  return plan(n, true).scores_gradient();
}

void Executor::backward(int64_t n, const float* arena, std::span<const int64_t> sample_ids, uint32_t step,
                        GradientSink& sink) {
  Plan& chosen = plan(n, true);
  CHECK(ready_for_backward_ == &chosen, "backward follows the training forward of the same size");
  CHECK(sample_ids.size() == static_cast<size_t>(n), "one id per sample");
  ready_for_backward_ = nullptr;
  const ops::UnitContext unit{sample_ids, step};
  for (auto planned = chosen.steps().rbegin(); planned != chosen.steps().rend(); ++planned) {
    if (!planned->backward) continue;
    chosen.run_backward(*planned, arena, unit);
    hand_out_gradients(graph_, *planned, sink);
    if (between_nodes_) between_nodes_();
  }
}

int Executor::first_non_finite(int64_t n, bool training, const float* arena,
                               std::span<const int64_t> sample_ids, uint32_t step) {
  Plan& chosen = plan(n, training);
  ready_for_backward_ = nullptr;
  const ops::UnitContext unit{sample_ids, step};
  for (Step& planned : chosen.steps()) {
    chosen.run_forward(planned, arena, unit);
    if (!all_finite(chosen.value(planned.output))) return planned.node;
  }
  return -1;
}

size_t Executor::workspace_bytes() const {
  return workspace_.bytes();
}

size_t Executor::workspace_bytes(const Graph& graph, std::span<const int64_t> training_sizes,
                                 std::span<const int64_t> inference_sizes) {
  return largest(make_plans(graph, 0, training_sizes, inference_sizes));
}

}  // namespace lepton::model
