// SPDX-License-Identifier: Apache-2.0
// A thread that wakes a few times a second and compares counters. See the header.
#include "base/watchdog.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/stacks.h"

namespace lepton {

namespace {

/// What a watched thread shares with its watchdog.
struct Pulse {
  std::atomic<uint64_t> beats{0};
  std::atomic<int> unwatched{0};
  std::string name;
  int64_t thread = 0;  ///< of the kernel
  bool present = false;
  uint64_t seen = 0;  ///< by the watchdog
  double silent_s = 0;
};

thread_local Pulse* own_pulse = nullptr;

}  // namespace

void beat() {
  if (Pulse* pulse = own_pulse)
    pulse->beats.store(pulse->beats.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

Unwatched::Unwatched() {
  if (own_pulse) own_pulse->unwatched.fetch_add(1, std::memory_order_relaxed);
}

Unwatched::~Unwatched() {
  if (!own_pulse) return;
  beat();
  own_pulse->unwatched.fetch_sub(1, std::memory_order_relaxed);
}

struct Watchdog::State {
  OnSilence on_silence;
  double tick_s;
  std::atomic<double> limit_s{std::numeric_limits<double>::infinity()};
  std::mutex mutex;
  std::condition_variable wake;
  bool stop = false;
  std::deque<Pulse> pulses;  // whose places stay where they are
  std::thread thread;

  void loop();
  /// The first that has been silent for too long.
  Pulse* look();
};

Pulse* Watchdog::State::look() {
  for (Pulse& pulse : pulses) {
    if (!pulse.present) continue;
    const uint64_t beats = pulse.beats.load(std::memory_order_relaxed);
    const bool moved = beats != pulse.seen || pulse.unwatched.load(std::memory_order_relaxed) > 0;
    pulse.silent_s = moved ? 0 : pulse.silent_s + tick_s;
    pulse.seen = beats;
    if (pulse.silent_s > limit_s.load(std::memory_order_relaxed)) return &pulse;
  }
  return nullptr;
}

void Watchdog::State::loop() {
  std::unique_lock guard(mutex);
  while (!wake.wait_for(guard, std::chrono::duration<double>(tick_s), [this] { return stop; }))
    if (const Pulse* silent = look()) {
      print_stack_of(silent->thread);
      return on_silence(silent->name, silent->silent_s);
    }
}

Watchdog::Watchdog(OnSilence on_silence, double tick_s) : state_(std::make_unique<State>()) {
  state_->on_silence = std::move(on_silence);
  state_->tick_s = tick_s;
  state_->thread = std::thread([this] { state_->loop(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard guard(state_->mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  state_->thread.join();
}

void Watchdog::set_limit(double seconds) {
  state_->limit_s.store(seconds, std::memory_order_relaxed);
}

Watchdog::Watch::Watch(Watchdog& watchdog, const std::string& name) : watchdog_(watchdog) {
  const std::lock_guard guard(watchdog_.state_->mutex);
  std::deque<Pulse>& pulses = watchdog_.state_->pulses;
  place_ = pulses.size();
  Pulse& pulse = pulses.emplace_back();
  pulse.name = name;
  pulse.thread = syscall(SYS_gettid);
  pulse.present = true;
  own_pulse = &pulse;
}

Watchdog::Watch::~Watch() {
  own_pulse = nullptr;
  const std::lock_guard guard(watchdog_.state_->mutex);
  watchdog_.state_->pulses[place_].present = false;
}

}  // namespace lepton
