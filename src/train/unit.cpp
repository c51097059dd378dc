// SPDX-License-Identifier: Apache-2.0
// One unit, from rows to sums (DESIGN section 4.2). Called by unit_runner in every compute thread.
#include "train/unit.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/failpoint.h"

namespace lepton::train {

exact::Lanes make_lanes(const model::Graph& graph, int nodes, const ops::TallySpec& tally) {
  return exact::Lanes(static_cast<int>(graph.layout.tensors().size()), nodes, static_cast<int>(Exact::count),
                      static_cast<int>(Count::fixed_counts), static_cast<size_t>(tally.size()));
}

Unit::Unit(const UnitResources& resources, std::span<const int64_t> training_sizes,
           std::span<const int64_t> inference_sizes, ThreadSums& sums)
    : resources_(resources),
      sums_(sums),
      elements_(model::gradient_elements(resources.graph)),
      executor_(resources.graph, resources.deck.run.seed, training_sizes, inference_sizes,
                ops::host_arithmetic(resources.precision)) {
  int64_t largest = 0;
  for (int64_t n : training_sizes) largest = std::max(largest, n);
  for (int64_t n : inference_sizes) largest = std::max(largest, n);
  ids_.resize(largest);
  rows_.resize(largest);
  if (resources.dataset.target_kind() == data::TargetKind::values)
    values_.resize(largest * resources.graph.outputs());
  else
    classes_.resize(largest * resources.dataset.positions());
}

void Unit::begin(const RoundHeader& header, int64_t number) {
  run_context().unit = number;
  failpoint("unit");
  number_ = number;
  missing_ = header.id.kind == exact::RoundKind::train ? elements_ : 0;
  const std::span<const int64_t> begins = resources_.node.unit_begins(header.ticket);
  first_position_ = begins[number];
  samples_ = begins[number + 1] - begins[number];
  assemble(header);
}

void Unit::end(const RoundHeader& header) {
  CHECK(missing_ == 0, "each element of each node's gradients once");
  sums_.lanes.add_unit(exact::unit_hash(header.id, number_));
}

void Unit::assemble(const RoundHeader& header) {
  const ScopedTimer timer(sums_.times.data_s);
  const bool training = header.id.kind == exact::RoundKind::train;
  const std::span<const int64_t> samples = resources_.node.samples(header.ticket);
  for (int64_t i = 0; i < samples_; ++i) {
    ids_[i] = samples[first_position_ + i];
    rows_[i] = resources_.exchange.row(header.ticket, first_position_ + i);
  }
  const std::span<const std::byte* const> rows(rows_.data(), samples_);
  const data::Assembler& assembler = *resources_.assemblers[resources_.dataset.split(header.split).source];
  const data::UnitDraws draws{resources_.deck.run.seed, header.epoch, ids()};
  for (size_t i = 0; i < assembler.input_count(); ++i)
    assembler.input(i, rows, training ? &draws : nullptr,
                    executor_.input(static_cast<int>(i), samples_, training));
  if (values_.empty())
    assembler.classes(rows,
                      {classes_.data(), static_cast<size_t>(samples_ * resources_.dataset.positions())});
  else
    assembler.values(rows, {values_.data(), static_cast<size_t>(samples_ * resources_.graph.outputs())});
}

ops::Targets Unit::targets() const {
  if (values_.empty())
    return {{classes_.data(), static_cast<size_t>(samples_ * resources_.dataset.positions())}, {}};
  return {{}, {values_.data(), static_cast<size_t>(samples_ * resources_.graph.outputs())}};
}

bool Unit::add_loss(const RoundHeader& header) {
  run_context().unit = number_;
  const std::span<const float> scores = executor_.scores(samples_, true);
  const double loss = resources_.loss.run(scores, targets(), executor_.output_gradient(samples_), sums_.loss);
  if (std::isfinite(loss)) return true;
  diagnose(header);
  missing_ = 0;
  return false;
}

void Unit::evaluate(const RoundHeader& header) {
  failpoint("evaluate");
  const float* parameters = resources_.node.parameters(header.slot).data();
  const std::span<const float> scores = executor_.forward(samples_, false, parameters, ids(), 0);
  const double loss = resources_.loss.run(scores, targets(), {}, sums_.loss);
  if (!std::isfinite(loss)) diagnose(header);
  if (resources_.tally.size() > 0)
    resources_.loss.count(resources_.tally, scores, targets(), sums_.lanes.tallies());
}

void Unit::diagnose(const RoundHeader& header) {
  assemble(header);
  const bool training = header.id.kind == exact::RoundKind::train;
  const float* parameters = resources_.node.parameters(header.slot).data();
  const auto step = static_cast<uint32_t>(header.id.step);
  const int node = executor_.first_non_finite(samples_, training, parameters, ids(), &step);
  const int last = static_cast<int>(resources_.graph.nodes.size()) - 1;
  sums_.lanes.flag_non_finite(number_, node >= 0 ? node : last);
}

void Unit::gradient(int tensor, int64_t first, std::span<const float> values) {
  const ScopedTimer timer(sums_.times.sum_s);
  run_context().unit = number_;
  missing_ -= static_cast<int64_t>(values.size());
  const int place = static_cast<int>(resources_.graph.nodes.size()) + tensor;
  resources_.node.accumulator(sums_.domain)
      .add(tensor, first, values, resources_.node.scales()[tensor], resources_.node.overflow_bits()[tensor],
           sums_.thread, number_, place, sums_.lanes);
}

int64_t Unit::first_part(int64_t count) const {
  return exact::rotation(sums_.thread, count);
}

}  // namespace lepton::train
