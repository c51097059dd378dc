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

#include <algorithm>
#include <climits>
#include <ctime>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>

#include "base/clock.h"
#include "base/waiting.h"
#include "base/watchdog.h"

namespace lepton::comm {

static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(std::atomic<uint32_t>) == 4);

static void sleep_while(std::atomic<uint32_t>& word, uint32_t value) {
  constexpr timespec slice{0, 50'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT, value, &slice, nullptr, 0);
}

static void wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

NodeBarrier::NodeBarrier(NodeBarrierState& state, std::span<Attendant> roster, int rank,
                         const Deadline& deadline)
    : state_(state),
      roster_(roster),
      participants_(static_cast<uint32_t>(roster.size())),
      rank_(rank),
      process_(getpid()),
      deadline_(deadline) {
  CHECK(participants_ > 0, "a barrier of nobody");
}

void NodeBarrier::sign(int place, uint32_t generation) {
  Attendant& own = roster_[static_cast<size_t>(place)];
  own.rank.store(rank_, std::memory_order_relaxed);
  own.process.store(process_, std::memory_order_relaxed);
  own.arrivals.store(generation + 1, std::memory_order_relaxed);
}

/// 'T' of a stopped process, 'Z' of a dead one; ' ' where nothing is known.
static char state_of_process(int32_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  return name_end != std::string::npos && name_end + 2 < text.size() ? text[name_end + 2] : ' ';
}

/// "rank 2 did not come (process 4711 is stopped)", each rank once.
std::string NodeBarrier::missing() const {
  const uint32_t generation = state_.generation.load(std::memory_order_acquire);
  std::set<int32_t> named;  // processes
  std::string text;
  for (const Attendant& attendant : roster_) {
    const int32_t rank = attendant.rank.load(std::memory_order_relaxed),
                  process = attendant.process.load(std::memory_order_relaxed);
    if (attendant.arrivals.load(std::memory_order_relaxed) == generation + 1 || !named.insert(process).second)
      continue;
    const char state = state_of_process(process);
    text += (text.empty() ? "" : "; ") + (process == 0 ? std::string("a thread did not come")
                                                       : "rank " + std::to_string(rank) + " did not come");
    if (process != 0)
      text += " (process " + std::to_string(process) +
              (state == 'T' || state == 't'   ? " is stopped)"
               : state == 'Z' || state == ' ' ? " is dead)"
                                              : ")");
  }
  return text.empty() ? "all came, but it did not end" : text;
}

void NodeBarrier::stop_if_failed() const {
  if (state_.failed.load(std::memory_order_acquire)) throw NodeFailed{};
}

double NodeBarrier::deadline_s() const {
  return state_.patient.load(std::memory_order_relaxed) ? std::numeric_limits<double>::infinity()
                                                        : deadline_.seconds();
}

void NodeBarrier::past_deadline() {
  const std::string whom = missing();
  fail();
  throw DeadlineError("barrier of the threads of this node", deadline_.seconds(), whom);
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
    if (pace.waited_s() + slept_s > deadline_s()) past_deadline();
    if (poll) {
      if (*poll) (*poll)();
      pace.step();
    } else if (!pace.patient()) {
      pace.step();
    } else {
      state_.sleepers.fetch_add(1, std::memory_order_seq_cst);
      const double begin_s = now_s();
      sleep_while(state_.generation, generation);
      slept_s += std::min(now_s() - begin_s, OwnTime::tick_max_s);
      beat();
      state_.sleepers.fetch_sub(1, std::memory_order_seq_cst);
    }
  }
}

void NodeBarrier::arrive_and_wait(int place, const std::function<void()>* poll) {
  stop_if_failed();
  const uint32_t generation = state_.generation.load(std::memory_order_acquire);
  sign(place, generation);
  if (state_.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == participants_)
    release();
  else
    await(generation, poll);
}

void NodeBarrier::wait(int place) {
  arrive_and_wait(place, nullptr);
}

void NodeBarrier::wait(int place, const Poll& poll) {
  arrive_and_wait(place, &poll);
}

void NodeBarrier::wait_serial(int place, const Poll& poll, const std::function<void()>& serial) {
  sign(place, state_.generation.load(std::memory_order_acquire));
  Pace pace;
  while (state_.arrived.load(std::memory_order_acquire) + 1 < participants_) {
    stop_if_failed();
    if (pace.waited_s() > deadline_s()) past_deadline();
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
