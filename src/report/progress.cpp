// SPDX-License-Identifier: Apache-2.0
// The live line is written over itself by a carriage return; the log clears it before it prints
// (set_log_interrupt), and the next update draws it again.
#include "report/progress.h"

#include <unistd.h>

#include <cstdio>

#include "base/clock.h"
#include "base/log.h"

namespace lepton::report {

namespace {

constexpr double live_interval_s = 0.25, rate_window_s = 5;

void clear_live_line() {
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
}

}  // namespace

Progress::Progress(double plain_interval_s)
    : terminal_(isatty(STDERR_FILENO) == 1), interval_s_(plain_interval_s) {
  if (terminal_) interval_s_ = live_interval_s;
}

Progress::~Progress() {
  finish();
}

double Progress::rate_since(const Mark& mark, const ProgressState& state, double now) const {
  return now > mark.at_s ? static_cast<double>(state.samples_done - mark.samples) / (now - mark.at_s) : 0;
}

void Progress::update(const ProgressState& state) {
  const double now = now_s();
  if (!started_) {
    started_ = true;
    start_ = older_ = newer_ = {now, state.samples_done};
    last_print_s_ = now;
  }
  if (now - last_print_s_ < interval_s_) return;
  last_print_s_ = now;
  const double overall = rate_since(start_, state, now);
  const double left_s =
      overall > 0 ? static_cast<double>(state.samples_total - state.samples_done) / overall : -1;
  const std::string text = progress_text(state, rate_since(older_, state, now), left_s);
  if (now - newer_.at_s >= rate_window_s) {
    older_ = newer_;
    newer_ = {now, state.samples_done};
  }
  if (!terminal_) return log_info(text);
  if (!live_) set_log_interrupt(clear_live_line);
  live_ = true;
  std::fprintf(stderr, "\r%s\033[K", text.c_str());
  std::fflush(stderr);
}

void Progress::finish() {
  if (!live_) return;
  live_ = false;
  set_log_interrupt(nullptr);
  clear_live_line();
}

std::string progress_text(const ProgressState& state, double samples_per_second, double left_s) {
  char loss[32];
  std::snprintf(loss, sizeof loss, "%.4g", state.loss);
  std::string text;
  if (state.epochs > 0)
    text += "epoch " + std::to_string(state.epoch) + "/" + std::to_string(state.epochs) + "  ";
  text += "step " + std::to_string(state.step) + "/" + std::to_string(state.last_step) + "  loss " + loss;
  if (!state.metric.empty()) text += "  " + state.metric;
  if (samples_per_second > 0) text += "  " + count_text(samples_per_second) + " samples/s";
  if (left_s >= 0) text += "  " + duration_text(left_s) + " left";
  return text;
}

}  // namespace lepton::report
