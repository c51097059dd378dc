// SPDX-License-Identifier: Apache-2.0
// Units of a round in one compute thread (see the header). Called by trainer.
#include "train/unit_runner.h"

#include <array>
#include <iterator>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/watchdog.h"

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
    : Worker(resources, thread, nodes),
      node_threads_(node_threads),
      scratch_(std::make_unique<BlockScratch>()) {
  units_.push_back(std::make_unique<Unit>(resources_, sizes.training, sizes.inference, sums_));
  if (sizes.training.empty()) return;
  const int count = units_together(resources.graph, units_[0]->workspace_bytes());
  while (std::ssize(units_) < count)  // evaluation takes one at a time
    units_.push_back(std::make_unique<Unit>(resources_, sizes.training, std::span<const int64_t>(), sums_));
}

void UnitRunner::set_between_nodes(std::function<void()> between) {
  for (const auto& unit : units_) unit->set_between_nodes([this, between] { look(between); });
}

/// At messages, unless that was done just now.
void UnitRunner::look(const std::function<void()>& between) {
  const double now = now_s();
  // When all is started others wait for what their messages say of it.
  const double apart_s = resources_.node.queue().left() > 0 ? looks_apart_s : last_looks_apart_s;
  if (now - looked_s_ < apart_s) return;
  looked_s_ = now;
  between();
}

void UnitRunner::run_queue(const std::function<void()>& between) {
  const RoundHeader header = resources_.node.control().header;
  balance::UnitQueue queue = resources_.node.queue();
  const int64_t together = header.id.kind == exact::RoundKind::train ? std::ssize(units_) : 1;
  for (bool first = true;; first = false) {
    // Orders to give units away may have come during a long unit, and are obeyed before one more begins.
    if (between && !first) look(between);
    const std::span<const int32_t> units = queue.take(
        balance::units_in_hand(queue.size(), queue.left(), node_threads_, together, first, queue.singly()));
    if (units.empty()) {
      if (!await_units(between)) return;
      continue;
    }
    if (between && queue.left() == 0) between();  // what that means to others need not wait
    run(header, units);
  }
}

void UnitRunner::run(const RoundHeader& header, std::span<const int32_t> numbers) {
  sums_.domain = resources_.node.domains().here(sums_.thread);  // threads may move
  const double begin_s = now_s();
  if (header.id.kind == exact::RoundKind::train) {
    train(header, numbers);
  } else {
    CHECK(numbers.size() == 1, "evaluation takes one unit at a time");
    units_[0]->begin(header, numbers[0]);
    const ScopedTimer timer(sums_.times.forward_backward_s);
    units_[0]->evaluate(header);
    units_[0]->end(header);
  }
  const double busy_s = now_s() - begin_s;
  count_time(std::ssize(numbers), busy_s);
  resources_.node.queue().count_done(std::ssize(numbers), static_cast<int64_t>(busy_s * 1e9));
  beat();
  run_context().unit = -1;
}

void UnitRunner::train(const RoundHeader& header, std::span<const int32_t> numbers) {
  CHECK(numbers.size() <= units_.size(), "a place for each unit");
  const double begin_s = now_s(), others_s = sums_.times.data_s + sums_.times.sum_s;
  const float* parameters = resources_.node.parameters(header.slot).data();
  const auto step = static_cast<uint32_t>(header.id.step);
  std::array<model::UnitRun, model::Executor::most_together> room;
  const size_t count = numbers.size();
  for (size_t i = 0; i < count; ++i) {
    units_[i]->begin(header, numbers[i]);
    failpoint("forward");
    room[i] = units_[i]->run();
  }
  model::Executor::forward_together({room.data(), count}, true, parameters, &step);
  size_t finite = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!units_[i]->add_loss(header)) continue;
    failpoint("backward");
    room[finite++] = units_[i]->run();
  }
  if (finite > 0) model::Executor::backward_together({room.data(), finite}, parameters, &step);
  for (size_t i = 0; i < count; ++i) units_[i]->end(header);
  sums_.times.forward_backward_s += now_s() - begin_s - (sums_.times.data_s + sums_.times.sum_s - others_s);
}

void UnitRunner::verify() {
  verify_blocks(resources_.node, resources_.graph.layout, *scratch_, sums_.lanes);
}

void UnitRunner::verify_and_update() {
  verify_and_update_blocks(resources_.node, resources_.graph.layout, *scratch_, sums_.lanes);
}

void UnitRunner::update() {
  update_blocks(resources_.node, resources_.graph.layout, *scratch_);
}

void UnitRunner::copy_state(const StateCopy& to) {
  train::copy_state(resources_.node, to);
}

}  // namespace lepton::train
