// SPDX-License-Identifier: Apache-2.0
// The formulas. See the header.
#include "train/estimate.h"

#include <algorithm>
#include <cmath>

namespace lepton::train {

// n nodes, P elements, latency a, link b and memory m in bytes per second, L bytes of lanes.
//
// (b) comm/exchange: pairwise exchange, n - 1 rounds, in which each node sends and receives (n - 1) / n of
// the
//     array: (n - 1) a + (n - 1) / n 8 P / b (Thakur, Rabenseifner and Gropp, "Optimization of collective
//     communication operations in MPICH", 2005, without its term of computing: the integer
//     additions run while pieces travel).
// (c) one all-reduce by recursive doubling: ceil(log2 n) (a + L / b) (the same).
// (d) a node updates its slice of P / n elements: the sum (8 bytes), parameters and M moments read and
//     written (8 bytes each); and clears all its sums, 8 P: (8 P + P / n (8 + 8 (1 + M))) / m.
// (e) as (b) with 4 P bytes.
StepEnd step_end(const StateSize& state, const Links& links) {
  const auto n = static_cast<double>(links.nodes), elements = static_cast<double>(state.elements),
             lane_bytes = static_cast<double>(state.lane_bytes);
  StepEnd end;
  const double slice_bytes = elements / n * (8 + 8 * (1 + state.moments));
  end.update_s = (8 * elements + slice_bytes) / links.memory_bytes_per_s;
  if (links.nodes == 1) return end;
  const auto exchange_s = [&](double bytes) {
    return (n - 1) * links.latency_s + (n - 1) / n * bytes / links.bytes_per_s;
  };
  end.reduce_s = exchange_s(8 * elements);
  end.lanes_s = std::ceil(std::log2(n)) * (links.latency_s + lane_bytes / links.bytes_per_s);
  end.gather_s = exchange_s(4 * elements);
  return end;
}

// The slower of the file system and of the writers' links together.
double write_s(double bytes, double file_system_bytes_per_s, int64_t writers, double writer_bytes_per_s,
               double commit_s) {
  return commit_s +
         bytes / std::min(file_system_bytes_per_s, static_cast<double>(writers) * writer_bytes_per_s);
}

// J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17 (1974): sqrt(2 d M),
// with d the time of a checkpoint and M the mean time between failures.
double young_interval_s(double write_s, double mtbf_s) {
  return std::sqrt(2 * write_s * mtbf_s);
}

// J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22
// (2006): sqrt(2 d M) (1 + 1/3 sqrt(d / 2M) + 1/9 d / 2M) - d where d < 2M, else M.
double daly_interval_s(double write_s, double mtbf_s) {
  if (write_s >= 2 * mtbf_s) return mtbf_s;
  const double ratio = write_s / (2 * mtbf_s);
  return young_interval_s(write_s, mtbf_s) * (1 + std::sqrt(ratio) / 3 + ratio / 9) - write_s;
}

double automatic_interval_s(double write_s, int64_t failures, double observed_s) {
  constexpr double first_s = 60, least_s = 10, most_s = 3600, day_s = 86400;
  if (write_s <= 0) return first_s;
  const double observed = observed_s > 0 ? static_cast<double>(failures) / observed_s : 0;
  const double mtbf_s = 1 / (1 / day_s + observed);
  return std::clamp(daly_interval_s(write_s, mtbf_s), std::min(most_s, std::max(least_s, 20 * write_s)),
                    most_s);
}

// Daly 2006: M e^(R/M) (e^((t + d)/M) - 1) T / t, with t the interval, R the restart and T the
// work.
double expected_s(double solve_s, double interval_s, double write_s, double mtbf_s, double restart_s) {
  const double interval = std::min(interval_s, solve_s);
  return mtbf_s * std::exp(restart_s / mtbf_s) * std::expm1((interval + write_s) / mtbf_s) * solve_s /
         interval;
}

// A short last step has its units in proportion, and the same end. Backward passes take twice the operations
// of forward ones (products for the inputs' and for the weights' gradients), so a unit that is only evaluated
// takes a third of the time.
double run_s(const RunLength& length, double units_s, double end_s) {
  const double unit_s = units_s / static_cast<double>(length.units);
  const double epoch_s = static_cast<double>(length.steps_per_epoch - 1) * units_s +
                         static_cast<double>(length.last_units) * unit_s +
                         static_cast<double>(length.steps_per_epoch) * end_s;
  return static_cast<double>(length.epochs) * epoch_s + length.evaluated_units * unit_s / 3;
}

}  // namespace lepton::train
