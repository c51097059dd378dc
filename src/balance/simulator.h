// SPDX-License-Identifier: Apache-2.0
// Simulator: the rounds of a job in virtual time: the real queues, workers and coordinator, and in place of
// MPI and of computing a list of events. For `lepton simulate`, and for seeded tests of the protocol, which
// look at it after every event. Deterministic: the same calls give the same rounds. Invariants, always
// checked: a unit starts once; a round ends with all units done.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "balance/policy.h"
#include "balance/protocol.h"
#include "balance/queue.h"
#include "balance/worker.h"

namespace lepton::balance {

/// How messages travel, in seconds.
struct SimulatedNetwork {
  double latency_s = 5e-6;
  double row_s_per_unit = 0;       ///< what the rows of a unit take on their way
  double handling_s = 2e-6;        ///< main thread's time for a message that it sends or receives
  double deciding_s_per_node = 0;  ///< rank 0's time for a decision, by the nodes that it looks at
  /// More than the latency that a message may take; null: none. May return anything >= 0.
  std::function<double()> delay_s;
  bool in_order = true;  ///< between two nodes, as MPI keeps them
};

/// How long a unit takes that a thread of a node starts at `at_s`.
using UnitTime = std::function<double(int node, int thread, int64_t unit, double at_s)>;
/// How long a computing main thread may leave messages alone: from one look to the next. Infinite: to the
/// unit's end.
using LookTime = std::function<double(int node)>;

struct RoundResult {
  double units_s = 0;                   ///< until the last unit was done
  double closed_s = 0;                  ///< until the last node had closed
  std::vector<int64_t> units, busy_ns;  ///< by node
  std::vector<Moved> moved;
  int64_t messages = 0;         ///< of stealing, in all
  int64_t rank_0_messages = 0;  ///< sent and received by rank 0 for others
  double rank_0_busy_s = 0;
};

class Simulator {
 public:
  Simulator(std::vector<int> threads_per_node, int64_t units_max, const SimulatedNetwork& network);
  ~Simulator();
  /// One round. `steal`: else each node does what is planned on it. Throws Error(software) when it does not
  /// end.
  const RoundResult& round(const Stamp& stamp, std::span<const NodePlan> plans,
                           std::span<const UnitRange> ranges, bool steal, const UnitTime& unit_time,
                           const LookTime& look_time = {});

  // For who watches.
  /// Called after every event with its time.
  void watch(std::function<void(double now_s)> observer);
  int nodes() const;
  /// Units in the node's queue that nobody has started.
  int64_t untouched(int node) const;
  /// All its threads wait for units.
  bool idle(int node) const;
  bool closed(int node) const;
  /// Times that a unit of this round was started; units under way between nodes.
  int starts(int64_t unit) const;
  int64_t travelling() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lepton::balance
