// SPDX-License-Identifier: Apache-2.0
// Stacks are printed of one thread, and at a signal from outside of all.
#include "base/stacks.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

namespace lepton {
namespace {

/// So many threads that do nothing, until it goes.
class Idlers {
 public:
  explicit Idlers(int count) {
    for (int i = 0; i < count; ++i)
      threads_.emplace_back([this] {
        number_ = syscall(SYS_gettid);
        while (!stop_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      });
    while (number_ == 0) std::this_thread::yield();
  }
  ~Idlers() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }
  int64_t number() const { return number_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> number_{0};
  std::vector<std::thread> threads_;
};

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Stacks, OfOneThread) {
  install_stack_handler();
  const Idlers one(1);
  testing::internal::CaptureStderr();
  print_stack_of(one.number());
  const std::string printed = testing::internal::GetCapturedStderr();
  EXPECT_EQ(count_of(printed, "stack of thread "), 1u) << printed;
  EXPECT_NE(printed.find("stack of thread " + std::to_string(one.number())), std::string::npos) << printed;
  EXPECT_GT(count_of(printed, "\n"), 3u) << printed;
}

TEST(Stacks, ASignalFromOutsidePrintsThoseOfAllThreads) {
  install_stack_handler();
  const Idlers two(2);
  testing::internal::CaptureStderr();
  kill(getpid(), SIGUSR2);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const std::string printed = testing::internal::GetCapturedStderr();
  EXPECT_GE(count_of(printed, "stack of thread "), 3u) << printed;
}

}  // namespace
}  // namespace lepton
