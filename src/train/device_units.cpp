// SPDX-License-Identifier: Apache-2.0
// Staging, copying and running units on a device. See the header. Called by device_runner.
#include "train/device_units.h"

#include <algorithm>
#include <span>
#include <tuple>

#include "base/clock.h"
#include "base/failpoint.h"

namespace lepton::train {

namespace {

size_t aligned(size_t bytes) {
  constexpr size_t alignment = 256;
  return (bytes + alignment - 1) / alignment * alignment;
}

int64_t largest_unit(const UnitSizes& sizes) {
  int64_t largest = 1;
  for (const int64_t n : sizes.training) largest = std::max(largest, n);
  for (const int64_t n : sizes.inference) largest = std::max(largest, n);
  return largest;
}

/// Of all targets, the most that a sample has.
size_t positions_most(const data::Dataset& dataset) {
  int64_t most = 1;
  for (const data::Target& target : dataset.targets()) most = std::max(most, target.positions);
  return static_cast<size_t>(most);
}

template <class T>
T* at(const Buffer& buffer, size_t offset) {
  return reinterpret_cast<T*>(buffer.data() + offset);
}

}  // namespace

DeviceUnits::Parts DeviceUnits::parts_of(const data::Dataset& dataset, const UnitSizes& sizes) {
  const auto n = static_cast<size_t>(largest_unit(sizes));
  Parts parts;
  parts.ids = aligned(sizeof(ops::UnitTag));
  parts.inputs = parts.ids + aligned(n * sizeof(int64_t));
  for (const data::Target& target : dataset.targets()) {
    parts.targets.push_back(parts.inputs);
    const bool values = target.kind == data::TargetKind::values;
    parts.inputs += aligned(n * static_cast<size_t>(values ? target.outputs : target.positions) * 4);
  }
  parts.bytes = parts.inputs + n * static_cast<size_t>(dataset.input_elements()) * sizeof(float);
  return parts;
}

int64_t DeviceUnits::bytes(const model::Graph& graph, const data::Dataset& dataset, const UnitSizes& sizes,
                           const ops::Loss& loss, const ops::TallySpec& tally, ops::Arithmetic& arithmetic) {
  const Parts parts = parts_of(dataset, sizes);
  const size_t workspace =
      model::Executor::workspace_bytes(graph, sizes.training, sizes.inference, arithmetic);
  const size_t samples = static_cast<size_t>(largest_unit(sizes)) * positions_most(dataset),
               losses = samples + graph.heads.size() * static_cast<size_t>(sizes.max_units);
  return static_cast<int64_t>(workspace + 2 * parts.bytes + parts.inputs + losses * sizeof(ops::UnitLoss)) +
         tally.size() * 8 + static_cast<int64_t>(loss.class_weights().size_bytes());
}

int64_t DeviceUnits::pinned_bytes(const data::Dataset& dataset, const UnitSizes& sizes) {
  constexpr size_t places = std::tuple_size_v<decltype(places_)>;
  return static_cast<int64_t>(places * parts_of(dataset, sizes).bytes);
}

DeviceUnits::DeviceUnits(const UnitResources& resources, const UnitSizes& sizes)
    : resources_(resources),
      state_(*resources.device),
      parts_(parts_of(resources.dataset, sizes)),
      executor_(resources.graph, resources.deck.run.seed, sizes.training, sizes.inference,
                *state_.engine().arithmetic),
      copies_(state_.engine().backend->make_queue()) {
  Backend& backend = *state_.engine().backend;
  const Device device = state_.engine().device();
  for (Place& place : places_) {
    place.pinned = Buffer(device, parts_.bytes, "rows for the device", MemoryKind::pinned);
    place.device = Buffer(device, parts_.bytes, "rows of a unit");
    place.copied = backend.make_event();
    place.finished = backend.make_event();
  }
  current_ = Buffer(device, parts_.inputs, "ids and targets of a unit");
  const auto samples = static_cast<size_t>(largest_unit(sizes));
  per_sample_ = Buffer(device, samples * positions_most(resources.dataset) * sizeof(ops::UnitLoss),
                       "losses of samples");
  part_losses_ =
      Buffer(device, resources.parts.size() * static_cast<size_t>(sizes.max_units) * sizeof(ops::UnitLoss),
             "sums of several losses");
  counts_ =
      Buffer(device, static_cast<size_t>(resources.tally.size()) * sizeof(int64_t), "counts of metrics");
  const std::span<const double> weights = resources.loss.class_weights();
  class_weights_ = Buffer(device, weights.size_bytes(), "weights of classes");
  if (!weights.empty()) state_.upload(std::as_bytes(weights), class_weights_.data());
  rows_.resize(samples);
}

DeviceUnits::~DeviceUnits() = default;

int64_t DeviceUnits::assemble(const RoundHeader& header, int64_t number, uint32_t report, std::byte* to) {
  const std::span<const int64_t> begins = resources_.node.unit_begins(header.ticket);
  const int64_t first = begins[number], n = begins[number + 1] - first;
  const auto count = static_cast<size_t>(n);
  auto* tag = reinterpret_cast<ops::UnitTag*>(to);
  *tag = {number, static_cast<uint32_t>(header.id.kind == exact::RoundKind::train ? header.id.step : 0),
          report};
  const std::span<const int64_t> samples = resources_.node.samples(header.ticket);
  auto* ids = reinterpret_cast<int64_t*>(to + parts_.ids);
  for (int64_t i = 0; i < n; ++i) {
    ids[i] = samples[first + i];
    rows_[i] = resources_.exchange.row(header.ticket, first + i);
  }
  const std::span<const std::byte* const> rows(rows_.data(), count);
  const data::Assembler& assembler = *resources_.assemblers[resources_.dataset.split(header.split).source];
  auto* inputs = reinterpret_cast<float*>(to + parts_.inputs);
  const data::UnitDraws draws{resources_.deck.run.seed, header.epoch, {ids, count}};
  assembler.inputs(rows, header.id.kind == exact::RoundKind::train ? &draws : nullptr,
                   {inputs, count * static_cast<size_t>(assembler.input_elements())});
  for (size_t t = 0; t < parts_.targets.size(); ++t) {
    const data::Target& target = resources_.dataset.targets()[t];
    std::byte* const place = to + parts_.targets[t];
    if (target.kind == data::TargetKind::values)
      assembler.values(rows, {reinterpret_cast<float*>(place), count * static_cast<size_t>(target.outputs)},
                       t);
    else
      assembler.classes(
          rows, {reinterpret_cast<int32_t*>(place), count * static_cast<size_t>(target.positions)}, t);
  }
  return n;
}

void DeviceUnits::start(const RoundHeader& header, int64_t number, uint32_t report,
                        const std::function<void()>& between, double& data_s) {
  run_context().unit = number;
  Place& place = places_[started_++ % places_.size()];
  while (!place.finished->done())  // its last unit: the one before the last
    if (between) between();
  failpoint("unit");
  const bool training = header.id.kind == exact::RoundKind::train;
  int64_t samples = 0;
  {
    const ScopedTimer timer(data_s);
    samples = assemble(header, number, report, place.pinned.data());
  }
  if (training)
    failpoint("forward");
  else
    failpoint("evaluate");
  bring(place, samples, training);
  auto& recording = recordings_[{samples, header.slot, training}];
  Queue& queue = *state_.engine().queue;
  if (!recording)
    recording = state_.engine().backend->record(queue, [&] { enqueue(samples, header.slot, training); });
  if (training) failpoint("backward");
  recording->launch(queue);
  queue.record(*place.finished);
  run_context().unit = -1;
}

bool DeviceUnits::idle() const {
  return std::all_of(places_.begin(), places_.end(),
                     [](const Place& place) { return place.finished->done(); });
}

void DeviceUnits::bring(Place& place, int64_t samples, bool training) {
  Queue& queue = *state_.engine().queue;
  const auto inputs = static_cast<int>(resources_.graph.inputs.size());
  size_t bytes = parts_.inputs;
  for (int i = 0; i < inputs; ++i) bytes += executor_.input(i, samples, training).size_bytes();
  copies_->copy(place.device.data(), place.pinned.data(), bytes);
  copies_->record(*place.copied);
  queue.wait(*place.copied);
  queue.copy(current_.data(), place.device.data(), parts_.inputs);
  size_t offset = parts_.inputs;
  for (int i = 0; i < inputs; ++i) {
    const std::span<float> input = executor_.input(i, samples, training);
    queue.copy(input.data(), place.device.data() + offset, input.size_bytes());
    offset += input.size_bytes();
  }
}

model::UnitRun DeviceUnits::current(int64_t samples) {
  return {&executor_, samples, {at<int64_t>(current_, parts_.ids), static_cast<size_t>(samples)}, this};
}

void DeviceUnits::enqueue(int64_t samples, int slot, bool training) {
  const model::UnitRun unit = current(samples);
  const float* parameters = state_.parameters(slot);
  const uint32_t* step = &at<ops::UnitTag>(current_, 0)->step;
  model::Executor::forward_together({&unit, 1}, training, parameters, step);
  run_loss(samples, training);
  if (training) model::Executor::backward_together({&unit, 1}, parameters, step);
}

void DeviceUnits::run_loss(int64_t samples, bool training) {
  if (resources_.parts.empty())
    return run_one(resources_.loss, 0, resources_.dataset.positions(), {}, 0, samples, training);
  ops::LossOfSeveral of_several;
  of_several.row = resources_.graph.outputs();
  of_several.losses = std::ssize(resources_.parts);
  of_several.sums = part_losses();
  for (size_t i = 0; i < resources_.parts.size(); ++i) {
    const LossPart& part = resources_.parts[i];
    of_several.positions = part.positions;
    of_several.factor = static_cast<float>(part.factor);
    of_several.number = static_cast<int64_t>(i);
    run_one(part.loss, i, part.positions, of_several, part.first, samples, training);
  }
}

void DeviceUnits::run_one(const ops::Loss& loss, size_t target, int64_t positions, ops::LossOfSeveral part,
                          int64_t first, int64_t samples, bool training) {
  ops::LossRun run;
  run.spec = loss.spec();
  run.part = part;
  run.samples = samples * positions;
  run.outputs = loss.outputs();
  run.term_positions = loss.term_positions();
  if (!loss.class_weights().empty()) run.class_weights = class_weights_.as<double>().data();
  run.scores = executor_.scores(samples, training).data() + first;
  if (resources_.dataset.targets()[target].kind == data::TargetKind::values)
    run.values = at<float>(current_, parts_.targets[target]);
  else
    run.classes = at<int32_t>(current_, parts_.targets[target]);
  if (training) run.gradient = executor_.output_gradient(samples).data() + first;
  run.tally = resources_.tally;
  if (!training && counts_.bytes() > 0) run.counts = counts();
  run.per_sample = per_sample_.as<ops::UnitLoss>().data();
  run.tag = at<ops::UnitTag>(current_, 0);
  run.reports = state_.reports();
  state_.engine().step_math->loss(run);
}

void DeviceUnits::gradient(int tensor, int64_t first, std::span<const float> values) {
  ops::QuantiseRun run;
  run.tensor = tensor;
  run.begin = resources_.graph.layout.tensors()[tensor].offset + first;
  run.count = static_cast<int64_t>(values.size());
  run.values = values.data();
  run.sums = state_.sums();
  run.tag = at<ops::UnitTag>(current_, 0);
  run.reports = state_.reports();
  state_.engine().step_math->quantise_add(run);
}

int DeviceUnits::first_non_finite(const RoundHeader& header, int64_t number) {
  Queue& queue = *state_.engine().queue;
  queue.synchronize();
  Place& place = places_[0];
  const bool training = header.id.kind == exact::RoundKind::train;
  const int64_t samples = assemble(header, number, 0, place.pinned.data());
  bring(place, samples, training);
  const std::span<const int64_t> ids = current(samples).sample_ids;
  return executor_.first_non_finite(samples, training, state_.parameters(header.slot), ids,
                                    &at<ops::UnitTag>(current_, 0)->step);
}

}  // namespace lepton::train
