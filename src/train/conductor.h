// SPDX-License-Identifier: Apache-2.0
// Conductor: what a node's leader does between the barriers of a round (DESIGN section 4): prepares rows and
// plans ahead, reduces, decides the outcome, gathers parameters, and writes the header of the next round. All
// leaders see the same lanes and decide alike; votes and timing never enter ledger or checkpoint. Main
// threads of leaders only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/writer.h"
#include "comm/reduction.h"
#include "data/batch.h"
#include "data/exchange.h"
#include "exact/lanes.h"
#include "exact/scale.h"
#include "optim/optimizer.h"
#include "train/balancer.h"
#include "train/bookkeeper.h"
#include "train/classes.h"
#include "train/node_exchange.h"
#include "train/node_state.h"
#include "train/redundant_state.h"
#include "train/run_state.h"
#include "train/saving.h"
#include "train/schedule.h"
#include "train/setup.h"

namespace lepton::train {

/// What a conductor works with and does not own.
struct Ensemble {
  const comm::World& world;
  const Deck& deck;
  const model::Graph& graph;
  const data::Dataset& dataset;
  const optim::Optimizer& optimizer;
  const ops::Loss& loss;
  NodeExchange& between;  ///< sums and parameters, with the other nodes
  const UnitSizes& sizes;
  const Schedule& schedule;
  data::RowExchange& exchange;
  NodeState& node;
  checkpoint::Writer* writer;  ///< null: nothing is saved (evaluation of a finished model)
  RedundantState* redundant;   ///< null where there is no writer; whether it keeps anything it says itself
  const checkpoint::Identity& identity;
  Bookkeeper* bookkeeper;  ///< rank 0 only, else null
  std::vector<int> threads_per_node;
  const Classes& classes;
  ops::TallySpec tally;    ///< of evaluations
  std::string first_note;  ///< of the first ledger line of this start; the same on all leaders
  /// The node's parameters for who reads them on the host (Job::current_parameters).
  std::function<std::span<const float>()> current_parameters;
  std::span<const LossPart> parts = {};  ///< several losses
  /// Of a sample, as lanes count them.
  int64_t positions() const { return parts.empty() ? dataset.positions() : 1; }
  /// Whether the update needs what only the sums of all nodes tell: the norm, or the sum of weights.
  bool two_passes() const { return optimizer.clips_by_norm() || loss.weighs(); }
};

class Conductor {
 public:
  Conductor(const Ensemble& ensemble, RunState state);

  /// Writes the first header (run = false when there is nothing to do).
  void open();
  /// At the start of a round, while others compute: prepares the round after it.
  void prepare_next();
  /// Before the leader's lanes are merged: this node's reports and rank 0's checkpoint vote.
  void vote(exact::Lanes& lanes);
  /// Moves messages.
  void poll() {
    e_.exchange.progress();
    balancer_.poll();
    saving_.progress();
    if (e_.redundant) e_.redundant->progress();
  }

  // Serial sections: everybody waits at the barrier.
  void reduce();                                      ///< (b) of a training round
  void conclude();                                    ///< decide and advance
  void decide();                                      ///< (c)
  void advance();                                     ///< (e), (f), and the next header
  void begin_checkpoint();                            ///< the copies are complete
  void begin_copy() { e_.redundant->begin(state_); }  ///< the same of the redundant state
  /// After the others have been released: rank 0's ledger, metrics, progress; while the others already
  /// compute.
  void after_release();
  /// After the loop: waits for the checkpoint in flight. Throws Error(io) when the last one could not be
  /// written.
  void close();

  const RunState& state() const { return state_; }
  const Balancer& balancer() const { return balancer_; }
  bool stopped() const { return stopped_; }
  /// Of the state's parameters, as the ledger tells of them.
  uint64_t parameters_hash() const { return parameters_hash_; }
  /// The last complete evaluation and its sums.
  const EvaluationReport& last_evaluation() const { return last_evaluation_; }
  const EvaluationSums& last_sums() const { return last_sums_; }
  /// Patience is used up.
  bool stopped_early() const {
    return e_.deck.evaluation.patience > 0 && state_.stale_evaluations >= e_.deck.evaluation.patience;
  }

 private:
  struct Prepared {
    Work work;
    int64_t ticket = 0, samples = 0, units = 0;
    data::SplitKind split = data::SplitKind::train;
  };
  Prepared prepare(const Work& work);
  void fill_samples(const Work& work, Prepared& prepared);
  void conduct(const Prepared& prepared, int attempt);
  void drop(Prepared& prepared);
  Outcome judge_training();
  /// Before the units where nothing but the norm would be missing, else after them. `norm`: of the gradient
  /// sums. The weight is the number of samples, each of weight 1; decide() CHECKs the lane that counts them.
  void plan_update(int64_t step, double weight, double norm);
  void accept_step(bool changed);
  void chain_line(report::LedgerLine& line);
  void keep_state();
  void finish_evaluation_part();
  void choose_next();
  /// What comes after `work`, early stopping included.
  std::optional<Work> following(const Work& work) const;
  void leave(bool stopped);
  void fail();
  void publish_scales();

  Ensemble e_;
  RunState state_;
  exact::Scales scales_;
  int limit_bits_;  ///< of a quantised value, for what the units of a batch add to an element
  Balancer balancer_;
  Saving saving_;
  comm::LeaderReduction reduction_;
  exact::Lanes total_;
  EvaluationSums evaluation_, last_sums_;
  EvaluationReport last_evaluation_;
  StepReport step_report_;  ///< of the last step made,
  bool step_made_ = false;  ///< in the round at hand: it is yet to be told
  std::optional<EvaluationReport> evaluation_report_;
  std::optional<data::BatchPlan> batches_;
  std::optional<Prepared> current_, next_;
  std::string encoded_, kept_text_;  ///< the run state as this start found it; as it is kept after a step
  std::vector<int64_t> ids_, unit_begins_;
  std::vector<int> magnitudes_;
  int64_t next_ticket_ = 0, round_ = 0;
  int attempt_ = 0, repairs_ = 0, scale_redos_ = 0;
  bool stopped_ = false;
  uint64_t parameters_hash_ = 0, used_scales_hash_ = 0, chain_ = 0;
};

}  // namespace lepton::train
