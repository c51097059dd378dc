// SPDX-License-Identifier: Apache-2.0
// UnitRunner: the Worker of a CPU thread: it takes units from the node's queue, one or a few at a time, runs
// them and adds up what they count. It allocates nothing in a round.
//
// Several units in hand: of a network with many weights and small activations a thread runs two to four units
// together, layer by layer, because parameters, and sums twice as large as a gradient, then come from far
// caches or memory once for all (dense 784-512-256-10, unit 64: adding takes 11 instead of 14.5 % of a step).
// How many are in hand is not a matter of mathematics: each is still computed and rounded on its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "balance/policy.h"
#include "train/phases.h"
#include "train/worker.h"

namespace lepton::train {

/// How many units a thread may have in hand where one takes so much memory: several where their activations
/// are small beside the sums of all gradients (and take at most 16 MiB more).
int units_together(const model::Graph& graph, size_t workspace_bytes);

class UnitRunner : public Worker {
 public:
  /// `thread`: number within the node; `node_threads`: how many the queue serves.
  UnitRunner(const UnitResources& resources, const UnitSizes& sizes, int thread, int node_threads, int nodes);

  /// Called between the layers too, where units are long for those that wait for messages. There and between
  /// units it is called every millisecond at most (at a round's end more often): between short ones looking
  /// costs more than it is worth.
  void set_between_nodes(std::function<void()> between);
  void run_queue(const std::function<void()>& between) override;
  void verify() override;
  void verify_and_update() override;
  void update() override;
  void copy_state(const StateCopy& to) override;

 private:
  static constexpr double looks_apart_s = balance::worth_s, last_looks_apart_s = 50e-6;
  void look(const std::function<void()>& between);
  void run(const RoundHeader& header, std::span<const int32_t> numbers);
  void train(const RoundHeader& header, std::span<const int32_t> numbers);

  int node_threads_;
  double looked_s_ = 0;  ///< at messages
  std::vector<std::unique_ptr<Unit>> units_;
  std::unique_ptr<BlockScratch> scratch_;
};

}  // namespace lepton::train
