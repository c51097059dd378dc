// SPDX-License-Identifier: Apache-2.0
// Estimates of what the simulator does not play: the end of a step between nodes, checkpoints and failures,
// and the length of a run. Pure functions of sizes and speeds; every formula stands before its code, with
// its source. Optimism and pessimism are said where they are: link and latency are those of an empty network,
// and a checkpoint is taken to stop the run while it is written, which it does not. For the command
// `simulate`.
#pragma once

#include <cstdint>

namespace lepton::train {

/// What the end of a step handles.
struct StateSize {
  int64_t elements = 0;  ///< of the arena
  int moments = 0;       ///< arrays of the optimizer per parameter
  int64_t lane_bytes = 0;
};

/// Nodes and what lies between them; bytes per second of the slowest node's link and memory.
struct Links {
  int64_t nodes = 1;
  double latency_s = 0, bytes_per_s = 1, memory_bytes_per_s = 1;
};

/// The end of a step, DESIGN section 4.4, in seconds.
struct StepEnd {
  double reduce_s = 0;  ///< (b)
  double lanes_s = 0;   ///< (c)
  double update_s = 0;  ///< (d)
  double gather_s = 0;  ///< (e)
  double other_s = 0;   ///< measured elsewhere: barriers, ledger, what the formulas leave out
  double total_s() const { return reduce_s + lanes_s + update_s + gather_s + other_s; }
};
StepEnd step_end(const StateSize& state, const Links& links);

/// Of a checkpoint of `bytes` by so many writers at once; `commit_s`: what it takes beside its bytes.
double write_s(double bytes, double file_system_bytes_per_s, int64_t writers, double writer_bytes_per_s,
               double commit_s);

/// The best time between two checkpoints of a job that fails every `mtbf_s` on the mean: Young's first order,
/// and Daly's higher order, which must be used where writing is not short beside it.
double young_interval_s(double write_s, double mtbf_s);
double daly_interval_s(double write_s, double mtbf_s);

/// checkpoint.every = "auto": Daly's, with failures as often as they were observed on top of one a day;
/// before anything was written (0) a minute, never less than 10 s or 20 times the writing, never more than an
/// hour.
double automatic_interval_s(double write_s, int64_t failures, double observed_s);

/// Expected wall time of `solve_s` of work with a checkpoint after every `interval_s` of it; infinite where
/// no interval is ever completed.
double expected_s(double solve_s, double interval_s, double write_s, double mtbf_s, double restart_s);

/// The rounds of a run.
struct RunLength {
  int64_t steps_per_epoch = 1, epochs = 1;
  int64_t units = 1, last_units = 1;  ///< of a step, and of an epoch's last
  double evaluated_units = 0;         ///< in the whole run, of the size of training units
};
/// `units_s`, `end_s`: of a full step.
double run_s(const RunLength& length, double units_s, double end_s);

}  // namespace lepton::train
