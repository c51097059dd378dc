// SPDX-License-Identifier: Apache-2.0
// Worker: a node's side of stealing: its leader calls it between units and while it waits. It reports what
// the policy wants reported, gives units from the back of the node's queue, takes those of others in once
// their rows are here, and closes the queue when every unit of the round has been started somewhere. It knows
// the outside by six functions, which train binds to MPI and rows, and the simulator to its own world.
//
// Why nobody closes before that: a node that is done on time would otherwise leave, and one that then turns
// out to hardly move would keep its units to itself. So all meet in a barrier of empty messages, which a node
// enters when it answers for no unstarted unit any more (protocol.h) but those of its own that take less than
// is worth a message, which it keeps from then on: so that the barrier completes while they are computed. As
// long as a unit could be given away no queue is closed, so no offer ever comes too late, and none needs to
// be refused.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "balance/policy.h"
#include "balance/protocol.h"
#include "balance/queue.h"

namespace lepton::balance {

class Outside {
 public:
  virtual ~Outside() = default;
  virtual void send(int node, const Message& message) = 0;
  /// The rows of these units, which this node has, go to the other one's machine as far as it lacks them;
  virtual void lend(int node, int64_t number, std::span<const int32_t> units) = 0;
  /// they come from there;
  virtual void borrow(int node, int64_t number, std::span<const int32_t> units) = 0;
  /// they are here, and every thread may use them.
  virtual bool borrowed(int node, int64_t number) = 0;
  /// This node answers for no unstarted unit that it may give away any more; no node does.
  virtual void enter_barrier() = 0;
  virtual bool barrier_complete() = 0;
};

/// Units moved in a round.
struct Moved {
  int64_t given = 0, taken = 0;
};

class Worker {
 public:
  /// Rank 0's leader is node 0. `units_max`: of any round.
  Worker(int64_t units_max, UnitQueue queue, Outside& outside);

  /// A round begins: the queue is filled with this node's units. `alone`: nothing moves, the queue is closed.
  void begin(const Stamp& stamp, const NodePlan& plan, UnitRange units, bool alone);
  /// Between units, and again and again while waiting; `now_s` since the round began.
  void poll(double now_s);
  /// A message of this round, but Report.
  void receive(double now_s, int from, const Message& message);

  const Stamp& stamp() const { return stamp_; }
  bool closed() const { return queue_.closed(); }
  const Moved& moved() const { return moved_; }

 private:
  static constexpr int32_t own = -1;
  /// A unit that this node answers for at nobody (own), or at the giver of a loan.
  struct Answer {
    int32_t unit = 0, loan = own;
  };
  struct Loan {
    int from = 0;
    int64_t number = 0, unstarted = 0;
    std::vector<int32_t> units;
  };
  struct Lent {
    int64_t number = 0;
    std::vector<Answer> units;
  };
  void obey(double now_s, const Give& give);
  void offer(const Move& move, std::span<const int32_t> units);
  void accept(int from, const Offer& offer);
  void settle(int64_t number);
  void take_in();
  void note_started();
  void started(int32_t loan);
  int32_t forget_loan(int32_t unit);
  Progress progress() const;

  int64_t units_max_;
  UnitQueue queue_;
  Outside& outside_;
  NodePolicy policy_;
  Stamp stamp_;
  bool alone_ = true, entered_ = false;
  int64_t seen_started_ = 0, offers_ = 0;
  int64_t kept_ = 0;  ///< of the queue's list, the first so many are not given away
  Moved moved_;
  std::vector<Loan> loans_;        ///< of the round
  std::vector<int32_t> arriving_;  ///< of them, those whose rows are not here yet
  std::vector<Lent> lent_;
  std::unordered_map<int32_t, int32_t> loan_of_unit_;  ///< of those in the queue that are not its own
};

}  // namespace lepton::balance
