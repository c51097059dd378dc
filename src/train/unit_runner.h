// SPDX-License-Identifier: Apache-2.0
// UnitRunner: one compute thread's part of a round: it takes units from the node's queue, one or a few at a
// time, runs them and adds up what they count. One per compute thread, made in that thread; it allocates
// nothing in a round.
//
// Several units in hand: of a network with many weights and small activations a thread runs two to four units
// together, layer by layer, because parameters, and sums twice as large as a gradient, then come from far
// caches or memory once for all (dense 784-512-256-10, unit 64: adding takes 11 instead of 14.5 % of a step).
// How many are in hand is not a matter of mathematics: each is still computed and rounded on its own.
#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <vector>

#include "train/unit.h"

namespace lepton::train {

/// How many units a thread may have in hand where one takes so much memory: several where their activations
/// are small beside the sums of all gradients (and take at most 16 MiB more).
int units_together(const model::Graph& graph, size_t workspace_bytes);

class UnitRunner {
 public:
  /// `thread`: number within the node; `node_threads`: how many the queue serves.
  UnitRunner(const UnitResources& resources, const UnitSizes& sizes, int thread, int node_threads, int nodes);
  UnitRunner(const UnitRunner&) = delete;  // units refer to it
  UnitRunner& operator=(const UnitRunner&) = delete;

  /// Called between the layers too, where units are long for those that wait for messages.
  void set_between_nodes(const std::function<void()>& between) {
    for (const auto& unit : units_) unit->set_between_nodes(between);
  }
  /// Takes units from the node's queue until it is dry. `between` runs after each (the leader's main thread
  /// moves messages there).
  template <class Between>
  void run_queue(Between&& between) {
    const RoundHeader header = resources_.node.control().header;
    balance::UnitQueue& queue = resources_.node.control().queue;
    const int64_t together = header.id.kind == exact::RoundKind::train ? std::ssize(units_) : 1;
    for (bool first = true;; first = false, between()) {
      const balance::UnitRange units =
          queue.take(balance::units_in_hand(queue.size(), queue.left(), node_threads_, together, first));
      if (units.empty()) return;
      run(header, units);
    }
  }
  /// Puts the round's sums into this thread's lanes and merges them into the node's.
  void finish_units(int64_t round);
  void merge_lanes(int64_t round);

  exact::Lanes& lanes() { return sums_.lanes; }
  const ThreadTimes& times() const { return sums_.times; }
  ThreadTimes& times() { return sums_.times; }

 private:
  void run(const RoundHeader& header, balance::UnitRange numbers);
  void train(const RoundHeader& header, balance::UnitRange numbers);

  UnitResources resources_;
  int node_threads_;
  ThreadSums sums_;
  std::vector<std::unique_ptr<Unit>> units_;
};

}  // namespace lepton::train
