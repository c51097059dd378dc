// SPDX-License-Identifier: Apache-2.0
// What rank 0 writes and shows. Called by conductor after the release of a round, while the others compute.
#include "train/bookkeeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "ops/parameters_hash.h"
#include "storage/safetensors.h"
#include "train/estimate.h"

namespace lepton::train {

namespace {

constexpr double metrics_interval_s = 1;

}  // namespace

Bookkeeper::Bookkeeper(const Deck& deck, const std::optional<report::LedgerLine>& last_line,
                       int64_t last_step, bool compare, int64_t steps_per_epoch, int64_t samples_per_epoch,
                       int64_t final_step, std::function<void()> require_owned)
    : deck_(deck),
      require_owned_(require_owned ? std::move(require_owned) : [] {}),
      ledger_(deck.run.directory, last_line, compare),
      metrics_(deck.run.directory, last_step),
      progress_(deck.run.progress_s),
      steps_per_epoch_(steps_per_epoch),
      samples_per_epoch_(samples_per_epoch),
      final_step_(final_step),
      last_checkpoint_s_(now_s()),
      last_metrics_s_(now_s()),
      last_balance_s_(now_s()),
      last_balance_step_(last_step) {}

void Bookkeeper::step(const StepReport& report) {
  require_owned_();
  const report::LedgerLine& line = report.line;
  ledger_.append(line);
  CHECK(ledger_.last()->chain == line.chain, "the ledger goes on from another line than the run state");
  samples_since_ += line.samples;
  const double now = now_s(), counted = std::max(1.0, static_cast<double>(report.counted));
  if (now - last_metrics_s_ >= metrics_interval_s || line.step % steps_per_epoch_ == 0) {
    std::vector<std::pair<std::string, double>> fields{{"loss", line.loss}};
    if (report.classifies) fields.emplace_back("accuracy", static_cast<double>(report.correct) / counted);
    fields.insert(fields.end(), report.figures.begin(), report.figures.end());
    fields.emplace_back("samples_per_second",
                        static_cast<double>(samples_since_) / std::max(1e-9, now - last_metrics_s_));
    metrics_.write("train", line.step, static_cast<double>(line.step) / static_cast<double>(steps_per_epoch_),
                   fields);
    last_metrics_s_ = now;
    samples_since_ = 0;
  }
  report::ProgressState state;
  state.step = line.step;
  state.last_step = final_step_;
  state.epoch = line.epoch;
  state.epochs = (final_step_ + steps_per_epoch_ - 1) / steps_per_epoch_;
  const int64_t whole = line.step / steps_per_epoch_ * samples_per_epoch_;
  state.samples_done = whole + line.step % steps_per_epoch_ * deck_.train.batch_size;
  state.samples_total = final_step_ / steps_per_epoch_ * samples_per_epoch_ +
                        final_step_ % steps_per_epoch_ * deck_.train.batch_size;
  state.loss = line.loss;
  state.metric = metric_text_;
  progress_.update(state);
}

void Bookkeeper::evaluation(const EvaluationReport& report) {
  require_owned_();
  const double epoch = static_cast<double>(report.step) / static_cast<double>(steps_per_epoch_);
  metrics_.write(data::split_name(static_cast<data::SplitKind>(report.kind)), report.step, epoch,
                 report.fields());
  std::string text;
  for (const auto& [name, value] : report.fields())
    text += (text.empty() ? "" : ", ") + name + " " + figure_text(value, "{:.4f}");
  log_info(fmt::format("epoch {:.4g}, step {}: {} {}{}", epoch, report.step,
                       data::split_name(static_cast<data::SplitKind>(report.kind)), text,
                       report.improved ? " (best so far)" : ""));
  metric_text_ =
      fmt::format("{} {:.4f}", deck_.evaluation.metric, metric_value(report, deck_.evaluation.metric));
}

void Bookkeeper::balance(int64_t step, WorkRecord& record, bool finally) {
  const BalanceSpec& spec = deck_.balance;
  const int64_t every =
      spec.record_every_epochs > 0 ? spec.record_every_epochs * steps_per_epoch_ : spec.record_every_steps;
  const bool due = finally || (every > 0 && step % every == 0) ||
                   (spec.record_every_s > 0 && now_s() - last_balance_s_ >= spec.record_every_s);
  if (!due || step == last_balance_step_) return;
  metrics_.balance(step, static_cast<double>(step) / static_cast<double>(steps_per_epoch_),
                   record.take_figures());
  last_balance_s_ = now_s();
  last_balance_step_ = step;
}

bool Bookkeeper::checkpoint_due(int64_t step, double write_s) {
  const CheckpointSpec& spec = deck_.checkpoint;
  const int64_t every = spec.every_epochs > 0 ? spec.every_epochs * steps_per_epoch_ : spec.every_steps;
  if (every > 0 && step % every == 0) checkpoint_wanted_ = true;
  const double every_s =
      spec.automatic ? automatic_interval_s(write_s, failures_.failures, failures_.observed_s) : spec.every_s;
  if (every_s > 0 && now_s() - last_checkpoint_s_ >= every_s) checkpoint_wanted_ = true;
  return checkpoint_wanted_;
}

void Bookkeeper::checkpoint_begun() {
  checkpoint_wanted_ = false;
  last_checkpoint_s_ = now_s();
}

void Bookkeeper::checkpoint_committed(const checkpoint::Committed& committed, double stood_s) {
  metrics_.write("checkpoint", committed.step,
                 static_cast<double>(committed.step) / static_cast<double>(steps_per_epoch_),
                 {{"seconds", committed.seconds},
                  {"stood_s", stood_s},
                  {"writing_s", committed.writing_s},
                  {"bytes", static_cast<double>(committed.bytes)},
                  {"own_bytes", static_cast<double>(committed.own_bytes)}});
}

void Bookkeeper::copied(const RedundantCopy& copy) {
  metrics_.write(
      "copy", copy.step, static_cast<double>(copy.step) / static_cast<double>(steps_per_epoch_),
      {{"seconds", copy.seconds}, {"cost_s", copy.cost_s}, {"own_bytes", static_cast<double>(copy.bytes)}});
}

void Bookkeeper::keep_best(const ArenaLayout& layout, std::span<const float> arena, uint64_t hash,
                           const EvaluationReport& report) {
  auto copy = std::make_shared<std::vector<float>>(arena.begin(), arena.end());
  background_.post([this, &layout, copy, hash, report] {
    require_owned_();
    write_model(
        deck_.run.directory + "/best.safetensors", layout, *copy, hash,
        {{"step", std::to_string(report.step)},
         {deck_.evaluation.metric, fmt::format("{}", metric_value(report, deck_.evaluation.metric))}});
  });
}

void Bookkeeper::close() {
  progress_.finish();
  background_.wait_idle();
  try {
    background_.rethrow_failure();
  } catch (const Error& error) {
    log_warning(fmt::format("best.safetensors was not written: {}", error.what()));
  }
  require_owned_();
  ledger_.make_durable();
}

void write_model(const std::string& path, const ArenaLayout& layout, std::span<const float> arena,
                 uint64_t hash, const std::map<std::string, std::string>& metadata) {
  REQUIRE(ops::parameters_hash(arena) == hash, Exit::io, path,
          "the parameters in memory are not those that the last step left (flipped bit?)",
          "The checkpoints are whole: when the run is started again it goes on from the newest.");
  nlohmann::json places;
  std::vector<storage::NamedTensor> tensors;
  for (const ArenaTensor& t : layout.tensors()) {
    tensors.push_back({t.name, t.shape, arena.subspan(t.offset, t.count)});
    places[t.name] = t.offset;
  }
  std::map<std::string, std::string> all = metadata;
  all["lepton.layout"] = nlohmann::json{{"elements", layout.elements()}, {"offsets", places}}.dump();
  storage::write_safetensors(path, tensors, all);
}

}  // namespace lepton::train
