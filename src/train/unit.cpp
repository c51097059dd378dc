// SPDX-License-Identifier: Apache-2.0
// One unit, from rows to sums (DESIGN section 4.2). Called by unit_runner in every compute thread.
#include "train/unit.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/failpoint.h"

namespace lepton::train {

namespace {

// Of a loss: the first of Exact and of Count.
constexpr int loss_sums = static_cast<int>(Exact::target_squared) + 1,
              loss_counts = static_cast<int>(Count::correct_top) + 1;

}  // namespace

exact::Lanes make_lanes(const model::Graph& graph, int nodes, const ops::TallySpec& tally, size_t parts) {
  const LossLanes all = lanes_of_part(parts);
  return exact::Lanes(static_cast<int>(graph.layout.tensors().size()), nodes, all.exact, all.counts,
                      static_cast<size_t>(tally.size()));
}

LossLanes lanes_of_part(size_t part) {
  const auto before = static_cast<int>(part);
  return {static_cast<int>(Exact::count) + before * loss_sums,
          static_cast<int>(Count::fixed_counts) + before * loss_counts};
}

void fold_loss(ops::LossSums& sums, LossLanes to, exact::Lanes& lanes) {
  const auto count = [&](Count which) -> int64_t& {
    return lanes.count(to.counts + static_cast<int>(which));
  };
  const auto add = [&](Exact which, const ExactSum& sum) {
    lanes.add_exact(to.exact + static_cast<int>(which), sum);
  };
  count(Count::samples) += sums.samples;
  count(Count::correct) += sums.correct;
  count(Count::counted) += sums.counted;
  count(Count::correct_top) += sums.correct_top;
  add(Exact::weight, sums.weight);
  add(Exact::loss, sums.loss);
  add(Exact::absolute_error, sums.absolute_error);
  add(Exact::squared_error, sums.squared_error);
  add(Exact::target, sums.target);
  add(Exact::target_squared, sums.target_squared);
  sums = {};
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
  for (const data::Target& target : resources.dataset.targets()) {
    TargetRoom& room = targets_.emplace_back();
    if (target.kind == data::TargetKind::values)
      room.values.resize(largest * target.outputs);
    else
      room.classes.resize(largest * target.positions);
  }
  int64_t widest = 0;
  for (const LossPart& part : resources.parts) widest = std::max(widest, part.count);
  part_scores_.resize(largest * widest);
  part_gradient_.resize(training_sizes.empty() ? 0 : largest * widest);
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
  for (size_t t = 0; t < targets_.size(); ++t) {
    const data::Target& target = resources_.dataset.targets()[t];
    TargetRoom& room = targets_[t];
    if (room.values.empty())
      assembler.classes(rows, {room.classes.data(), static_cast<size_t>(samples_ * target.positions)}, t);
    else
      assembler.values(rows, {room.values.data(), static_cast<size_t>(samples_ * target.outputs)}, t);
  }
}

ops::Targets Unit::targets(size_t t) const {
  const data::Target& target = resources_.dataset.targets()[t];
  const TargetRoom& room = targets_[t];
  if (room.values.empty())
    return {{room.classes.data(), static_cast<size_t>(samples_ * target.positions)}, {}};
  return {{}, {room.values.data(), static_cast<size_t>(samples_ * target.outputs)}};
}

double Unit::run_loss(std::span<const float> scores, std::span<float> gradient) {
  if (resources_.parts.empty()) return resources_.loss.run(scores, targets(), gradient, sums_.loss);
  return run_parts(scores, gradient);
}

double Unit::run_parts(std::span<const float> scores, std::span<float> gradient) {
  ops::UnitLoss whole;
  whole.weight = static_cast<double>(samples_);
  for (size_t i = 0; i < resources_.parts.size(); ++i) {
    const LossPart& part = resources_.parts[i];
    const auto count = static_cast<size_t>(samples_ * part.count);
    const std::span<float> own = std::span(part_scores_).first(count),
                           own_gradient = std::span(part_gradient_).first(gradient.empty() ? 0 : count);
    take_part(scores, samples_, part, own);
    whole.loss += part.factor * part.loss.run(own, targets(i), own_gradient, sums_.parts[i]);
    if (!gradient.empty()) put_part(own_gradient, samples_, part, gradient);
  }
  resources_.loss.add(whole, samples_, sums_.loss);
  return whole.loss;
}

bool Unit::add_loss(const RoundHeader& header) {
  run_context().unit = number_;
  const std::span<const float> scores = executor_.scores(samples_, true);
  const double loss = run_loss(scores, executor_.output_gradient(samples_));
  if (std::isfinite(loss)) return true;
  diagnose(header);
  missing_ = 0;
  return false;
}

void Unit::evaluate(const RoundHeader& header) {
  failpoint("evaluate");
  const float* parameters = resources_.node.parameters(header.slot).data();
  const std::span<const float> scores = executor_.forward(samples_, false, parameters, ids(), 0);
  const double loss = run_loss(scores, {});
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
