// SPDX-License-Identifier: Apache-2.0
// The leader's side of a step, in the order in which it happens. Called by trainer, between the barriers.
#include "train/conductor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/stop.h"
#include "data/batch.h"
#include "ops/parameters_hash.h"
#include "train/phases.h"
#include "train/unit.h"

namespace lepton::train {

using exact::RoundKind;

namespace {

constexpr int repairs_max = 2;

}  // namespace

Conductor::Conductor(const Ensemble& ensemble, RunState state)
    : e_(ensemble),
      state_(std::move(state)),
      scales_(static_cast<int>(e_.graph.layout.tensors().size())),
      limit_bits_(gradient_bits(e_.deck, e_.graph)),
      balancer_(e_.world, e_.deck.balance.policy, e_.threads_per_node, e_.classes, e_.node, e_.exchange),
      saving_(e_.world, e_.node, e_.writer, e_.identity, e_.bookkeeper),
      reduction_(e_.world),
      total_(make_lanes(e_.graph, e_.world.nodes(), e_.tally, e_.parts.size())) {
  if (!state_.scales.empty()) scales_.restore(state_.scales);
  if (const auto last = report::LedgerLine::decode(state_.last_ledger_line)) chain_ = last->chain;
  if (!e_.node.kept_path().empty()) encoded_ = state_.encode();
  if (e_.dataset.has(data::SplitKind::train)) {
    const data::DataSpec& data = e_.deck.data;
    const int64_t samples = e_.dataset.split(data::SplitKind::train).samples;
    batches_.emplace(
        data::EpochOrder(data.shuffle, data.seed, samples, data.shuffle_window, data.shuffle_block),
        e_.deck.train.batch_size);
  }
  magnitudes_.resize(e_.graph.layout.tensors().size());
  parameters_hash_ = ops::combine_block_hashes(e_.node.block_hashes(e_.node.control().header.slot));
  publish_scales();
}

void Conductor::open() {
  const std::optional<Work> first = e_.schedule.first(state_.step, state_.pending, stopped_early());
  e_.node.control().header.run = first.has_value();
  if (!first) return;
  saving_.saved(state_.step > 0 && state_.pending == Pending::nothing ? state_.step : -1);
  state_.pending = Pending::nothing;
  current_ = prepare(*first);
  e_.exchange.finish(current_->ticket, [] {});
  conduct(*current_, 1);
}

Conductor::Prepared Conductor::prepare(const Work& work) {
  Prepared prepared;
  prepared.work = work;
  prepared.ticket = next_ticket_++;
  prepared.split = split_of(work.kind);
  fill_samples(work, prepared);
  const std::span<const int> unit_node = balancer_.plan(
      prepared.ticket, work.kind, work.kind == RoundKind::train ? work.step - 1 : work.part, prepared.units);
  const std::span<int64_t> samples = e_.node.samples(prepared.ticket).first(prepared.samples);
  const std::span<int64_t> begins = e_.node.unit_begins(prepared.ticket).first(prepared.units + 1);
  e_.exchange.begin({prepared.ticket, prepared.split, samples, begins, unit_node});
  return prepared;
}

void Conductor::fill_samples(const Work& work, Prepared& prepared) {
  if (work.kind == RoundKind::train) {
    batches_->ids(work.step - 1, ids_);
  } else {
    const int64_t total = e_.dataset.split(prepared.split).samples,
                  begin = work.part * e_.sizes.evaluation_round;
    ids_.resize(std::min(e_.sizes.evaluation_round, total - begin));
    std::iota(ids_.begin(), ids_.end(), begin);
  }
  CHECK(!ids_.empty(), "an empty round");
  data::cut_units(static_cast<int64_t>(ids_.size()), e_.deck.train.unit_size, unit_begins_);
  prepared.samples = static_cast<int64_t>(ids_.size());
  prepared.units = static_cast<int64_t>(unit_begins_.size()) - 1;
  std::copy(ids_.begin(), ids_.end(), e_.node.samples(prepared.ticket).begin());
  std::copy(unit_begins_.begin(), unit_begins_.end(), e_.node.unit_begins(prepared.ticket).begin());
}

void Conductor::prepare_next() {
  if (next_) return;
  if (const std::optional<Work> work = following(current_->work)) next_ = prepare(*work);
}

void Conductor::conduct(const Prepared& prepared, int attempt) {
  NodeControl& control = e_.node.control();
  attempt_ = attempt;
  RoundHeader& header = control.header;
  header.id = {++round_, prepared.work.kind, prepared.work.step, attempt};
  if (prepared.work.kind != RoundKind::train) header.id.attempt = static_cast<int>(prepared.work.part);
  header.ticket = prepared.ticket;
  header.samples = prepared.samples;
  header.units = prepared.units;
  header.split = prepared.split;
  header.epoch = prepared.work.kind == RoundKind::train ? batches_->epoch(prepared.work.step - 1) : 0;
  header.run = true;
  balancer_.begin(header);
  control.fold_next.store(0, std::memory_order_relaxed);
  control.verify_next.store(0, std::memory_order_relaxed);
  control.update_next.store(0, std::memory_order_relaxed);
  if (prepared.work.kind == RoundKind::train && !e_.two_passes())
    plan_update(header.id.step, e_.loss.weight_of(header.samples), 0);
}

void Conductor::drop(Prepared& prepared) {
  e_.exchange.finish(prepared.ticket, [] {});
  e_.exchange.end(prepared.ticket);
}

void Conductor::publish_scales() {
  std::copy(scales_.current().begin(), scales_.current().end(), e_.node.scales().begin());
  for (size_t t = 0; t < e_.node.scales().size(); ++t)
    e_.node.overflow_bits()[t] = scales_.overflow_bits(static_cast<int>(t), limit_bits_);
}

void Conductor::vote(exact::Lanes& lanes) {
  balancer_.vote(lanes);
  const int64_t step = current_->work.kind == RoundKind::train ? current_->work.step : -1;
  saving_.vote(lanes, step);
  if (e_.redundant) e_.redundant->vote(lanes, step);
}

void Conductor::reduce() {
  balancer_.units_ended();
  e_.between.reduce_sums([this] { poll(); });
  pass_state_failpoints(e_.node);
  // All nodes have made the step before: what the other slot holds is not needed any more.
  e_.node.kept().overwrite(1 - e_.node.control().header.slot);
}

void Conductor::decide() {
  NodeControl& control = e_.node.control();
  if (current_->work.kind != RoundKind::train) balancer_.units_ended();
  e_.node.lanes().take(round_, total_);
  balancer_.complete(total_);
  total_.state_parameters(parameters_hash_);
  const RoundHeader& header = control.header;
  const bool training = header.id.kind == RoundKind::train;
  const size_t first = training ? total_.tally_count() : 0;
  if (!training) total_.tallies();  // the other nodes may have some
  reduction_.all_reduce(total_.values().subspan(first), total_.sum_count() - first, [this] { poll(); });
  if (total_.units() != header.units ||
      total_.unit_hash_sum() != exact::expected_unit_hash(header.id, header.units))
    control.outcome = Outcome::wrong_units;
  else if (!total_.parameters_equal())
    control.outcome = Outcome::wrong_parameters;
  else if (count_of(total_, Count::damaged_blocks) > 0)
    control.outcome = Outcome::damaged_state;
  else if (total_.checksum_failures() > 0)
    control.outcome = ++repairs_ <= repairs_max ? Outcome::repair : Outcome::wrong_sums;
  else if (total_.non_finite())
    control.outcome =
        training && e_.deck.train.on_non_finite == OnNonFinite::skip ? Outcome::skip : Outcome::non_finite;
  else
    control.outcome = training ? judge_training() : Outcome::accept;
  if (control.outcome == Outcome::non_finite) {
    control.blamed_unit = total_.first_non_finite_unit();
    control.blamed_place = total_.first_non_finite_place();
  }
  if (control.outcome == Outcome::accept) {
    CHECK(count_of(total_, Count::samples) == header.samples * e_.positions(), "every sample once");
    const double weight = total_.exact(static_cast<int>(Exact::weight)).value();
    CHECK(e_.loss.weighs() || weight == e_.loss.weight_of(header.samples), "the weight of every sample once");
    if (training && e_.two_passes())
      plan_update(header.id.step, weight, std::sqrt(total_.exact(static_cast<int>(Exact::norm)).value()));
  }
  balancer_.observe(total_);
}

Outcome Conductor::judge_training() {
  for (size_t t = 0; t < magnitudes_.size(); ++t)
    magnitudes_[t] =
        exact::magnitude_exponent(static_cast<uint32_t>(total_.magnitude_bits(static_cast<int>(t))));
  used_scales_hash_ = scales_.hash();
  const exact::ScaleVerdict verdict = scales_.settle(magnitudes_, limit_bits_);
  CHECK(verdict == exact::ScaleVerdict::redo || !total_.overflow(),
        "an overflow that the magnitudes do not show");
  return verdict == exact::ScaleVerdict::redo ? Outcome::redo : Outcome::accept;
}

/// Where nothing of a batch counts, its sums are 0 and so is the mean gradient, whatever divides them.
void Conductor::plan_update(int64_t step, double weight, double norm) {
  const double divisor = weight > 0 ? weight : 1;
  e_.node.control().update =
      e_.optimizer.plan(step, divisor, norm / divisor, e_.node.control().header.samples);
}

void Conductor::conclude() {
  decide();
  advance();
}

void Conductor::advance() {
  NodeControl& control = e_.node.control();
  control.header.snapshot = false;
  control.header.copy = -1;
  const bool training = current_->work.kind == RoundKind::train;
  saving_.observe(total_);
  const bool sound = control.outcome <= Outcome::repair;
  if (e_.redundant) e_.redundant->observe(total_, sound);
  switch (control.outcome) {
    case Outcome::redo:
      ++scale_redos_;
      publish_scales();
      conduct(*current_, attempt_ + 1);
      return;
    case Outcome::repair:
      log_warning(
          fmt::format("step {}: a checksum of the sums disagrees (flipped bit?); the attempt is redone.",
                      current_->work.step));
      conduct(*current_, attempt_);
      return;
    case Outcome::accept:
    case Outcome::skip:
      if (training)
        accept_step(control.outcome == Outcome::accept);
      else
        finish_evaluation_part();
      choose_next();
      return;
    default:
      fail();
  }
}

/// All leaders come here alike. What they have sent each other must arrive first: its memory is about to go;
/// and a checkpoint in flight is of a state before the failure, and worth keeping.
void Conductor::fail() {
  e_.exchange.end(current_->ticket);
  if (next_) drop(*next_);
  next_.reset();
  balancer_.close();
  saving_.fail();
  if (e_.redundant) e_.redundant->finish();
  e_.node.control().failed = true;
  e_.node.control().header.run = false;
}

void Conductor::accept_step(bool changed) {
  NodeControl& control = e_.node.control();
  const int64_t step = current_->work.step;
  if (changed) {
    const int to = 1 - control.header.slot;
    e_.between.gather_parameters(to, [this] { poll(); });
    control.header.slot = to;  // (f): from here on the new slot is the state
    parameters_hash_ = ops::combine_block_hashes(e_.node.block_hashes(to));
    publish_scales();
  }
  state_.step = step;
  state_.scales.assign(scales_.current().begin(), scales_.current().end());
  step_made_ = true;
  step_report_.counted = count_of(total_, Count::counted);
  step_report_.correct = count_of(total_, Count::correct);
  step_report_.classifies = e_.loss.classifies();
  report::LedgerLine& line = step_report_.line;
  line.step = step;
  line.epoch = batches_->epoch(step - 1) + 1;
  line.samples = current_->samples;
  line.attempts = 1 + scale_redos_;
  line.skipped = !changed;
  line.weight = total_.exact(static_cast<int>(Exact::weight)).value();
  line.loss = mean_of(total_.exact(static_cast<int>(Exact::loss)), line.weight);
  if (!e_.parts.empty()) take_part_figures(total_, e_.parts, line.losses, step_report_.figures);
  // What is left of sums with a gradient that is not finite is each device's own.
  line.gradient = changed ? static_cast<uint64_t>(count_of(total_, Count::gradient_checksum)) : 0;
  line.scales = changed ? used_scales_hash_ : scales_.hash();
  line.parameters = parameters_hash_;
  chain_line(line);
  keep_state();
  scale_redos_ = repairs_ = 0;
}

/// All leaders know the line, so that the state of any of them can be gone on from.
void Conductor::chain_line(report::LedgerLine& line) {
  line.note = std::exchange(e_.first_note, "");
  line.chain_onto(chain_, state_.last_ledger_line);
  chain_ = line.chain;
}

/// (f): from here on the step is made, whatever becomes of the processes.
void Conductor::keep_state() {
  if (e_.node.kept_path().empty()) return;
  state_.encode_onto(encoded_, e_.schedule.pending(following(current_->work)), kept_text_);
  if (!e_.node.kept().commit(state_.step, e_.node.control().header.slot, kept_text_))
    log_warning(
        "the run state is too large to be kept in memory; a crash costs what came after the last "
        "checkpoint.");
}

void Conductor::finish_evaluation_part() {
  evaluation_.add(total_, e_.parts.size());
  repairs_ = 0;
  if (!e_.schedule.last_part(current_->work)) return;
  const int64_t step = current_->work.step;
  EvaluationReport report = make_report(evaluation_, current_->work.kind, step, e_.loss, e_.positions(),
                                        e_.tally, e_.deck.evaluation.metrics, e_.parts);
  last_sums_ = std::exchange(evaluation_, {});
  if (e_.schedule.monitor == current_->work.kind && e_.schedule.regular_evaluation(step)) {
    const EvaluationSpec& spec = e_.deck.evaluation;
    report.improved = state_.improves(metric_value(report, spec.metric), larger_is_better(spec.metric),
                                      spec.min_improvement, step);
  }
  evaluation_report_ = last_evaluation_ = report;
}

std::optional<Work> Conductor::following(const Work& work) const {
  if (stopped_early() && !e_.schedule.closes(work)) return e_.schedule.closing(work.step);
  return e_.schedule.next(work);
}

void Conductor::choose_next() {
  const std::optional<Work> work = following(current_->work);
  e_.exchange.end(current_->ticket);
  if (total_.stop_votes() > 0) {
    state_.pending = e_.schedule.pending(work);
    leave(true);
    return;
  }
  if (next_ && next_->work != work) {  // the evaluation just done stops the run early
    drop(*next_);
    next_.reset();
    if (work) next_ = prepare(*work);
  }
  if (!next_) {
    leave(false);
    return;
  }
  current_ = std::exchange(next_, std::nullopt);
  e_.exchange.finish(current_->ticket, [this] { saving_.progress(); });
  conduct(*current_, 1);
  if (current_->work.kind != RoundKind::train) return;
  e_.node.control().header.snapshot = saving_.take_due();
  if (e_.redundant) e_.node.control().header.copy = e_.redundant->take_due(e_.node);
}

void Conductor::leave(bool stopped) {
  stopped_ = stopped;
  if (next_) drop(*next_);
  next_.reset();
  RoundHeader& header = e_.node.control().header;
  header.run = false;
  header.snapshot = saving_.take_last(state_.step);
}

void Conductor::begin_checkpoint() {
  saving_.begin(state_);
  e_.node.control().copy_next.store(0, std::memory_order_relaxed);  // the redundant state may be due too
}

void Conductor::after_release() {
  if (e_.redundant) e_.redundant->after_release();
  const bool made = std::exchange(step_made_, false);
  if (!e_.bookkeeper) {
    evaluation_report_.reset();
    return;
  }
  if (e_.redundant)
    if (const auto copied = e_.redundant->take_copied()) e_.bookkeeper->copied(*copied);
  if (made) {
    e_.bookkeeper->step(step_report_);
    e_.bookkeeper->balance(step_report_.line.step, balancer_.record());
    balancer_.warn_of_grain(e_.deck.train, 20);
  }
  if (!evaluation_report_) return;
  e_.bookkeeper->evaluation(*evaluation_report_);
  if (evaluation_report_->improved && e_.deck.evaluation.keep_best)
    e_.bookkeeper->keep_best(e_.graph.layout, e_.current_parameters(), parameters_hash_, *evaluation_report_);
  evaluation_report_.reset();
}

void Conductor::close() {
  balancer_.close();
  if (e_.bookkeeper) {
    e_.bookkeeper->balance(state_.step, balancer_.record(), true);
    balancer_.warn_of_grain(e_.deck.train, 3);
  }
  if (e_.redundant) e_.redundant->finish();
  saving_.close(state_.step, e_.deck.run.directory);
}

}  // namespace lepton::train
