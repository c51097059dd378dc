// SPDX-License-Identifier: Apache-2.0
// A counting barrier with generations (Mellor-Crummey and Scott, "Algorithms for scalable synchronization on
// shared-memory multiprocessors", 1991, section 3.1, without the sense that the generation replaces).
// Who arrives last resets the count, raises the generation and wakes those who sleep on it.
// Invariant: the generation cannot change between a thread's reading it and its own arrival. The futex is
// shared between processes, hence never FUTEX_PRIVATE; sleeps are cut into slices, so a lost wake costs time,
// not the run.
#include "comm/node_barrier.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

#include "base/clock.h"
#include "base/waiting.h"

namespace lepton::comm {

static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(std::atomic<uint32_t>) == 4);

static void sleep_while(std::atomic<uint32_t>& word, uint32_t value) {
  constexpr timespec slice{0, 50'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT, value, &slice, nullptr, 0);
}

static void wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

NodeBarrier::NodeBarrier(NodeBarrierState& state, int participants, double deadline_s)
    : state_(state), participants_(static_cast<uint32_t>(participants)), deadline_s_(deadline_s) {
  CHECK(participants > 0, "a barrier of nobody");
}

void NodeBarrier::stop_if_failed() const {
  if (state_.failed.load(std::memory_order_acquire)) throw NodeFailed{};
}

void NodeBarrier::past_deadline() {
  const uint32_t here = state_.arrived.load();
  fail();
  throw DeadlineError("barrier of the threads of this node", deadline_s_,
                      std::to_string(here) + " of " + std::to_string(participants_) + " threads came");
}

void NodeBarrier::release() {
  state_.arrived.store(0, std::memory_order_relaxed);
  state_.generation.fetch_add(1, std::memory_order_seq_cst);
  // Sequentially consistent with the sleeper's increment and its futex's look at the generation: one sees the
  // other.
  if (state_.sleepers.load(std::memory_order_seq_cst) > 0) wake_all(state_.generation);
}

void NodeBarrier::await(uint32_t generation, const std::function<void()>* poll) {
  Pace pace;
  double slept_s = 0;  // pace's clock stands while we are in the futex
  while (state_.generation.load(std::memory_order_acquire) == generation) {
    stop_if_failed();
    if (pace.waited_s() + slept_s > deadline_s_) past_deadline();
    if (poll) {
      if (*poll) (*poll)();
      pace.step();
    } else if (!pace.patient()) {
      pace.step();
    } else {
      state_.sleepers.fetch_add(1, std::memory_order_seq_cst);
      const double begin_s = now_s();
      sleep_while(state_.generation, generation);
      slept_s += now_s() - begin_s;
      state_.sleepers.fetch_sub(1, std::memory_order_seq_cst);
    }
  }
}

void NodeBarrier::arrive_and_wait(const std::function<void()>* poll) {
  stop_if_failed();
  const uint32_t generation = state_.generation.load(std::memory_order_acquire);
  if (state_.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == participants_)
    release();
  else
    await(generation, poll);
}

void NodeBarrier::wait() {
  arrive_and_wait(nullptr);
}

void NodeBarrier::wait(const Poll& poll) {
  arrive_and_wait(&poll);
}

void NodeBarrier::wait_serial(const Poll& poll, const std::function<void()>& serial) {
  Pace pace;
  while (state_.arrived.load(std::memory_order_acquire) + 1 < participants_) {
    stop_if_failed();
    if (pace.waited_s() > deadline_s_) past_deadline();
    if (poll) poll();
    pace.step();
  }
  stop_if_failed();
  try {
    serial();
  } catch (...) {
    fail();
    throw;
  }
  release();
}

void NodeBarrier::fail() {
  state_.failed.store(1, std::memory_order_seq_cst);
  wake_all(state_.generation);
}

}  // namespace lepton::comm
