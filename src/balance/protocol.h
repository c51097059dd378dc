// SPDX-License-Identifier: Apache-2.0
// The messages of stealing, between the leaders of nodes (DESIGN section 4.3). A node that is off its plan
// reports to rank 0; rank 0 tells a node that will be late to give units to one that will be early; the giver
// offers them; the taker says when all of them have been started. Every message carries the round that it
// belongs to. A balanced step sends none.
//
//   node --Report--> rank 0 --Give--> giver --Offer (and the rows)--> taker --Started--> giver
//
// Invariant: a unit is somebody's to answer for from the plan to its start: its giver answers until the taker
// says Started, a taker who gives it on answers to its own giver in the same way. Each starts exactly once.
// When every node answers for nothing any more but units of its own that it keeps (worker.h), none will
// change hands again.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace lepton::balance {

/// Which round a message belongs to.
struct Stamp {
  int64_t round = 0;  ///< counts attempts and evaluation rounds since the processes started: orders messages
  int32_t kind = 0;   ///< train, validation, ...
  int64_t step = 0;
  int32_t attempt = 0;
  bool operator==(const Stamp&) const = default;
};

/// So many units, to or from a node.
struct Move {
  int32_t node = 0;
  int64_t units = 0;
  double end_s = 0;  ///< when rank 0 then expects the taker to be idle
  bool operator==(const Move&) const = default;
};

/// To rank 0: how a node stands, when that is not what rank 0 must believe.
struct Report {
  double at_s = 0;            ///< when it was so, since the round began
  int64_t left = 0;           ///< units not started, which it could give away
  double end_s = 0;           ///< when it expects to be idle
  double unit_s = 0;          ///< thread time of a unit
  int64_t gives_seen = 0;     ///< messages Give that this already reckons with
  int64_t taken = 0;          ///< units that have come to it in this round
  std::vector<Move> missing;  ///< of the last Give: what each taker will not get, because it was started
  bool operator==(const Report&) const = default;
};

/// From rank 0: give these nodes so many of your unstarted units.
struct Give {
  std::vector<Move> moves;
  double end_s = 0;  ///< when rank 0 then expects you to be idle
  bool operator==(const Give&) const = default;
};

/// From the giver: these units are yours. Their rows follow, as far as the taker's machine does not hold
/// them.
struct Offer {
  int64_t number = 0;  ///< the giver's count of its offers
  std::vector<int32_t> units;
  double end_s = 0;  ///< of the Move
  bool operator==(const Offer&) const = default;
};

/// From the taker: all units of the giver's offer have been started.
struct Started {
  int64_t number = 0;
  bool operator==(const Started&) const = default;
};

struct Message {
  Stamp stamp;
  std::variant<Report, Give, Offer, Started> body;
};

/// As bytes (comm/pack.h), and back. Throws Error(io) when they are damaged.
std::string encode(const Message& message);
Message decode(const std::string& bytes);

}  // namespace lepton::balance
