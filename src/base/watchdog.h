// SPDX-License-Identifier: Apache-2.0
// The watchdog of a process: each watched thread beats when it comes further (a unit, a block of rows, each
// turn of a wait, because who waits is alive and has a deadline of its own); who has not beaten for longer
// than the limit is stuck. Time is counted in the watchdog's own ticks, so that nothing fires when the whole
// job is suspended, or starved. Threads that wait for a disk say so and have no limit. Made by train.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>

namespace lepton {

/// This thread has come further. A few instructions; nothing in a thread that is not watched.
void beat();

/// While it lives this thread may be silent as long as it likes: it waits for a disk.
class Unwatched {
 public:
  Unwatched();
  ~Unwatched();
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;
};

class Watchdog {
 public:
  /// `on_silence(who, seconds)` is called once, in the watchdog's thread, which has printed the thread's
  /// stack before; it ends the process.
  using OnSilence = std::function<void(const std::string& who, double silent_s)>;
  explicit Watchdog(OnSilence on_silence, double tick_s = 0.25);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// From now on; infinite: nobody is watched. Any thread.
  void set_limit(double seconds);

  /// The calling thread is watched under this name while it lives.
  class Watch {
   public:
    Watch(Watchdog& watchdog, const std::string& name);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    Watchdog& watchdog_;
    size_t place_ = 0;
  };

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lepton
