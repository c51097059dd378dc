// SPDX-License-Identifier: Apache-2.0
// Progress on rank 0: on a terminal one live line (epoch, step, loss, metric, samples/s, time left),
// elsewhere a plain line at intervals. Knows nothing of how training works; train tells it the state after
// each step.
#pragma once

#include <cstdint>
#include <string>

#include "report/texts.h"  // the closing summary

namespace lepton::report {

struct ProgressState {
  int64_t step = 0, last_step = 0;  ///< steps done, and at the end of the run
  int64_t epoch = 0, epochs = 0;    ///< the epoch under way, from 1; 0 epochs: not told
  int64_t samples_done = 0, samples_total = 0;
  double loss = 0;
  std::string metric;  ///< "accuracy 0.981", or ""
};

class Progress {
 public:
  explicit Progress(double plain_interval_s = 10);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void update(const ProgressState& state);  ///< cheap: looks at the clock, prints rarely
  void finish();                            ///< ends the live line

 private:
  struct Mark {
    double at_s = 0;
    int64_t samples = 0;
  };
  double rate_since(const Mark& mark, const ProgressState& state, double now) const;

  bool terminal_ = false, live_ = false, started_ = false;
  double interval_s_, last_print_s_ = 0;
  Mark start_, older_, newer_;  // older_ and newer_ follow the run, so that the rate shown is a recent one
};

/// "epoch 3/10  step 1200/2340  loss 0.0512  accuracy 0.981  105k samples/s  12 s left"; a rate or a time
/// left that is not known yet (<= 0, < 0) is left out.
std::string progress_text(const ProgressState& state, double samples_per_second, double left_s);

}  // namespace lepton::report
