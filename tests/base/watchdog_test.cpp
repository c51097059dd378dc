// SPDX-License-Identifier: Apache-2.0
// Who is silent for too long is named once; who beats, waits for a disk, has gone or has no limit is not.
#include "base/watchdog.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <thread>

#include "base/stacks.h"
#include "base/waiting.h"

namespace lepton {
namespace {

/// What a watchdog with ticks of 10 ms and a limit of 100 ms has said.
class Kennel {
 public:
  Kennel() : watchdog([this](const std::string& who, double) { named_ = who, ++barks_; }, 0.01) {
    install_stack_handler();
    watchdog.set_limit(0.1);
  }
  int barks() const { return barks_; }
  std::string named() const { return named_; }

 private:
  std::string named_;
  std::atomic<int> barks_{0};

 public:
  Watchdog watchdog;
};

void sleep_ms(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));  // whatever signals come
}

TEST(Watchdog, NamesWhoIsSilentOnceAndPrintsItsStack) {
  Kennel kennel;
  testing::internal::CaptureStderr();
  std::thread silent([&] {
    const Watchdog::Watch watch(kennel.watchdog, "rank 3, thread 1");
    sleep_ms(1200);
  });
  std::thread lively([&] {
    const Watchdog::Watch watch(kennel.watchdog, "rank 3, thread 2");
    for (int i = 0; i < 60; ++i, sleep_ms(20)) beat();
  });
  silent.join();
  lively.join();
  EXPECT_EQ(kennel.barks(), 1);
  EXPECT_EQ(kennel.named(), "rank 3, thread 1");
  const std::string printed = testing::internal::GetCapturedStderr();
  EXPECT_NE(printed.find("stack of thread "), std::string::npos) << printed;
}

TEST(Watchdog, LeavesAloneWhoBeatsWaitsForADiskOrIsNotWatched) {
  Kennel kennel;
  {
    const Watchdog::Watch watch(kennel.watchdog, "main");
    for (int i = 0; i < 15; ++i, sleep_ms(20)) beat();
    const Unwatched disk;
    sleep_ms(300);
  }
  sleep_ms(300);  // gone
  beat();         // by nobody that is watched
  const Watchdog::Watch again(kennel.watchdog, "main");
  Pace pace;  // who waits is alive
  while (pace.waited_s() < 0.4) pace.step();
  kennel.watchdog.set_limit(std::numeric_limits<double>::infinity());
  sleep_ms(300);
  EXPECT_EQ(kennel.barks(), 0) << kennel.named();
  kennel.watchdog.set_limit(0.1);
  sleep_ms(700);
  EXPECT_EQ(kennel.barks(), 1);
}

}  // namespace
}  // namespace lepton
