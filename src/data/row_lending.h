// SPDX-License-Identifier: Apache-2.0
// RowLending: the rows of units that move between nodes within a round. DESIGN section 4 has the thief ask
// the owners of the rows; here the giver sends them, unasked: it certainly has them all (resident on its
// machine, or pushed to it ahead of the round), so that the thief needs no second round trip, to owners that
// are busy computing. Rows that are resident on the thief's machine are not sent: between nodes of one
// machine nothing is, unless the row came from another. Leaders' main threads only. Invariants: a batch of
// units is at most one message, whose length both sides know; a giver counts its batches, and that number
// is in the tag, so batches between two nodes do not mix in whichever order they are posted.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "comm/messages.h"
#include "data/row_tables.h"

namespace lepton::data {

class RowLending {
 public:
  RowLending(const comm::World& world, RowTables& tables) : world_(world), tables_(tables) {}

  /// **Leaders.** Gives these units of the round to `node`; their rows are copied at once. They must be here:
  /// units planned on this node once the exchange has finished the round, others once they are borrowed().
  /// That this node no longer computes them is the caller's care. `number`: of the batch, counted by the
  /// giver.
  void lend(int64_t round, int node, int64_t number, std::span<const int32_t> units);
  /// **Leaders.** The other side: `node` gives, and has numbered. The round must have begun.
  void borrow(int64_t round, int node, int64_t number, std::span<const int32_t> units);
  /// **Leaders.** Whether all rows of a batch that is being borrowed are here, at the latest progress().
  /// Their entries in the table are plain stores made before this returns true: threads that learn of the
  /// units from the caller through an atomic (release, acquire), as they do from the queue, may ask for the
  /// rows.
  bool borrowed(int64_t round, int node, int64_t number) const;

  // The exchange's:
  void progress();
  /// Waits for what this node lent. What it borrowed is here: a round ends when all units are computed.
  void end(int64_t round);

 private:
  struct Batch {
    explicit Batch(const comm::World& world) : message(world, comm::Channel::lent, 0) {}
    int64_t round = 0, number = 0;
    int node = 0;
    bool complete = false;
    std::vector<int32_t> units;
    std::vector<std::byte> bytes;  // rows in the order of the units; room may be left behind them
    comm::MessageBatch message;
  };
  using Batches = std::list<Batch>;
  Batch& start(Batches& batches, int64_t round, int node, int64_t number, std::span<const int32_t> units,
               size_t bytes);
  const Batch* find(int64_t round, int node, int64_t number) const;
  void place(Batch& batch);

  const comm::World& world_;
  RowTables& tables_;
  Batches lent_;      // under way
  Batches borrowed_;  // of all rounds that have not ended, complete or not
  Batches idle_;      // to be used again, with their memory
};

}  // namespace lepton::data
