// SPDX-License-Identifier: Apache-2.0
// Statistics of the train split's inputs: count, mean, standard deviation, minimum, maximum, per group: per
// channel for images, per feature otherwise; the groups of several inputs stand one after another. Sums are
// exact, hence the same bits on any number of ranks. Kept in the checkpoint, so that evaluation and
// prediction normalise as training did.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/exact_sum.h"
#include "base/int128.h"
#include "comm/world.h"
#include "data/spec.h"
#include "storage/hdf5.h"
#include "tensor/shape.h"

namespace lepton::data {

struct Statistics {
  int64_t count = 0;                                      ///< values per group, of the first input
  std::vector<double> mean, deviation, minimum, maximum;  ///< one per group; population standard deviation
  bool empty() const { return mean.empty(); }
  void append(const Statistics& next);  ///< the groups of one more input
  bool operator==(const Statistics&) const = default;
};

/// Which group the i-th stored value of a row belongs to: (i / inner) % groups.
struct GroupMap {
  int64_t elements = 0, groups = 1, inner = 1;
  static GroupMap of(const Shape& input_shape, ImageLayout layout);
  int64_t group(int64_t i) const { return i / inner % groups; }
};

/// Exact sums of values and squares, kept in the cheapest form that is exact for the stored type:
/// - 8 and 16 bit integers: integer sums per element of the row (a loop that vectorises), folded every 2^16
/// rows;
/// - 32 bit integers: 128-bit integers per group;
/// - float16 and float32, and float64 values that are float32 numbers: 16 bins per group by exponent. A value
/// is
///   m * 2^(16 b + r - 149) with a 24-bit m and r < 16: bin b takes the integer m << r, and m^2 << 2 r for
///   the square;
/// - all other values: ExactSum.
class StatisticsSums {
 public:
  StatisticsSums(const GroupMap& map, const storage::StoredType& type);
  ~StatisticsSums();
  StatisticsSums(StatisticsSums&&) noexcept;

  void add_row(const std::byte* row);  ///< finite values only
  int64_t rows() const { return rows_; }
  int64_t groups() const { return map_.groups; }
  int64_t elements() const { return map_.elements; }
  /// Exact sums of a group so far: {values, squares}; normalised.
  std::array<ExactSum, 2> sums(int64_t group);
  /// {minimum, maximum} of a group so far; {Inf, -Inf} before the first value.
  std::array<double, 2> extremes(int64_t group);

 private:
  struct Group;    // integer sums and extremes
  struct Bins;     // of float32 values
  struct Columns;  // per element of the row, 8 and 16 bit integers
  void fold();
  void add_float(size_t group, float value);
  void add_double(size_t group, double value);
  void add_integer(size_t group, int64_t value);
  template <class T, bool swap>
  void add_wide_row(const std::byte* row);

  GroupMap map_;
  storage::StoredType type_;
  int64_t rows_ = 0;
  bool bins_pending_ = false;  // bins hold something that exact_ does not
  std::vector<Group> groups_;
  std::vector<Bins> bins_;
  std::vector<std::array<ExactSum, 2>> exact_;  // allocated when the first value needs it
  std::unique_ptr<Columns> columns_;
};

/// **Collective.** Merges all ranks' sums and settles them. Throws Error(data) when squares leave the range
/// of double.
Statistics settle_statistics(const comm::World& world, StatisticsSums& sums);

}  // namespace lepton::data
