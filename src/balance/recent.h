// SPDX-License-Identifier: Apache-2.0
// Recent: the last measurements of something that mostly stays as it is, but may change for good: noise
// evens out, one outlier changes nothing, a change of more than a fifth is followed after two measurements.
// Only + - * / and comparisons on doubles: the same bits everywhere. Allocates nothing.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace lepton::balance {

class Recent {
 public:
  /// 1: `value` is more than a fifth above `believed`, which makes it an outlier, or with another one a
  /// change; -1: below; 0: neither.
  static int side(double value, double believed) {
    return value > (1 + change) * believed ? 1 : value < (1 - change) * believed ? -1 : 0;
  }

  bool empty() const { return taken_ == 0; }

  /// A measurement. True when it and the one before are a change from what was believed: older ones are
  /// forgotten then.
  bool take(double value, double believed) {
    const int where = side(value, believed);
    const double before = taken_ > 0 ? values_[(taken_ - 1) % window] : believed;
    const bool changed = where != 0 && where == side(before, believed);
    if (changed) {
      taken_ = 0;
      values_[taken_++ % window] = before;
    }
    values_[taken_++ % window] = value;
    return changed;
  }

  /// The mean without the two highest and the two lowest (with less than five measurements: without as many
  /// as leave one or two). Up to six that is the median. From seven on it withstands two outliers as a median
  /// does, but its own spread is a tenth smaller, and whole units are far apart: with 16 units on each of two
  /// nodes the plan changes where speeds differ by 6 %.
  double middle() const {
    const auto count = static_cast<int>(std::min<int64_t>(taken_, window));
    std::array<double, window> sorted = values_;
    std::sort(sorted.begin(), sorted.begin() + count);
    const int dropped = std::min(2, (count - 1) / 2);
    double sum = 0;
    for (int i = dropped; i < count - dropped; ++i) sum += sorted[i];
    return sum / (count - 2 * dropped);
  }

 private:
  static constexpr double change = 0.2;
  static constexpr int window = 9;
  std::array<double, window> values_{};  ///< number i lies at i % window
  int64_t taken_ = 0;                    ///< since the window was begun
};

}  // namespace lepton::balance
