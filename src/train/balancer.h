// SPDX-License-Identifier: Apache-2.0
// Balancer: a leader's part of sharing out units: plans rounds ahead, fills the node's queue, and binds the
// balancer's worker (and on rank 0 its coordinator) to messages between leaders and to rows. Made and called
// by conductor, in the leader's main thread. Which node computes which unit depends on timing; results never
// do.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "balance/coordinator.h"
#include "balance/planner.h"
#include "balance/worker.h"
#include "comm/leader_barrier.h"
#include "comm/mailbox.h"
#include "data/exchange.h"
#include "exact/lanes.h"
#include "train/classes.h"
#include "train/deck.h"
#include "train/node_state.h"
#include "train/work_record.h"

namespace lepton::train {

class Balancer : private balance::Outside {
 public:
  Balancer(const comm::World& world, balance::Policy policy, const std::vector<int>& threads_per_node,
           const Classes& classes, NodeState& node, data::RowExchange& exchange);

  /// Plans round `number` of its kind (steps, or parts of an evaluation) for this ticket of rows: the node of
  /// each unit, valid to the next call. Allocates nothing once rounds have been as large.
  std::span<const int> plan(int64_t ticket, exact::RoundKind kind, int64_t number, int64_t units);
  /// The round of the header begins: this node's units into its queue.
  void begin(const RoundHeader& header);
  /// Between units and while waiting: messages, reports, rows.
  void poll();
  /// All units of this node are done.
  void units_ended();
  /// Before the leader's lanes are merged.
  void vote(exact::Lanes& lanes) const;
  /// What no thread could know: into the node's lanes, before they are reduced.
  void complete(exact::Lanes& lanes) const { lanes.raise_units_ns(units_ns_); }
  /// The lanes of all nodes: speeds are learned from them, and recorded.
  void observe(exact::Lanes& total);
  /// **Collective over leaders.** After the last round: no message stays under way.
  void close();

  /// **Rank 0 only.** Warns, once and after so many rounds, where units are so large that the best plan
  /// leaves more than a tenth of the threads' time idle, which no stealing can cure.
  void warn_of_grain(const TrainSpec& spec, int64_t rounds);
  /// The sentence; "" where there is no need.
  std::string grain_warning(int64_t batch_size, int64_t unit_size) const;
  /// **Rank 0 only.**
  const WorkRecord& record() const { return *record_; }
  WorkRecord& record() { return *record_; }

 private:
  void send(int node, const balance::Message& message) override;
  void lend(int node, int64_t number, std::span<const int32_t> units) override;
  void borrow(int node, int64_t number, std::span<const int32_t> units) override;
  bool borrowed(int node, int64_t number) override;
  void enter_barrier() override;
  bool barrier_complete() override;

  bool moves_units() const;
  /// **Rank 0 only.** Tells of nodes that plans leave out for their slowness, and that are back.
  void tell_of_idle_nodes(const balance::RoundPlan& plan);
  balance::RoundPlan& plan_of(int64_t ticket) { return plans_[static_cast<size_t>(ticket) % plans_.size()]; }
  double round_s() const;
  void read_letters();
  void take(int from, const balance::Message& message);

  const comm::World& world_;
  NodeState& node_;
  data::RowExchange& exchange_;
  balance::Planner planner_;
  std::array<balance::RoundPlan, data::RowExchange::slots> plans_;
  comm::Mailbox mailbox_;
  comm::LeaderBarrier barrier_;
  balance::Worker worker_;
  std::optional<balance::Coordinator> coordinator_;      // rank 0 only
  std::optional<WorkRecord> record_;                     // rank 0 only
  std::vector<std::pair<int, balance::Message>> early_;  ///< of a round that others have begun
  std::vector<int> unit_node_;
  std::vector<char> left_out_;  ///< by node
  std::vector<int64_t> units_scratch_, busy_scratch_;
  balance::Stamp stamp_;
  balance::Purpose purpose_ = balance::Purpose::train;
  int64_t ticket_ = 0, units_ns_ = 0;
  double began_s_ = 0;
  OwnTime since_entered_;
  bool grain_told_ = false, said_to_itself_ = false;
};

}  // namespace lepton::train
