// SPDX-License-Identifier: Apache-2.0
// LeaderBarrier: a barrier between node leaders that is entered when its own work is done and then tested, so
// that a leader serves messages while others still compute, however long. Main threads of leaders only.
// It is one of the collectives on the leaders' communicator, which all begin in the same order: from enter()
// until complete() no other may begin there, because who waits for the others tells them by the number of the
// latest collective who is missing. CHECKed. (Messages, and collectives of other groups, are free to flow.)
#pragma once

#include <memory>
#include <string>

#include "base/waiting.h"
#include "comm/world.h"

namespace lepton::comm {

class LeaderBarrier {
 public:
  explicit LeaderBarrier(const World& world);
  /// CHECKs that the barrier is not open, unless an exception is under way or the deadline passed.
  ~LeaderBarrier();
  LeaderBarrier(const LeaderBarrier&) = delete;
  LeaderBarrier& operator=(const LeaderBarrier&) = delete;

  /// **Collective over leaders.** Returns at once. Again only once complete() has said true.
  void enter();
  /// **Local.** Entered, and complete() has not said true since.
  bool entered() const;
  /// **Leaders.** Whether all have entered; then it stays true until the next enter(). False before the
  /// first. Who has entered calls it again and again: it also answers those who ask who is missing.
  bool complete();
  /// **Local.** Who has not entered, in words for DeadlineError. Known only at the end of a wait of World's
  /// deadline: before half of it nobody asks, and who does not call complete() does not answer.
  std::string missing() const;
  /// **Leaders.** Until complete, polling. DeadlineError, counted from the call, is of `name` and says who is
  /// missing.
  void wait(const char* name, const Poll& poll = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lepton::comm
