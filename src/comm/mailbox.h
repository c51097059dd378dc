// SPDX-License-Identifier: Apache-2.0
// Mailbox: small control messages between node leaders, sent at any time, received whenever they come; what
// they say is the caller's. Main threads of leaders only. No call but drain() waits, and each does a bounded
// amount of work: also a message too large to go at once, whose sender is busy computing, keeps nobody's but
// its own sender's later messages back. Invariants: messages between two nodes arrive in the order sent; all
// of Channel::control belongs to one mailbox at a time, from its construction to its drain().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "comm/world.h"

namespace lepton::comm {

struct Letter {
  int from;  ///< a node
  std::string bytes;
};

class Mailbox {
 public:
  explicit Mailbox(const World& world);
  /// CHECKs that nothing is under way, unless an exception is or the deadline passed: then MPI keeps the
  /// memory of what is under way, for good.
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  /// **Local.** To the leader of `node`, also to oneself (without MPI, as everything with one node).
  void send(int node, std::string bytes);
  /// **Local.** The next message that has come, from anybody. Also moves what is under way; with nothing
  /// there it is two MPI_Improbe and allocates nothing.
  std::optional<Letter> receive();
  /// **Collective over leaders.** Afterwards nothing is under way: all own messages are taken, and what was
  /// sent here before and not received is discarded. Exact, because senders tell how many there are; what is
  /// sent after it is not touched. DeadlineError names the leaders who did not come, or whose messages are
  /// missing; then the mailbox is at its end.
  void drain();

  int64_t sent() const;      ///< messages so far, those to oneself included
  int64_t received() const;  ///< messages so far, those that drain() discarded included

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lepton::comm
