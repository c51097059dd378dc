// SPDX-License-Identifier: Apache-2.0
// Units of a round in one compute thread (see the header). Called by trainer.
#include "train/unit_runner.h"

#include <array>

#include "base/clock.h"
#include "base/failpoint.h"

namespace lepton::train {

int units_together(const model::Graph& graph, size_t workspace_bytes) {
  constexpr size_t spare_bytes = size_t{16} << 20;
  const size_t sums_bytes = static_cast<size_t>(graph.layout.elements()) * sizeof(int64_t);
  const size_t room = std::min(sums_bytes, workspace_bytes + spare_bytes);
  return static_cast<int>(
      std::clamp<size_t>(room / std::max<size_t>(1, workspace_bytes), 1, model::Executor::most_together));
}

UnitRunner::UnitRunner(const UnitResources& resources, const UnitSizes& sizes, int thread, int node_threads,
                       int nodes)
    : resources_(resources),
      node_threads_(node_threads),
      sums_{make_lanes(resources.graph, nodes, resources.confusion_classes), {}, {}, thread, 0} {
  units_.push_back(std::make_unique<Unit>(resources_, sizes.training, sizes.inference, sums_));
  if (sizes.training.empty()) return;
  const int count = units_together(resources.graph, units_[0]->workspace_bytes());
  while (std::ssize(units_) < count)  // evaluation takes one at a time
    units_.push_back(std::make_unique<Unit>(resources_, sizes.training, std::span<const int64_t>(), sums_));
}

void UnitRunner::run(const RoundHeader& header, balance::UnitRange numbers) {
  sums_.domain = resources_.node.domains().here(sums_.thread);  // threads may move
  const double begin_s = now_s();
  if (header.id.kind == exact::RoundKind::train) {
    train(header, numbers);
  } else {
    CHECK(numbers.size() == 1, "evaluation takes one unit at a time");
    units_[0]->begin(header, numbers.begin);
    const ScopedTimer timer(sums_.times.forward_backward_s);
    units_[0]->evaluate(header);
    units_[0]->end(header);
  }
  sums_.times.units += numbers.size();
  sums_.lanes.node_busy_ns(resources_.world_node) += static_cast<int64_t>((now_s() - begin_s) * 1e9);
  sums_.lanes.node_units(resources_.world_node) += numbers.size();
  run_context().unit = -1;
}

void UnitRunner::train(const RoundHeader& header, balance::UnitRange numbers) {
  CHECK(numbers.size() <= std::ssize(units_), "a place for each unit");
  const double begin_s = now_s(), others_s = sums_.times.data_s + sums_.times.sum_s;
  const float* parameters = resources_.node.parameters(header.slot).data();
  const auto step = static_cast<uint32_t>(header.id.step);
  std::array<model::UnitRun, model::Executor::most_together> room;
  const auto count = static_cast<size_t>(numbers.size());
  for (size_t i = 0; i < count; ++i) {
    units_[i]->begin(header, numbers.begin + static_cast<int64_t>(i));
    failpoint("forward");
    room[i] = units_[i]->run();
  }
  model::Executor::forward_together({room.data(), count}, parameters, step);
  size_t finite = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!units_[i]->add_loss(header)) continue;
    failpoint("backward");
    room[finite++] = units_[i]->run();
  }
  if (finite > 0) model::Executor::backward_together({room.data(), finite}, parameters, step);
  for (size_t i = 0; i < count; ++i) units_[i]->end(header);
  sums_.times.forward_backward_s += now_s() - begin_s - (sums_.times.data_s + sums_.times.sum_s - others_s);
}

void UnitRunner::finish_units(int64_t round) {
  exact::Lanes& lanes = sums_.lanes;
  lanes.count(static_cast<int>(Count::samples)) += sums_.loss.samples;
  lanes.count(static_cast<int>(Count::correct)) += sums_.loss.correct;
  lanes.count(static_cast<int>(Count::correct_top5)) += sums_.loss.correct_top5;
  lanes.add_exact(static_cast<int>(Exact::loss), sums_.loss.loss);
  lanes.add_exact(static_cast<int>(Exact::absolute_error), sums_.loss.absolute_error);
  lanes.add_exact(static_cast<int>(Exact::squared_error), sums_.loss.squared_error);
  lanes.add_exact(static_cast<int>(Exact::target), sums_.loss.target);
  lanes.add_exact(static_cast<int>(Exact::target_squared), sums_.loss.target_squared);
  sums_.loss = {};
  merge_lanes(round);
}

void UnitRunner::merge_lanes(int64_t round) {
  resources_.node.lanes().add(round, sums_.lanes);
  sums_.lanes.clear();
}

}  // namespace lepton::train
