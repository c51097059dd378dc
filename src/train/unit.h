// SPDX-License-Identifier: Apache-2.0
// Unit: a compute thread's way from samples to sums: rows from the store, forward, loss, backward, each
// gradient added to the exact sum as soon as it is complete. A thread has a few of these and runs them in
// turn or hand in hand (train/unit_runner). Allocates nothing after its construction. Invariant: what a unit
// adds is a pure function of (parameters, sample ids, step, seed).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "data/assembler.h"
#include "data/exchange.h"
#include "exact/lanes.h"
#include "model/executor.h"
#include "ops/loss.h"
#include "train/loss_parts.h"
#include "train/node_state.h"
#include "train/setup.h"

namespace lepton::train {

/// Which lane holds what. Tallies: as ops::TallySpec has them.
enum class Count : int {
  samples,
  counted,
  correct,
  correct_top,
  gradient_checksum,
  damaged_blocks,
  fixed_counts
};
enum class Exact : int { loss, weight, absolute_error, squared_error, target, target_squared, norm, count };

inline int64_t count_of(exact::Lanes& lanes, Count which) {
  return lanes.count(static_cast<int>(which));
}

/// With `parts` losses there are, behind those above, the lanes of each.
exact::Lanes make_lanes(const model::Graph& graph, int nodes, const ops::TallySpec& tally, size_t parts = 0);

/// The first lanes of an array of exact sums or of counts: those of the loss as a whole, or of one of
/// several.
struct LossLanes {
  int exact = 0, counts = 0;
};
LossLanes lanes_of_part(size_t part);
/// Into lanes; and they are cleared.
void fold_loss(ops::LossSums& sums, LossLanes to, exact::Lanes& lanes);

/// Seconds of one thread, by phase.
struct ThreadTimes {
  double data_s = 0, forward_backward_s = 0, sum_s = 0, optimizer_s = 0, wait_s = 0;
  int64_t units = 0;
};

class DeviceState;

/// What units need and do not own.
struct UnitResources {
  const Deck& deck;
  const model::Graph& graph;
  const data::Dataset& dataset;
  const data::RowExchange& exchange;
  const ops::Loss& loss;
  const std::vector<std::unique_ptr<data::Assembler>>& assemblers;  ///< one per source
  NodeState& node;
  int world_node = 0;
  ops::TallySpec tally;                             ///< of evaluations
  DeviceState* device = nullptr;                    ///< of a node that computes on a device
  ops::Precision precision = ops::Precision::fp32;  ///< of products on the CPU
  std::span<const LossPart> parts = {};             ///< several losses; none: `loss` is the only one
};

/// What the units of one thread add to.
struct ThreadSums {
  exact::Lanes lanes;
  ops::LossSums loss;
  ThreadTimes times;
  int thread = 0;                         ///< number within the node, rotates the order of blocks
  int domain = 0;                         ///< memory domain that it runs in
  std::vector<ops::LossSums> parts = {};  ///< of each of several losses
};

class Unit : public model::GradientSink {
 public:
  /// For units of these sizes. Resources and sums must outlive it. Must be constructed in the thread that
  /// runs it.
  Unit(const UnitResources& resources, std::span<const int64_t> training_sizes,
       std::span<const int64_t> inference_sizes, ThreadSums& sums);

  /// Becomes unit `number` of the round and assembles its samples.
  void begin(const RoundHeader& header, int64_t number);
  /// All that it gives has been added: its hash goes into the lanes, which prove that.
  void end(const RoundHeader& header);
  /// For model::Executor's forward and backward of several units.
  model::UnitRun run() { return {&executor_, samples_, ids(), this}; }
  /// After a training forward. False: the loss is not finite; that is flagged, and no backward may follow.
  bool add_loss(const RoundHeader& header);
  /// Forward and loss of an evaluation round.
  void evaluate(const RoundHeader& header);

  void gradient(int tensor, int64_t first, std::span<const float> values) override;
  void zero_gradient(int, int64_t count) override { missing_ -= count; }
  int64_t first_part(int64_t count) const override;
  void set_between_nodes(std::function<void()> between) { executor_.set_between_nodes(std::move(between)); }
  size_t workspace_bytes() const { return executor_.workspace_bytes(); }

 private:
  void assemble(const RoundHeader& header);
  /// Finds and flags the layer where something non-finite first appeared.
  void diagnose(const RoundHeader& header);
  ops::Targets targets(size_t target = 0) const;
  /// Of one loss or the weighted sum of several, whose sums and gradients (if not empty) are added and
  /// written.
  double run_loss(std::span<const float> scores, std::span<float> gradient);
  double run_parts(std::span<const float> scores, std::span<float> gradient);
  std::span<const int64_t> ids() const { return {ids_.data(), static_cast<size_t>(samples_)}; }

  const UnitResources& resources_;
  ThreadSums& sums_;
  const int64_t elements_;  ///< of all gradients
  model::Executor executor_;
  int64_t number_ = 0, first_position_ = 0, samples_ = 0;
  int64_t missing_ = 0;  ///< elements of gradients that are not handed on yet
  std::vector<int64_t> ids_;
  std::vector<const std::byte*> rows_;
  struct TargetRoom {
    std::vector<int32_t> classes;  ///< or
    std::vector<float> values;
  };
  std::vector<TargetRoom> targets_;
  std::vector<float> part_scores_, part_gradient_;  ///< of the largest of several losses
};

}  // namespace lepton::train
