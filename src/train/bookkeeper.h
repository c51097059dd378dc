// SPDX-License-Identifier: Apache-2.0
// Bookkeeper: rank 0's files and screen: ledger, metrics.jsonl, progress, the time of the next checkpoint,
// the best model.
// **Rank 0 only.** What it writes about steps is a pure function of the run; what it shows of time never goes
// back into the run.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/workers.h"
#include "checkpoint/writer.h"
#include "report/ledger.h"
#include "report/metrics.h"
#include "report/progress.h"
#include "tensor/arena.h"
#include "train/deck.h"
#include "train/evaluation_report.h"
#include "train/redundant_state.h"
#include "train/run_record.h"
#include "train/work_record.h"

namespace lepton::train {

/// A step as the ledger and the metrics see it.
struct StepReport {
  report::LedgerLine line;
  int64_t counted = 0, correct = 0;
  bool classifies = false;
  std::vector<std::pair<std::string, double>> figures = {};  ///< of each of several losses, by name
};

class Bookkeeper {
 public:
  /// `require_owned` throws once the run belongs to another job: it is called before anything is written.
  Bookkeeper(const Deck& deck, const std::optional<report::LedgerLine>& last_line, int64_t last_step,
             bool compare, int64_t steps_per_epoch, int64_t samples_per_epoch, int64_t final_step,
             std::function<void()> require_owned = {});

  /// Appends the step's ledger line, which is chained already.
  void step(const StepReport& report);
  void evaluation(const EvaluationReport& report);
  /// How the work was shared, into the metrics when it is time, or `finally`.
  void balance(int64_t step, WorkRecord& record, bool finally = false);
  /// Whether a checkpoint after `step` is wanted; stays true until checkpoint_begun(). `write_s`: what the
  /// last one took, 0 before the first.
  bool checkpoint_due(int64_t step, double write_s);
  /// Of the starts before this one, for checkpoint.every = "auto".
  void set_failures(const FailureHistory& history) { failures_ = history; }
  void checkpoint_begun();
  /// `stood_s`: how long threads stood still for its copy.
  void checkpoint_committed(const checkpoint::Committed& committed, double stood_s);
  void copied(const RedundantCopy& copy);
  /// Writes best.safetensors in the background from a copy of the arena. `hash`: of the parameters, as the
  /// last step left them.
  void keep_best(const ArenaLayout& layout, std::span<const float> arena, uint64_t hash,
                 const EvaluationReport& report);
  report::Ledger& ledger() { return ledger_; }
  /// Ends the live line and the background work.
  void close();

 private:
  const Deck& deck_;
  std::function<void()> require_owned_;
  report::Ledger ledger_;
  report::MetricsFile metrics_;
  report::Progress progress_;
  BackgroundThread background_;
  int64_t steps_per_epoch_, samples_per_epoch_, final_step_;
  double last_checkpoint_s_, last_metrics_s_, last_balance_s_;
  int64_t last_balance_step_;
  int64_t samples_since_ = 0;
  bool checkpoint_wanted_ = false;
  FailureHistory failures_;
  std::string metric_text_;
};

/// The network of an arena as safetensors, with the layout that inspect needs to recompute parameters_hash.
/// Throws Error(io) where that is not `hash`: a bit flipped in memory since the last step.
void write_model(const std::string& path, const ArenaLayout& layout, std::span<const float> arena,
                 uint64_t hash, const std::map<std::string, std::string>& metadata);

}  // namespace lepton::train
