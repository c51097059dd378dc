// SPDX-License-Identifier: Apache-2.0
// The exact sums of statistics.h. Each path adds integers only, so neither the order of rows nor who added
// them can matter; a test compares every path with ExactSum bit by bit.
#include "data/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/simd.h"
#include "data/stored_value.h"

namespace lepton::data {

namespace {

constexpr int64_t fold_rows = 65536;  // 255^2 * 65536 < 2^32
constexpr int bin_count = 16;
constexpr int float_lowest = -149;  // the lowest bit of float32 is 2^-149

/// += an integer times 2^exponent, exactly, in pieces of 32 bits.
void add_scaled(ExactSum& sum, int128 value, int exponent) {
  for (int piece = 0; value != 0; ++piece) {
    const int64_t low = static_cast<int64_t>(value & 0xFFFFFFFF);  // floor: the sign stays in what is left
    sum.add(std::ldexp(static_cast<double>(low), exponent + 32 * piece));
    value >>= 32;
    if (value == -1) {
      sum.add(std::ldexp(-1.0, exponent + 32 * (piece + 1)));
      break;
    }
  }
}

/// Adds a row of 8 or 16 bit integers to per-element sums; the body of the clones below.
template <class T, class Sum, class Square>
[[gnu::always_inline]] inline void add_columns(const T* row, int64_t n, Sum* sum, Square* square, T* low,
                                               T* high) {
  for (int64_t i = 0; i < n; ++i) {
    const int32_t x = row[i];
    sum[i] += static_cast<Sum>(x);
    // 65535^2 does not fit int32, but fits uint32.
    square[i] += static_cast<uint32_t>(x) * static_cast<uint32_t>(x);
    low[i] = std::min(low[i], row[i]);
    high[i] = std::max(high[i], row[i]);
  }
}

LEPTON_SIMD void add_u8(const uint8_t* row, int64_t n, int32_t* sum, uint32_t* square, uint8_t* low,
                        uint8_t* high) {
  add_columns(row, n, sum, square, low, high);
}
LEPTON_SIMD void add_i8(const int8_t* row, int64_t n, int32_t* sum, uint32_t* square, int8_t* low,
                        int8_t* high) {
  add_columns(row, n, sum, square, low, high);
}
LEPTON_SIMD void add_u16(const uint16_t* row, int64_t n, int64_t* sum, uint64_t* square, uint16_t* low,
                         uint16_t* high) {
  add_columns(row, n, sum, square, low, high);
}
LEPTON_SIMD void add_i16(const int16_t* row, int64_t n, int64_t* sum, uint64_t* square, int16_t* low,
                         int16_t* high) {
  add_columns(row, n, sum, square, low, high);
}

template <class T, class Sum, class Square>
struct ColumnSums {
  std::vector<T> row, low, high;
  std::vector<Sum> sum;
  std::vector<Square> square;

  void start(int64_t elements) {
    const size_t n = static_cast<size_t>(elements);
    row.resize(n);
    low.assign(n, std::numeric_limits<T>::max());
    high.assign(n, std::numeric_limits<T>::lowest());
    sum.assign(n, 0);
    square.assign(n, 0);
  }
  /// Swapped or unaligned numbers go through an aligned copy of the row.
  const T* aligned(const std::byte* bytes, bool swap) {
    for (size_t i = 0; i < row.size(); ++i)
      row[i] = swap ? load<T, true>(bytes, static_cast<int64_t>(i))
                    : load<T, false>(bytes, static_cast<int64_t>(i));
    return row.data();
  }
};

/// Doubles in total order as integers (so that integer maxima find the largest), and back.
int64_t ordered(double value) {
  const int64_t bits = std::bit_cast<int64_t>(value);
  return bits < 0 ? bits ^ std::numeric_limits<int64_t>::max() : bits;
}
double from_ordered(int64_t bits) {
  return std::bit_cast<double>(bits < 0 ? bits ^ std::numeric_limits<int64_t>::max() : bits);
}

}  // namespace

struct StatisticsSums::Group {
  int128 sum = 0, square = 0;
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
};

struct StatisticsSums::Bins {
  std::array<int128, bin_count> sum{}, square{};  // at most 78 bits per value: room for 2^49 values
};

struct StatisticsSums::Columns {
  int64_t rows = 0;  // since the last fold
  ColumnSums<uint8_t, int32_t, uint32_t> u8;
  ColumnSums<int8_t, int32_t, uint32_t> i8;
  ColumnSums<uint16_t, int64_t, uint64_t> u16;
  ColumnSums<int16_t, int64_t, uint64_t> i16;

  /// Calls function(the sums of this type).
  template <class Function>
  void with(const storage::StoredType& type, Function&& function) {
    const bool is_signed = type.kind == storage::StoredType::Kind::signed_integer;
    if (type.bytes == 1)
      is_signed ? function(i8) : function(u8);
    else
      is_signed ? function(i16) : function(u16);
  }
};

void Statistics::append(const Statistics& next) {
  if (empty()) count = next.count;
  const auto add = [](std::vector<double>& to, const std::vector<double>& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  add(mean, next.mean);
  add(deviation, next.deviation);
  add(minimum, next.minimum);
  add(maximum, next.maximum);
}

GroupMap GroupMap::of(const Shape& input_shape, ImageLayout layout) {
  GroupMap map;
  map.elements = element_count(input_shape);
  map.groups = input_shape.front();
  if (layout == ImageLayout::sequence) map.groups = input_shape.size() > 1 ? input_shape.back() : 1;
  const bool planes = layout == ImageLayout::chw || layout == ImageLayout::hw ||
                      layout == ImageLayout::cdhw || layout == ImageLayout::dhw;
  map.inner = planes ? map.elements / std::max<int64_t>(1, map.groups) : 1;
  return map;
}

StatisticsSums::StatisticsSums(const GroupMap& map, const storage::StoredType& type)
    : map_(map), type_(type), groups_(static_cast<size_t>(map.groups)) {
  const bool floating = type.kind == storage::StoredType::Kind::floating;
  if (floating) bins_.resize(groups_.size());
  if (floating || type.bytes > 2) return;
  columns_ = std::make_unique<Columns>();
  columns_->with(type_, [&](auto& columns) { columns.start(map_.elements); });
}

StatisticsSums::~StatisticsSums() = default;
StatisticsSums::StatisticsSums(StatisticsSums&&) noexcept = default;

void StatisticsSums::add_integer(size_t group, int64_t value) {
  Group& sums = groups_[group];
  sums.sum += value;
  sums.square += static_cast<int128>(value) * value;
}

void StatisticsSums::add_float(size_t group, float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), field = bits >> 23 & 0xFF;
  const int64_t mantissa = static_cast<int64_t>((bits & 0x7FFFFF) | (field != 0 ? 0x800000u : 0u));
  const uint32_t exponent = field != 0 ? field - 1 : 0, bin = exponent / bin_count,
                 shift = exponent % bin_count;
  Bins& bins = bins_[group];
  const int64_t scaled = mantissa << shift;
  bins.sum[bin] += (bits >> 31) != 0 ? -scaled : scaled;
  bins.square[bin] += static_cast<int128>(mantissa * mantissa) << (2 * shift);
}

void StatisticsSums::add_double(size_t group, double value) {
  if (exact_.empty()) exact_.resize(groups_.size());
  exact_[group][0].add(value);
  exact_[group][1].add_product(value, value);
}

template <class T, bool swap>
void StatisticsSums::add_wide_row(const std::byte* row) {
  int64_t i = 0;
  while (i < map_.elements)
    for (size_t group = 0; group < groups_.size(); ++group) {
      double low = groups_[group].low, high = groups_[group].high;
      for (const int64_t end = i + map_.inner; i < end; ++i) {
        const T stored = load<T, swap>(row, i);
        const double value = as_double(stored);
        low = std::min(low, value);
        high = std::max(high, value);
        if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, float>) {
          add_float(group, static_cast<float>(value));
        } else if constexpr (std::is_same_v<T, double>) {
          const bool single = std::abs(value) <= std::numeric_limits<float>::max() &&
                              static_cast<double>(static_cast<float>(value)) == value;
          single ? add_float(group, static_cast<float>(value)) : add_double(group, value);
        } else if constexpr (sizeof(T) <= 4) {
          add_integer(group, static_cast<int64_t>(stored));
        } else {
          const bool narrow = std::abs(value) < 0x1p32;
          narrow ? add_integer(group, static_cast<int64_t>(stored)) : add_double(group, value);
        }
      }
      groups_[group].low = low;
      groups_[group].high = high;
    }
}

void StatisticsSums::add_row(const std::byte* row) {
  ++rows_;
  if (columns_) {
    using Kind = storage::StoredType::Kind;
    const bool is_signed = type_.kind == Kind::signed_integer, swap = type_.big_endian;
    Columns& c = *columns_;
    const int64_t n = map_.elements;
    if (type_.bytes == 1 && is_signed)
      add_i8(reinterpret_cast<const int8_t*>(row), n, c.i8.sum.data(), c.i8.square.data(), c.i8.low.data(),
             c.i8.high.data());
    else if (type_.bytes == 1)
      add_u8(reinterpret_cast<const uint8_t*>(row), n, c.u8.sum.data(), c.u8.square.data(), c.u8.low.data(),
             c.u8.high.data());
    else if (is_signed)
      add_i16(c.i16.aligned(row, swap), n, c.i16.sum.data(), c.i16.square.data(), c.i16.low.data(),
              c.i16.high.data());
    else
      add_u16(c.u16.aligned(row, swap), n, c.u16.sum.data(), c.u16.square.data(), c.u16.low.data(),
              c.u16.high.data());
    if (++c.rows == fold_rows) fold();
    return;
  }
  with_type(type_, [&](auto tag) { add_wide_row<typename decltype(tag)::Type, decltype(tag)::swap>(row); });
  bins_pending_ = !bins_.empty();
}

void StatisticsSums::fold() {
  if (bins_pending_ && exact_.empty()) exact_.resize(groups_.size());
  for (size_t group = 0; bins_pending_ && group < bins_.size(); ++group) {
    for (int bin = 0; bin < bin_count; ++bin) {
      const size_t b = static_cast<size_t>(bin);
      add_scaled(exact_[group][0], bins_[group].sum[b], float_lowest + bin * bin_count);
      add_scaled(exact_[group][1], bins_[group].square[b], 2 * (float_lowest + bin * bin_count));
    }
    bins_[group] = {};
  }
  bins_pending_ = false;
  if (!columns_ || columns_->rows == 0) return;
  columns_->rows = 0;
  columns_->with(type_, [&](auto& columns) {
    for (int64_t i = 0; i < map_.elements; ++i) {
      const size_t element = static_cast<size_t>(i);
      Group& group = groups_[static_cast<size_t>(map_.group(i))];
      group.sum += columns.sum[element];
      group.square += columns.square[element];
      group.low = std::min<double>(group.low, columns.low[element]);
      group.high = std::max<double>(group.high, columns.high[element]);
    }
    columns.start(map_.elements);
  });
}

std::array<ExactSum, 2> StatisticsSums::sums(int64_t group) {
  fold();
  const size_t g = static_cast<size_t>(group);
  std::array<ExactSum, 2> sums = exact_.empty() ? std::array<ExactSum, 2>{} : exact_[g];
  add_scaled(sums[0], groups_[g].sum, 0);
  add_scaled(sums[1], groups_[g].square, 0);
  for (ExactSum& sum : sums) sum.normalise();
  return sums;
}

std::array<double, 2> StatisticsSums::extremes(int64_t group) {
  fold();
  return {groups_[static_cast<size_t>(group)].low, groups_[static_cast<size_t>(group)].high};
}

namespace {

/// The sum as two doubles, good to some 106 bits.
std::array<double, 2> two_doubles(const ExactSum& sum) {
  const double high = sum.value();
  ExactSum rest = sum;
  rest.add(-high);
  return {high, rest.value()};
}

// variance = (n sum(x^2) - sum(x)^2) / n^2, whose difference cancels when the mean is far from 0: it is taken
// exactly of sums good to 106 bits.
double deviation_of(const ExactSum& sum, const ExactSum& square, int64_t count) {
  const double n = static_cast<double>(count);
  const auto [s, s_low] = two_doubles(sum);
  const auto [q, q_low] = two_doubles(square);
  ExactSum difference;
  difference.add_product(n, q);
  difference.add_product(n, q_low);
  difference.add_product(-s, s);
  difference.add_product(-2 * s, s_low);
  difference.add_product(-s_low, s_low);
  const double variance = difference.value() / n / n;  // NaN where a square was beyond 2^1024
  return std::sqrt(variance < 0 ? 0.0 : variance);
}

constexpr int64_t groups_per_message = 512;

}  // namespace

Statistics settle_statistics(const comm::World& world, StatisticsSums& sums) {
  Statistics result;
  int64_t rows[1] = {sums.rows()};
  world.all_sum(rows);
  const int64_t groups = sums.groups();
  result.count = rows[0] * (sums.elements() / groups);
  constexpr size_t limbs = ExactSum::limb_count;
  for (int64_t first = 0; first < groups; first += groups_per_message) {
    const int64_t end = std::min(groups, first + groups_per_message);
    std::vector<int64_t> lanes, peaks;
    for (int64_t group = first; group < end; ++group) {
      for (const ExactSum& sum : sums.sums(group))
        lanes.insert(lanes.end(), sum.limbs().begin(), sum.limbs().end());
      const auto [low, high] = sums.extremes(group);
      peaks.push_back(ordered(-low));
      peaks.push_back(ordered(high));
    }
    world.all_sum(lanes);
    world.all_max(peaks);
    for (size_t i = 0; i < peaks.size(); i += 2) {
      ExactSum sum, square;
      const auto from = lanes.begin() + static_cast<std::ptrdiff_t>(i * limbs);
      std::copy(from, from + limbs, sum.limbs().begin());
      std::copy(from + limbs, from + 2 * limbs, square.limbs().begin());
      result.mean.push_back(sum.value() / static_cast<double>(result.count) + 0.0);  // + 0.0: no -0
      result.deviation.push_back(deviation_of(sum, square, result.count));
      result.minimum.push_back(-from_ordered(peaks[i]) + 0.0);
      result.maximum.push_back(from_ordered(peaks[i + 1]) + 0.0);
    }
  }
  for (double deviation : result.deviation)
    REQUIRE(std::isfinite(deviation), Exit::data, "inputs of the train split",
            "their squares are beyond the range of double precision", "Scale the inputs down.");
  return result;
}

}  // namespace lepton::data
