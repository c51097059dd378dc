// SPDX-License-Identifier: Apache-2.0
// The stop flag and its handlers, which do nothing but store to a lock-free atomic (async-signal-safe).
#include "base/stop.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>

#include "base/error.h"

namespace lepton {

namespace {

constexpr int none = -1;  // request_stop(0) asks for a stop without any signal
std::atomic<int> first_signal{none};
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void on_stop_signal(int signal) {
  request_stop(signal);
}

class SignalStack {
 public:
  SignalStack() : memory_(new char[bytes()]) {
    stack_t stack = {};
    stack.ss_sp = memory_.get();
    stack.ss_size = bytes();
    CHECK(sigaltstack(&stack, &previous_) == 0, "sigaltstack");
  }
  ~SignalStack() { sigaltstack(&previous_, nullptr); }
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

 private:
  static size_t bytes() {  // a frame holds all vector registers: kilobytes with AVX-512, more with AMX
    constexpr long handler_bytes = 32 << 10;
    return static_cast<size_t>(std::max(0L, sysconf(_SC_MINSIGSTKSZ)) + handler_bytes);
  }
  std::unique_ptr<char[]> memory_;
  stack_t previous_ = {};
};

}  // namespace

void install_stop_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_ONSTACK | SA_RESTART;  // no system call of ours or of a library returns EINTR for it
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
}

void use_signal_stack() {
  thread_local const SignalStack stack;
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
