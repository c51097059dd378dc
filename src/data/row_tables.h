// SPDX-License-Identifier: Apache-2.0
// RowTables: where the rows of the rounds in flight lie for one node. In memory that its ranks share a round
// has one entry per position of the batch (a place in the machine's sample store, or in the round's staging
// area, or none: no unit of it was ever this node's) and the staging area itself. The leader fills it ahead
// of the round (RowExchange) and for units that move to this node within it (RowLending); every thread reads
// it. Invariants: a position keeps its place until the round ends, so a round never stages more rows than it
// has; entries and bytes are plain memory: who reads them has learned from the leader, over a barrier or an
// atomic (release, acquire), that the unit is this node's to compute.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/shared_memory.h"
#include "data/store.h"

namespace lepton::data {

/// The rows of a round: sample ids in batch order, cut into units, each planned on a node.
struct RoundRows {
  int64_t round = 0;
  SplitKind split = SplitKind::train;
  std::span<const int64_t> samples;      ///< ids, in batch order
  std::span<const int64_t> unit_begins;  ///< positions in `samples`; units + 1 entries
  std::span<const int> unit_node;        ///< node of each unit
};

class RowTables {
 public:
  static constexpr int slots = 4;  ///< rounds in flight
  /// What the leader keeps of a round in flight.
  struct Round {
    int source = 0;
    size_t row_bytes = 0;
    std::vector<int64_t> unit_begins;
    // By position:
    std::vector<int64_t> rows;  ///< row of the source
    std::vector<int> owners;    ///< machine where it is resident
    int64_t staged = 0;         ///< the first so many places of the staging area are taken
    bool here = false;          ///< the rows of the units planned on this node have arrived
  };

  /// **Collective.** max_samples: the largest round.
  RowTables(const comm::World& world, const Dataset& dataset, const SampleStore& store, int64_t max_samples,
            const std::string& shm_directory);

  // The leader's:
  /// Fills a free slot; the resident rows of this node's units have their places. Allocates nothing.
  Round& open(const RoundRows& rows);
  void publish(int64_t round);  ///< from now on threads may ask for rows
  Round& round(int64_t round);  ///< CHECKs that it was published
  bool resident(const Round& round, int64_t position) const;
  bool placed(int64_t round, int64_t position) const { return entries(round)[position] != none; }
  void place_resident(int64_t round, int64_t position);
  /// Gives a position this place of the staging area; returns where its row belongs.
  std::byte* place_staged(int64_t round, int64_t position, int64_t place);
  std::byte* staging(int64_t round, int64_t place) const;  ///< places lie next to each other
  void close(int64_t round);                               ///< the slot is free again

  /// **Local, any thread of the node.** The stored bytes of a row; CHECKs that the position has a place.
  const std::byte* row(int64_t round, int64_t position) const;

 private:
  struct Header;
  static constexpr int64_t none = INT64_MIN;
  Header& header(int64_t round) const;
  /// >= 0: offset in the machine's rows of the source; < 0: -1 - place in the staging area; or none.
  int64_t* entries(int64_t round) const;

  const comm::World& world_;
  const Dataset& dataset_;
  const SampleStore& store_;
  int64_t max_samples_;
  size_t row_bytes_max_ = 0;
  comm::SharedMemory tables_, staging_;
  std::vector<const std::byte*> bases_;  // of the sources' resident rows, in this process
  std::vector<Round> rounds_;            // by slot; leaders only
};

}  // namespace lepton::data
