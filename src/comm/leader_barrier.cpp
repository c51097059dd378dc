// SPDX-License-Identifier: Apache-2.0
// One MPI_Ibarrier at a time on the leaders' communicator, numbered as a collective of their group, so that
// the group's roll call finds the missing. With one node the states are the same, without MPI.
#include "comm/leader_barrier.h"

#include <mpi.h>

#include <exception>

#include "base/clock.h"
#include "comm/group.h"

namespace lepton::comm {

struct LeaderBarrier::State {
  enum class Phase { fresh, open, complete };

  const World& world;
  Group& leaders;
  int exceptions = std::uncaught_exceptions();
  Phase phase = Phase::fresh;
  bool given_up = false;
  MPI_Request request = MPI_REQUEST_NULL;
  int64_t call = 0;  // the barrier's number among the leaders' collectives
  double entered_s = 0;
};

LeaderBarrier::LeaderBarrier(const World& world)
    : state_(std::make_unique<State>(State{world, world.handles().leaders})) {
  CHECK(world.leads(), "a barrier of leaders");
}

/// A barrier under way is left to MPI: it has no memory of ours, and its request may not be freed.
LeaderBarrier::~LeaderBarrier() {
  if (!entered() || state_->given_up || std::uncaught_exceptions() > state_->exceptions) return;
  CHECK(false, "a barrier is open");  // noexcept: ends the process, as it must
}

void LeaderBarrier::enter() {
  State& s = *state_;
  CHECK(!entered(), "a barrier is open");
  s.phase = State::Phase::open;
  if (s.world.nodes() == 1) return;
  s.leaders.begin();
  s.call = s.leaders.calls;
  s.entered_s = now_s();
  check_mpi(MPI_Ibarrier(s.leaders.comm, &s.request), "MPI_Ibarrier");
}

bool LeaderBarrier::entered() const {
  return state_->phase == State::Phase::open;
}

bool LeaderBarrier::complete() {
  State& s = *state_;
  if (!entered()) return s.phase == State::Phase::complete;
  int done = 1;
  if (s.world.nodes() > 1) {
    CHECK(s.leaders.calls == s.call, "another collective of the leaders began while a barrier was open");
    check_mpi(MPI_Test(&s.request, &done, MPI_STATUS_IGNORE), "barrier of the leaders");
    if (!done) s.leaders.roll_call(now_s() - s.entered_s);
  }
  if (done) s.phase = State::Phase::complete;
  return done != 0;
}

std::string LeaderBarrier::missing() const {
  CHECK(entered() && state_->world.nodes() > 1, "nobody is waited for");
  return state_->leaders.missing();
}

void LeaderBarrier::wait(const char* name, const Poll& poll) {
  CHECK(state_->phase != State::Phase::fresh, "a barrier is entered before it is waited for");
  Pace pace;
  while (!complete()) {
    if (poll) poll();
    pace.step();
    if (pace.waited_s() <= state_->leaders.deadline_s()) continue;
    state_->given_up = true;
    throw DeadlineError(name, state_->leaders.deadline_s(), missing());
  }
}

}  // namespace lepton::comm
