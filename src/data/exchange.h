// SPDX-License-Identifier: Apache-2.0
// RowExchange: rows that a node will need and its machine does not hold, pushed ahead of use by the leader of
// a node of the machine that does (DESIGN sections 4 and 5); rows of its own machine a node reads in place,
// whichever node read them from the file. All nodes know the plan of a round (which node computes which
// unit), so senders send unasked and receivers know what comes; rows of units that leave the plan are lent
// (row_lending.h). Up to `slots` rounds are in flight; with one machine nothing is sent. Leaders' main
// threads call begin/progress/finish; every thread may call row(). Invariant: between two nodes a round is
// one message, its rows in batch order; both sides compute its length; a node gets all rows of a machine from
// the same one of its nodes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/waiting.h"
#include "data/row_lending.h"
#include "data/row_tables.h"
#include "data/store.h"

namespace lepton::data {

/// By machine: the node that sends its rows to `node`; -1 for the machine of `node`. A machine's nodes take
/// turns over the receivers, these counted machine by machine: each serves as many as any other, or one more.
std::vector<int> row_senders(const comm::World& world, int node);

class RowExchange {
 public:
  static constexpr int slots = RowTables::slots;
  /// **Collective.** max_samples: the largest round.
  RowExchange(const comm::World& world, const Dataset& dataset, const SampleStore& store, int64_t max_samples,
              const std::string& shm_directory);
  ~RowExchange();

  /// **Leaders.** Posts this round's sends and receives and records, in node-shared memory, where each row
  /// will be. The spans of `rows` need not outlive the call. Allocates nothing once buffers have been large
  /// enough.
  void begin(const RoundRows& rows);
  /// **Leaders.** Moves messages, lent rows too; cheap when there is nothing to do.
  void progress();
  /// **Leaders.** Waits until this round's rows are here (its sends may still be under way; the slot is
  /// released by end()). Throws DeadlineError naming the silent nodes.
  void finish(int64_t round, const Poll& poll);
  /// **Leaders.** The round is over: its slot may be reused (waits for its sends; what was borrowed must
  /// be here). Rounds end in the order they began.
  void end(int64_t round);
  /// Rows of units that move to another node within a round.
  RowLending& lending();
  /// **Local, any thread of the node**, after the leader's begin (and, for rows of other machines, finish),
  /// or after it was told of a borrowed unit. The stored bytes of the sample at `position` of `round`,
  /// resident or staged. CHECKs that this node was planned to compute it, or borrowed it.
  const std::byte* row(int64_t round, int64_t position) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lepton::data
