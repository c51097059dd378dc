// SPDX-License-Identifier: Apache-2.0
// Checks of stored rows, by bits where that is cheaper: a float is Inf or NaN when all its exponent bits are
// set.
#include "data/row_check.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "data/stored_value.h"

namespace lepton::data {

namespace {

template <class Bits, bool swap>
bool no_full_exponent(const std::byte* row, int64_t n, Bits exponent) {
  Bits found = 0;
  for (int64_t i = 0; i < n; ++i)
    found |= static_cast<Bits>((load<Bits, swap>(row, i) & exponent) == exponent);
  return found == 0;
}

template <class Bits>
bool no_full_exponent(const std::byte* row, int64_t n, Bits exponent, bool swap) {
  return swap ? no_full_exponent<Bits, true>(row, n, exponent)
              : no_full_exponent<Bits, false>(row, n, exponent);
}

}  // namespace

bool all_finite(const storage::StoredType& type, const std::byte* row, int64_t n) {
  if (type.kind != storage::StoredType::Kind::floating) return true;
  if (type.bytes == 2) return no_full_exponent<uint16_t>(row, n, 0x7C00, type.big_endian);
  if (type.bytes == 4) return no_full_exponent<uint32_t>(row, n, 0x7F800000u, type.big_endian);
  return no_full_exponent<uint64_t>(row, n, 0x7FF0000000000000u, type.big_endian);
}

bool fits_float32(const storage::StoredType& type, const std::byte* row, int64_t n) {
  if (type.kind != storage::StoredType::Kind::floating || type.bytes != 8) return all_finite(type, row, n);
  // Half way between the largest float32 and 2^128: from there on numbers are rounded to Inf.
  return with_type(type, [&](auto tag) {
    bool fits = true;
    for (int64_t i = 0; i < n; ++i)
      fits &= std::abs(as_double(load<typename decltype(tag)::Type, decltype(tag)::swap>(row, i))) <
              0x1.ffffffp127;
    return fits;
  });
}

std::optional<double> not_a_row_number(const storage::StoredType& type, const std::byte* row, int64_t n,
                                       int64_t rows) {
  return with_type(type, [&](auto tag) -> std::optional<double> {
    for (int64_t i = 0; i < n; ++i) {
      const double value = as_double(load<typename decltype(tag)::Type, decltype(tag)::swap>(row, i));
      if (!(value >= 0 && value < static_cast<double>(rows) && value == std::floor(value))) return value;
    }
    return std::nullopt;
  });
}

double stored_number(const storage::StoredType& type, const std::byte* row, int64_t i) {
  return with_type(type, [&](auto tag) {
    return as_double(load<typename decltype(tag)::Type, decltype(tag)::swap>(row, i));
  });
}

std::optional<int32_t> class_id(const storage::StoredType& type, const std::byte* row) {
  const double value = stored_number(type, row, 0);
  if (!(value >= 0 && value < std::numeric_limits<int32_t>::max())) return std::nullopt;
  const int32_t id = static_cast<int32_t>(value);
  return id == value ? std::optional(id) : std::nullopt;
}

int64_t largest_class(const storage::StoredType& type, const std::byte* row, int64_t count,
                      const std::optional<int64_t>& ignored) {
  int64_t largest = -1;
  for (int64_t i = 0; i < count; ++i, row += type.bytes)
    if (!is_ignored(type, row, ignored))
      largest = std::max<int64_t>(largest, class_id(type, row).value_or(-1));
  return largest;
}

bool is_ignored(const storage::StoredType& type, const std::byte* row,
                const std::optional<int64_t>& ignored) {
  return ignored && stored_number(type, row, 0) == static_cast<double>(*ignored);
}

std::optional<int32_t> one_hot_class(const storage::StoredType& type, const std::byte* row, int64_t n) {
  return with_type(type, [&](auto tag) -> std::optional<int32_t> {
    std::optional<int32_t> hot;
    for (int64_t i = 0; i < n; ++i) {
      const double value = as_double(load<typename decltype(tag)::Type, decltype(tag)::swap>(row, i));
      if (value == 0) continue;
      if (value != 1 || hot) return std::nullopt;
      hot = static_cast<int32_t>(i);
    }
    return hot;
  });
}

}  // namespace lepton::data
