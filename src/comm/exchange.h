// SPDX-License-Identifier: Apache-2.0
// Exchange: every leader sends parts of an array to every other and receives parts from every other, in
// bounded pieces: n - 1 rounds, in round d rank p sends to p + d and receives from p - d, so each pair is
// busy once per round (the pairwise exchange of Thakur, Rabenseifner and Gropp, "Optimization of collective
// communication operations in MPICH", 2005). A window of pieces is in flight in each direction, across
// rounds. Each rank sends and receives (n - 1) / n of the array, the least possible. It cannot deadlock: the
// piece of the earliest round that is not through has everything before it done on both sides, so both have
// posted it. Inside comm only; used by reduction.cpp.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <functional>
#include <span>

#include "base/waiting.h"
#include "comm/exchange_memory.h"
#include "comm/group.h"

namespace lepton::comm {

class Exchange {
 public:
  /// Part of the array, in bytes, that goes between rank `peer` and this rank.
  struct Range {
    size_t begin = 0, end = 0;
  };
  /// The range for a peer, by its rank.
  using RangeOf = std::function<Range(int peer)>;

  Exchange(Group& leaders, size_t piece_bytes, ExchangeMemory& memory);

  /// Sends outgoing(peer) to each peer. What comes is added to incoming(peer) as int64 if `add`, else stored
  /// there. `name` is for errors.
  void run(std::byte* array, const RangeOf& outgoing, const RangeOf& incoming, bool add, const char* name,
           const Poll& poll);

 private:
  static constexpr int window = 8;

  /// Walks the pieces of all rounds in order.
  struct Cursor {
    const RangeOf* range_of = nullptr;
    int direction = 0, round = 0, peer = 0;
    Range left;
  };
  struct Slot {
    int peer = 0;
    Range piece;
  };
  bool next_piece(Cursor& cursor, Slot& piece) const;
  void post(std::byte* array, bool add);
  void finish(int slot, std::byte* array, bool add);
  void give_up(const char* name);
  std::byte* scratch(int slot) const { return scratch_ + static_cast<size_t>(slot) * piece_bytes_; }

  Group& leaders_;
  size_t piece_bytes_;
  ExchangeMemory& memory_;
  std::byte* scratch_ = nullptr;  // one piece per receive in the window
  // Slots 0 .. window - 1 receive, the rest send.
  MPI_Request requests_[2 * window];
  Slot slots_[2 * window];
  Cursor in_, out_;
};

}  // namespace lepton::comm
