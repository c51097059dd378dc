// SPDX-License-Identifier: Apache-2.0
// The stop flag and its handlers, which do nothing but store to a lock-free atomic (async-signal-safe).
#include "base/stop.h"

#include <atomic>
#include <csignal>

namespace lepton {

namespace {

constexpr int none = -1;  // request_stop(0) asks for a stop without any signal
std::atomic<int> first_signal{none};
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void on_stop_signal(int signal) {
  request_stop(signal);
}

}  // namespace

void install_stop_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;  // no system call of ours or of a library returns EINTR for it
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
}

bool stop_requested() {
  return first_signal.load(std::memory_order_relaxed) != none;
}

int stop_signal() {
  const int signal = first_signal.load(std::memory_order_relaxed);
  return signal == none ? 0 : signal;
}

void request_stop(int signal) {
  int expected = none;
  first_signal.compare_exchange_strong(expected, signal, std::memory_order_relaxed);
}

void clear_stop() {
  first_signal.store(none, std::memory_order_relaxed);
}

}  // namespace lepton
