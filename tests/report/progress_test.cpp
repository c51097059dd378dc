// SPDX-License-Identifier: Apache-2.0
// The line's text; plain lines where stderr is no terminal; one live line, cleared for the log, where it is
// one (a pseudo-terminal stands in).
#include "report/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/log.h"

namespace lepton::report {
namespace {

ProgressState state_at(int64_t step) {
  ProgressState state;
  state.step = step;
  state.last_step = 100;
  state.epoch = 3;
  state.epochs = 10;
  state.samples_done = 256 * step;
  state.samples_total = 25600;
  state.loss = 0.0512345;
  state.metric = "accuracy 0.981";
  return state;
}

void pause_ms(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

/// stderr is a terminal while this lives; read() gives what came there.
class Terminal {
 public:
  Terminal() : controller_(posix_openpt(O_RDWR | O_NOCTTY)), saved_(dup(STDERR_FILENO)) {
    if (controller_ < 0 || grantpt(controller_) != 0 || unlockpt(controller_) != 0) return;
    const int terminal = open(ptsname(controller_), O_RDWR | O_NOCTTY);
    works_ = terminal >= 0 && dup2(terminal, STDERR_FILENO) >= 0;
    if (terminal >= 0) close(terminal);
  }
  ~Terminal() {
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    close(controller_);
  }
  bool works() const { return works_; }
  std::string read_all() {
    std::string text;
    char part[4096];
    pollfd wait{controller_, POLLIN, 0};
    while (poll(&wait, 1, 50) > 0) {
      const ssize_t got = read(controller_, part, sizeof part);
      if (got <= 0) break;
      text.append(part, static_cast<size_t>(got));
    }
    return text;
  }

 private:
  int controller_, saved_;
  bool works_ = false;
};

TEST(Progress, text) {
  EXPECT_EQ(progress_text(state_at(12), 105000, 12),
            "epoch 3/10  step 12/100  loss 0.05123  accuracy 0.981  105k samples/s  12 s left");
  ProgressState state = state_at(12);
  state.metric = "";
  state.epochs = 0;
  EXPECT_EQ(progress_text(state, 0, -1), "step 12/100  loss 0.05123");
}

TEST(Progress, plain_lines_at_intervals) {
  start_log(0, 1);
  testing::internal::CaptureStderr();
  {
    Progress progress(0.05);
    for (int64_t step = 1; step <= 20; ++step) progress.update(state_at(1));  // too early for a line
    pause_ms(60);
    progress.update(state_at(50));
    progress.update(state_at(51));
    progress.finish();
  }
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find("epoch 3/10  step 50/100  loss 0.05123  accuracy 0.981  "), 0u) << text;
  EXPECT_NE(text.find("samples/s"), std::string::npos) << text;
  EXPECT_NE(text.find(" s left"), std::string::npos) << text;
}

TEST(Progress, nothing_in_a_run_that_is_too_short) {
  testing::internal::CaptureStderr();
  {
    Progress progress(10);
    for (int64_t step = 1; step <= 100; ++step) progress.update(state_at(step));
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Progress, one_live_line_on_a_terminal) {
  start_log(0, 1);
  std::string drawn, logged, ended, after;
  {
    Terminal terminal;
    if (!terminal.works()) GTEST_SKIP() << "no pseudo-terminals here";
    Progress progress(10);
    progress.update(state_at(1));
    pause_ms(300);
    progress.update(state_at(2));
    drawn = terminal.read_all();
    log_info("A message.");
    logged = terminal.read_all();
    progress.finish();
    ended = terminal.read_all();
    log_info("Another.");
    after = terminal.read_all();
  }
  EXPECT_EQ(drawn.find("\repoch 3/10  step 2/100"), 0u) << drawn;
  EXPECT_EQ(drawn.find('\n'), std::string::npos);
  EXPECT_EQ(logged, "\r\033[KA message.\r\n");  // the terminal makes \r\n of \n
  EXPECT_EQ(ended, "\r\033[K");
  EXPECT_EQ(after, "Another.\r\n");
}

}  // namespace
}  // namespace lepton::report
