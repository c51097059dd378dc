// SPDX-License-Identifier: Apache-2.0
// How fast each node computes, learned from the rounds it finished: a pure function of the integers that all
// nodes see, so that all of them plan alike. Noise of some percent leaves a published speed where it is, one
// outlier changes nothing, and a change of more than a fifth is followed after two measurements. Results
// never depend on it. Called by train on leaders, once per round; allocates nothing there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "balance/recent.h"

namespace lepton::balance {

class Speeds {
 public:
  explicit Speeds(std::vector<int> threads_per_node);

  /// A finished round: units done and busy time, summed over the threads, of each node. A node without units
  /// keeps its speed.
  void observe(std::span<const int64_t> units, std::span<const int64_t> busy_ns);

  /// Units per second of each node's threads together, > 0. A node that was never measured is taken for as
  /// fast per thread as the measured ones are on the mean; before any was, its thread count stands there.
  std::span<const double> current() const { return speeds_; }
  std::span<const int> threads() const { return threads_; }
  /// Some node was measured: the speeds are in units per second, not only relative.
  bool measured() const { return measured_; }
  /// 1 for a node whose last measurement was more than a fifth above its speed, a second one being needed
  /// before that is believed; else 0.
  std::span<const uint8_t> quickened() const { return quickened_; }

 private:
  void measure(size_t node, double rate);

  std::vector<int> threads_;
  std::vector<Recent> recent_;  ///< units per second
  std::vector<double> speeds_;
  std::vector<uint8_t> quickened_;
  bool measured_ = false;
};

}  // namespace lepton::balance
