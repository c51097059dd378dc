// SPDX-License-Identifier: Apache-2.0
// UnitRunner: one compute thread's way from samples to sums: rows from the store, forward, loss, backward,
// each gradient added to the exact sum as soon as it is complete. One per compute thread, made in that
// thread; it allocates nothing in a round. Invariant: what a unit adds is a pure function of (parameters,
// sample ids, step, seed).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "data/assembler.h"
#include "data/exchange.h"
#include "exact/accumulator.h"
#include "exact/lanes.h"
#include "model/executor.h"
#include "ops/loss.h"
#include "train/node_state.h"
#include "train/setup.h"

namespace lepton::train {

/// Which lane holds what. Counts come first in the order of `Count`, the confusion matrix (evaluate only)
/// behind them.
enum class Count : int { samples, correct, correct_top5, gradient_checksum, fixed_counts };
enum class Exact : int { loss, absolute_error, squared_error, target, target_squared, norm, count };

exact::Lanes make_lanes(const model::Graph& graph, int nodes, int64_t confusion_classes);

/// Seconds of one thread, by phase.
struct ThreadTimes {
  double data_s = 0, forward_backward_s = 0, sum_s = 0, check_s = 0, optimizer_s = 0, wait_s = 0;
  int64_t units = 0;
};

/// What a runner needs and does not own.
struct UnitResources {
  const Deck& deck;
  const model::Graph& graph;
  const data::Dataset& dataset;
  const data::RowExchange& exchange;
  const ops::Loss& loss;
  const std::vector<std::unique_ptr<data::Assembler>>& assemblers;  ///< one per source
  NodeState& node;
  int world_node = 0;
  int64_t confusion_classes = 0;  ///< 0: no confusion matrix
};

class UnitRunner : public model::GradientSink {
 public:
  /// `thread`: number within the node, rotates the order of blocks.
  UnitRunner(const UnitResources& resources, const UnitSizes& sizes, int thread, int nodes);

  /// Takes units from the node's queue until it is dry. `between` runs after each unit (the leader's main
  /// thread moves messages there).
  template <class Between>
  void run_queue(Between&& between) {
    const RoundHeader header = resources_.node.control().header;
    for (int64_t unit; (unit = resources_.node.control().queue.take()) >= 0; between())
      run_unit(header, unit);
  }
  /// Puts the round's sums into this thread's lanes and merges them into the node's.
  void finish_units(int64_t round);
  void merge_lanes(int64_t round);

  exact::Lanes& lanes() { return lanes_; }
  const ThreadTimes& times() const { return times_; }
  ThreadTimes& times() { return times_; }
  void gradient(int tensor, int64_t first, std::span<const float> values) override;
  int64_t first_part(int64_t count) const override { return exact::rotation(thread_, count); }

 private:
  void run_unit(const RoundHeader& header, int64_t unit);
  void train(const RoundHeader& header, int64_t n);
  void evaluate(const RoundHeader& header, int64_t n);
  /// Finds and flags the layer where something non-finite first appeared.
  void diagnose(const RoundHeader& header, int64_t n);
  void assemble(const RoundHeader& header, int64_t n);
  ops::Targets targets(int64_t n) const;

  UnitResources resources_;
  model::Executor executor_;
  exact::Lanes lanes_;
  ops::LossSums sums_;
  ThreadTimes times_;
  int thread_;
  int64_t unit_ = 0, first_position_ = 0;
  double accumulate_s_ = 0;
  std::vector<int64_t> ids_;
  std::vector<const std::byte*> rows_;
  std::vector<int32_t> classes_;
  std::vector<float> values_;
};

}  // namespace lepton::train
