// SPDX-License-Identifier: Apache-2.0
// The rounds of a device node. See the header. Called by trainer in the node's only thread.
#include "train/device_runner.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/clock.h"
#include "base/failpoint.h"
#include "train/phases.h"

namespace lepton::train {

DeviceRunner::DeviceRunner(const UnitResources& resources, const UnitSizes& sizes, int nodes)
    : Worker(resources, 0, nodes),
      state_(*resources.device),
      units_(resources, sizes),
      nodes_(nodes),
      layout_(mail_layout()),
      mail_(state_.engine().device(), layout_.bytes, "reports from the device", MemoryKind::pinned),
      scales_(state_.engine().device(), resources.graph.layout.tensors().size() * sizeof(int32_t),
              "scales for the device", MemoryKind::pinned),
      slot_(resources.node.control().header.slot) {
  state_.upload_state(slot_);
  numbers_.reserve(static_cast<size_t>(sizes.max_units));
}

DeviceRunner::Mail DeviceRunner::mail_layout() const {
  const auto place = [](size_t& bytes, size_t count, size_t size) {
    const size_t offset = bytes;
    bytes += (count * size + 63) / 64 * 64;
    return offset;
  };
  const auto units = static_cast<size_t>(resources_.node.units_max());
  const auto blocks = static_cast<size_t>(resources_.graph.layout.blocks());
  Mail mail;
  mail.reports = place(mail.bytes, units, sizeof(ops::UnitReport));
  mail.part_losses = place(mail.bytes, units_.part_losses_bytes(), 1);
  mail.magnitudes = place(mail.bytes, resources_.graph.layout.tensors().size(), sizeof(uint32_t));
  mail.checks = place(mail.bytes, blocks, sizeof(ops::BlockCheck));
  mail.hashes = place(mail.bytes, blocks, sizeof(uint64_t));
  mail.counts = place(mail.bytes, units_.counts_bytes(), 1);
  return mail;
}

void DeviceRunner::begin_round(const RoundHeader& header) {
  Queue& queue = *state_.engine().queue;
  if (header.slot != slot_ && through_host()) state_.upload_parameters(header.slot);  // gathered from all
  slot_ = header.slot;
  const std::span<const int> scales = resources_.node.scales();
  std::copy(scales.begin(), scales.end(), scales_.as<int32_t>().begin());
  queue.copy(const_cast<int32_t*>(state_.sums().scales), scales_.data(), scales_.bytes());
  queue.clear(state_.sums().magnitudes, scales.size() * sizeof(uint32_t));
  queue.clear(state_.reports(), static_cast<size_t>(header.units) * sizeof(ops::UnitReport));
  if (units_.counts_bytes() > 0) queue.clear(units_.counts(), units_.counts_bytes());
  numbers_.clear();
  collected_ = false;
  began_s_ = now_s();
}

void DeviceRunner::run_queue(const std::function<void()>& between) {
  const RoundHeader header = resources_.node.control().header;
  const double begin_s = now_s(), others_s = sums_.times.data_s + sums_.times.wait_s;
  begin_round(header);
  balance::UnitQueue queue = resources_.node.queue();
  const bool more_may_come = !queue.closed();
  do {
    for (auto unit = queue.take(); !unit.empty(); unit = queue.take()) {
      if (between) between();
      units_.start(header, unit[0], static_cast<uint32_t>(numbers_.size()), between, sums_.times.data_s);
      numbers_.push_back(unit[0]);
      count_progress(std::ssize(numbers_) - units_ahead);
    }
    while (more_may_come && queue.left() == 0 && !units_.idle())
      if (between) between();
    count_progress(std::ssize(numbers_));
  } while (await_units(between));
  const bool training = header.id.kind == exact::RoundKind::train;
  if (training) pass_flip();
  if (!training || !alone()) collect(header);
  if (training && through_host()) download_sums();
  sums_.times.forward_backward_s += now_s() - begin_s - (sums_.times.data_s + sums_.times.wait_s - others_s);
}

/// So many units of the round are finished on the device, as far as the host knows.
void DeviceRunner::count_progress(int64_t finished) {
  balance::UnitQueue queue = resources_.node.queue();
  const int64_t more = finished - queue.done();
  if (more <= 0) return;
  const auto elapsed_ns = static_cast<int64_t>((now_s() - began_s_) * 1e9);
  queue.count_done(more, elapsed_ns - queue.busy_ns());
}

void DeviceRunner::enqueue_reports(const RoundHeader& header) {
  Queue& queue = *state_.engine().queue;
  const size_t reports = numbers_.size() * sizeof(ops::UnitReport);
  if (reports > 0) queue.copy(mail_.data() + layout_.reports, state_.reports(), reports);
  const size_t parts = numbers_.size() * resources_.parts.size() * sizeof(ops::UnitLoss);
  if (parts > 0) queue.copy(mail_.data() + layout_.part_losses, units_.part_losses(), parts);
  if (header.id.kind == exact::RoundKind::train)
    queue.copy(mail_.data() + layout_.magnitudes, state_.sums().magnitudes, scales_.bytes());
  else if (units_.counts_bytes() > 0)
    queue.copy(mail_.data() + layout_.counts, units_.counts(), units_.counts_bytes());
}

void DeviceRunner::collect(const RoundHeader& header) {
  const bool first = !std::exchange(collected_, true);
  if (first) enqueue_reports(header);
  state_.finish();
  if (!first) return;
  const auto reports = mail<const ops::UnitReport>(layout_.reports, std::ssize(numbers_));
  for (size_t i = 0; i < numbers_.size(); ++i) collect_unit(header, numbers_[i], i, reports[i]);
  if (header.id.kind == exact::RoundKind::train)
    collect_magnitudes();
  else
    collect_counts();
  count_time(std::ssize(numbers_), now_s() - began_s_);
  fold_losses();
}

ops::UnitLoss DeviceRunner::collect_parts(size_t place, int64_t samples) {
  const std::span<const LossPart> parts = resources_.parts;
  const auto count = std::ssize(parts);
  const auto losses = mail<const ops::UnitLoss>(layout_.part_losses, std::ssize(numbers_) * count)
                          .subspan(place * parts.size(), parts.size());
  ops::UnitLoss whole;
  whole.weight = static_cast<double>(samples);
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].loss.add(losses[i], samples * parts[i].positions, sums_.parts[i]);
    whole.loss += parts[i].factor * losses[i].loss;
  }
  return whole;
}

void DeviceRunner::collect_unit(const RoundHeader& header, int64_t number, size_t place,
                                const ops::UnitReport& report) {
  CHECK(report.unit_plus_1 == number + 1, "the report of another unit");
  const std::span<const int64_t> begins = resources_.node.unit_begins(header.ticket);
  const int64_t samples = begins[number + 1] - begins[number];
  const bool several = !resources_.parts.empty();
  const ops::UnitLoss loss = several ? collect_parts(place, samples) : report.loss;
  resources_.loss.add(loss, samples * (several ? 1 : resources_.dataset.positions()), sums_.loss);
  exact::Lanes& lanes = sums_.lanes;
  const int nodes = static_cast<int>(resources_.graph.nodes.size());
  if (!std::isfinite(loss.loss)) {
    const int node = units_.first_non_finite(header, number);
    lanes.flag_non_finite(number, node >= 0 ? node : nodes - 1);
  } else if (report.blame != 0) {
    lanes.flag_non_finite(number, nodes + static_cast<int>(~report.blame));
  }
  lanes.add_unit(exact::unit_hash(header.id, number));
}

void DeviceRunner::collect_magnitudes() {
  const auto tensors = static_cast<int>(resources_.graph.layout.tensors().size());
  const auto magnitudes = mail<const uint32_t>(layout_.magnitudes, tensors);
  for (int t = 0; t < tensors; ++t) {
    sums_.lanes.raise_magnitude(t, magnitudes[t]);
    if (magnitudes[t] >= resources_.node.overflow_bits()[t]) sums_.lanes.flag_overflow();
  }
}

void DeviceRunner::collect_counts() {
  if (units_.counts_bytes() == 0) return;
  const auto counts = mail<const int64_t>(layout_.counts, resources_.tally.size());
  const std::span<int64_t> lanes = sums_.lanes.tallies();
  for (size_t i = 0; i < counts.size(); ++i) lanes[i] += counts[i];
}

/// A fault may flip a bit of the sums' first element: only then does it come to the host.
void DeviceRunner::pass_flip() {
  if (!failpoints_armed()) return;
  Fetched<int64_t> first(state_, state_.sums().elements);
  failpoint("accumulate", first.bytes());
}

void DeviceRunner::download_sums() {
  exact::Accumulator& host = resources_.node.accumulator();
  state_.download(state_.sums().elements, std::as_writable_bytes(host.elements()));
  state_.download(state_.sums().checksums, std::as_writable_bytes(host.checksums()));
}

void DeviceRunner::upload_sums() {
  exact::Accumulator& host = resources_.node.accumulator();
  const auto begin = static_cast<size_t>(resources_.node.slice_begin()),
             count = static_cast<size_t>(resources_.node.slice_end()) - begin,
             first = static_cast<size_t>(state_.first_block()),
             blocks = static_cast<size_t>(state_.end_block()) - first;
  state_.upload(std::as_bytes(host.elements().subspan(begin, count)), state_.sums().elements + begin);
  state_.upload(std::as_bytes(host.checksums().subspan(first, blocks)), state_.sums().checksums + first);
}

void DeviceRunner::enqueue_verify(bool norms) {
  if (through_host()) upload_sums();
  ops::VerifyRun run;
  run.table = state_.table();
  run.sums = state_.sums();
  run.first_block = state_.first_block();
  run.end_block = state_.end_block();
  run.norms = norms;
  run.checks = state_.checks();
  const auto blocks = static_cast<size_t>(run.end_block - run.first_block);
  if (blocks == 0) return;
  state_.engine().step_math->verify(run);
  state_.engine().queue->copy(mail_.data() + layout_.checks, run.checks, blocks * sizeof(ops::BlockCheck));
}

void DeviceRunner::collect_checks(bool norms) {
  exact::Lanes& lanes = sums_.lanes;
  const int64_t first = state_.first_block(), end = state_.end_block();
  const auto checks = mail<const ops::BlockCheck>(layout_.checks, end - first);
  ExactSum norm;
  for (int64_t b = first; b < end; ++b) {
    const ops::BlockCheck& check = checks[b - first];
    add_block_check(b, check.stated, check.stated == check.found, lanes);
    if (norms) norm.add(check.norm);
  }
  if (norms) lanes.add_exact(static_cast<int>(Exact::norm), norm);
}

void DeviceRunner::enqueue_update() {
  const int from = resources_.node.control().header.slot, to = 1 - from;
  ops::UpdateRun run;
  run.table = state_.table();
  run.sums = state_.sums();
  run.first_block = state_.first_block();
  run.end_block = state_.end_block();
  if (run.first_block == run.end_block) return;
  run.rule = resources_.node.control().update;
  run.parameters = state_.parameters(from);
  run.parameters_new = state_.parameters(to);
  for (int m = 0; m < resources_.node.moments(); ++m) {
    run.moments[m] = state_.moment(from, m);
    run.moments_new[m] = state_.moment(to, m);
  }
  ops::StepMath& math = *state_.engine().step_math;
  math.update(run);
  math.hash_blocks(run.parameters_new, state_.elements(), run.first_block, run.end_block, state_.hashes());
  state_.engine().queue->copy(mail_.data() + layout_.hashes, state_.hashes() + run.first_block,
                              static_cast<size_t>(run.end_block - run.first_block) * sizeof(uint64_t));
}

void DeviceRunner::collect_update() {
  const int to = 1 - resources_.node.control().header.slot;
  const int64_t first = state_.first_block(), end = state_.end_block();
  const auto hashes = mail<const uint64_t>(layout_.hashes, end - first);
  std::copy(hashes.begin(), hashes.end(), resources_.node.block_hashes(to).begin() + first);
  if (!through_host()) return;
  const int64_t begin = resources_.node.slice_begin(), count = resources_.node.slice_end() - begin;
  const auto host =
      resources_.node.parameters(to).subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
  state_.download(state_.parameters(to) + begin, std::as_writable_bytes(host));
}

void DeviceRunner::clear_sums() {
  Queue& queue = *state_.engine().queue;
  const ops::DeviceSums sums = state_.sums();
  queue.clear(sums.elements, static_cast<size_t>(state_.elements()) * sizeof(int64_t));
  queue.clear(sums.checksums, static_cast<size_t>(resources_.graph.layout.blocks()) * sizeof(int64_t));
}

void DeviceRunner::verify_and_update() {
  failpoint("check");
  failpoint("optimizer");
  enqueue_verify(false);
  enqueue_update();
  clear_sums();
  collect(resources_.node.control().header);
  collect_checks(false);
  collect_update();
}

void DeviceRunner::verify() {
  failpoint("check");
  enqueue_verify(true);
  collect(resources_.node.control().header);
  collect_checks(true);
}

void DeviceRunner::update() {
  const bool accept = resources_.node.control().outcome == Outcome::accept;
  if (accept) {
    failpoint("optimizer");
    enqueue_update();
  }
  clear_sums();
  state_.finish();
  if (accept) collect_update();
}

void DeviceRunner::copy_state(const StateCopy& to) {
  const int slot = resources_.node.control().header.slot;
  const int64_t begin = resources_.node.slice_begin();
  state_.download(state_.parameters(slot) + begin, std::as_writable_bytes(to[0]));
  for (int m = 0; m < resources_.node.moments(); ++m)
    state_.download(state_.moment(slot, m), std::as_writable_bytes(to[1 + static_cast<size_t>(m)]));
}

}  // namespace lepton::train
