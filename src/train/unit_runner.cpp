// SPDX-License-Identifier: Apache-2.0
// One unit, from rows to sums (DESIGN section 4.2). Called by trainer and evaluator in every compute thread.
#include "train/unit_runner.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/failpoint.h"

namespace lepton::train {

exact::Lanes make_lanes(const model::Graph& graph, int nodes, int64_t confusion_classes) {
  return exact::Lanes(
      static_cast<int>(graph.layout.tensors().size()), nodes, static_cast<int>(Exact::count),
      static_cast<int>(Count::fixed_counts) + static_cast<int>(confusion_classes * confusion_classes));
}

UnitRunner::UnitRunner(const UnitResources& resources, const UnitSizes& sizes, int thread, int nodes)
    : resources_(resources),
      executor_(resources.graph, resources.deck.run.seed, sizes.training, sizes.inference),
      lanes_(make_lanes(resources.graph, nodes, resources.confusion_classes)),
      thread_(thread) {
  int64_t largest = 0;
  for (int64_t n : sizes.training) largest = std::max(largest, n);
  for (int64_t n : sizes.inference) largest = std::max(largest, n);
  ids_.resize(largest);
  rows_.resize(largest);
  if (resources.dataset.target_kind() == data::TargetKind::values)
    values_.resize(largest * resources.graph.outputs());
  else
    classes_.resize(largest);
}

void UnitRunner::run_unit(const RoundHeader& header, int64_t unit) {
  const double begin_s = now_s();
  run_context().unit = unit;
  unit_ = unit;
  failpoint("unit");
  const std::span<const int64_t> begins = resources_.node.unit_begins(header.ticket);
  first_position_ = begins[unit];
  const int64_t n = begins[unit + 1] - begins[unit];
  assemble(header, n);
  if (header.id.kind == exact::RoundKind::train)
    train(header, n);
  else
    evaluate(header, n);
  lanes_.add_unit(exact::unit_hash(header.id, unit));
  ++times_.units;
  lanes_.node_busy_ns(resources_.world_node) += static_cast<int64_t>((now_s() - begin_s) * 1e9);
  ++lanes_.node_units(resources_.world_node);
  run_context().unit = -1;
}

void UnitRunner::assemble(const RoundHeader& header, int64_t n) {
  const ScopedTimer timer(times_.data_s);
  const bool training = header.id.kind == exact::RoundKind::train;
  const std::span<const int64_t> samples = resources_.node.samples(header.ticket);
  for (int64_t i = 0; i < n; ++i) {
    ids_[i] = samples[first_position_ + i];
    rows_[i] = resources_.exchange.row(header.ticket, first_position_ + i);
  }
  const std::span<const std::byte* const> rows(rows_.data(), n);
  const data::Assembler& assembler = *resources_.assemblers[resources_.dataset.split(header.split).source];
  assembler.inputs(rows, executor_.input(n, training));
  if (values_.empty())
    assembler.classes(rows, {classes_.data(), static_cast<size_t>(n)});
  else
    assembler.values(rows, {values_.data(), static_cast<size_t>(n * resources_.graph.outputs())});
}

ops::Targets UnitRunner::targets(int64_t n) const {
  if (values_.empty()) return {{classes_.data(), static_cast<size_t>(n)}, {}};
  return {{}, {values_.data(), static_cast<size_t>(n * resources_.graph.outputs())}};
}

void UnitRunner::train(const RoundHeader& header, int64_t n) {
  const double begin_s = now_s();
  accumulate_s_ = 0;
  const float* parameters = resources_.node.parameters(header.slot).data();
  const std::span<const int64_t> ids(ids_.data(), n);
  const auto step = static_cast<uint32_t>(header.id.step);
  failpoint("forward");
  const std::span<const float> scores = executor_.forward(n, true, parameters, ids, step);
  const double loss = resources_.loss.run(scores, targets(n), executor_.output_gradient(n), sums_);
  if (std::isfinite(loss)) {
    failpoint("backward");
    executor_.backward(n, parameters, ids, step, *this);
  } else {
    diagnose(header, n);
  }
  times_.sum_s += accumulate_s_;
  times_.forward_backward_s += now_s() - begin_s - accumulate_s_;
}

void UnitRunner::evaluate(const RoundHeader& header, int64_t n) {
  const ScopedTimer timer(times_.forward_backward_s);
  failpoint("evaluate");
  const float* parameters = resources_.node.parameters(header.slot).data();
  const std::span<const float> scores =
      executor_.forward(n, false, parameters, {ids_.data(), static_cast<size_t>(n)}, 0);
  const double loss = resources_.loss.run(scores, targets(n), {}, sums_);
  if (!std::isfinite(loss)) diagnose(header, n);
  if (resources_.confusion_classes > 0)
    resources_.loss.count_confusion(scores, targets(n),
                                    lanes_.counts().subspan(static_cast<size_t>(Count::fixed_counts)));
}

void UnitRunner::diagnose(const RoundHeader& header, int64_t n) {
  const bool training = header.id.kind == exact::RoundKind::train;
  assemble(header, n);
  const int node = executor_.first_non_finite(n, training, resources_.node.parameters(header.slot).data(),
                                              {ids_.data(), static_cast<size_t>(n)},
                                              static_cast<uint32_t>(header.id.step));
  const int last = static_cast<int>(resources_.graph.nodes.size()) - 1;
  lanes_.flag_non_finite(unit_, node >= 0 ? node : last);
}

void UnitRunner::gradient(int tensor, int64_t first, std::span<const float> values) {
  const ScopedTimer timer(accumulate_s_);
  const int place = static_cast<int>(resources_.graph.nodes.size()) + tensor;
  resources_.node.accumulator().add(tensor, first, values, resources_.node.scales()[tensor],
                                    resources_.node.overflow_bits()[tensor], thread_, unit_, place, lanes_);
}

void UnitRunner::finish_units(int64_t round) {
  lanes_.count(static_cast<int>(Count::samples)) += sums_.samples;
  lanes_.count(static_cast<int>(Count::correct)) += sums_.correct;
  lanes_.count(static_cast<int>(Count::correct_top5)) += sums_.correct_top5;
  lanes_.add_exact(static_cast<int>(Exact::loss), sums_.loss);
  lanes_.add_exact(static_cast<int>(Exact::absolute_error), sums_.absolute_error);
  lanes_.add_exact(static_cast<int>(Exact::squared_error), sums_.squared_error);
  lanes_.add_exact(static_cast<int>(Exact::target), sums_.target);
  lanes_.add_exact(static_cast<int>(Exact::target_squared), sums_.target_squared);
  sums_ = {};
  merge_lanes(round);
}

void UnitRunner::merge_lanes(int64_t round) {
  resources_.node.lanes().add(round, lanes_);
  lanes_.clear();
}

}  // namespace lepton::train
