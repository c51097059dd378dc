// SPDX-License-Identifier: Apache-2.0
// Stored numbers as C++ values: loads of any stored type and byte order from unaligned rows, and the one
// switch over stored types. The only templates over types in Lepton; the loops that use them stand in
// assembler.cpp, statistics.cpp and row_check.cpp.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/error.h"
#include "storage/hdf5.h"

namespace lepton::data {

/// A float16 as stored.
struct Half {
  uint16_t bits;
};

/// Exactly. The bits are moved to float32's places, which is off by 2^112 in the exponent; a multiplication
/// mends that for normal and subnormal numbers alike (F. Giesen, "Half to float done quic", 2010).
inline float half_to_float(Half half) {
  const uint32_t magnitude = static_cast<uint32_t>(half.bits & 0x7FFF) << 13;
  const uint32_t sign = static_cast<uint32_t>(half.bits & 0x8000) << 16;
  const uint32_t special = magnitude >= 0x0F800000u ? 0x7F800000u : 0u;  // Inf and NaN
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | special | sign);
}

template <size_t bytes>
using UnsignedOf = std::conditional_t<
    bytes == 1, uint8_t,
    std::conditional_t<bytes == 2, uint16_t, std::conditional_t<bytes == 4, uint32_t, uint64_t>>>;

/// The i-th number of a row, with its bytes swapped or not.
template <class T, bool swap>
inline T load(const std::byte* row, int64_t i) {
  UnsignedOf<sizeof(T)> bits;
  std::memcpy(&bits, row + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  if constexpr (swap && sizeof(T) == 2) bits = __builtin_bswap16(bits);
  if constexpr (swap && sizeof(T) == 4) bits = __builtin_bswap32(bits);
  if constexpr (swap && sizeof(T) == 8) bits = __builtin_bswap64(bits);
  return std::bit_cast<T>(bits);
}

/// A number as double: exact for all types but int64 and uint64 beyond 2^53, which are rounded.
template <class T>
inline double as_double(T value) {
  if constexpr (std::is_same_v<T, Half>)
    return static_cast<double>(half_to_float(value));
  else
    return static_cast<double>(value);
}

template <class T, bool swap_bytes>
struct TypeTag {
  using Type = T;
  static constexpr bool swap = swap_bytes;
};

namespace detail {
template <class T, class Function>
decltype(auto) with_order(bool swap, Function&& function) {
  if constexpr (sizeof(T) > 1)
    if (swap) return function(TypeTag<T, true>{});
  return function(TypeTag<T, false>{});
}
}  // namespace detail

/// Calls function(TypeTag<T, swap>) for the C++ type that `type` stands for.
template <class Function>
decltype(auto) with_type(const storage::StoredType& type, Function&& function) {
  static_assert(std::endian::native == std::endian::little);
  using Kind = storage::StoredType::Kind;
  const bool swap = type.big_endian;
  switch (static_cast<int>(type.kind) * 16 + type.bytes) {
    case static_cast<int>(Kind::signed_integer) * 16 + 1:
      return detail::with_order<int8_t>(swap, function);
    case static_cast<int>(Kind::signed_integer) * 16 + 2:
      return detail::with_order<int16_t>(swap, function);
    case static_cast<int>(Kind::signed_integer) * 16 + 4:
      return detail::with_order<int32_t>(swap, function);
    case static_cast<int>(Kind::signed_integer) * 16 + 8:
      return detail::with_order<int64_t>(swap, function);
    case static_cast<int>(Kind::unsigned_integer) * 16 + 1:
      return detail::with_order<uint8_t>(swap, function);
    case static_cast<int>(Kind::unsigned_integer) * 16 + 2:
      return detail::with_order<uint16_t>(swap, function);
    case static_cast<int>(Kind::unsigned_integer) * 16 + 4:
      return detail::with_order<uint32_t>(swap, function);
    case static_cast<int>(Kind::unsigned_integer) * 16 + 8:
      return detail::with_order<uint64_t>(swap, function);
    case static_cast<int>(Kind::floating) * 16 + 2:
      return detail::with_order<Half>(swap, function);
    case static_cast<int>(Kind::floating) * 16 + 4:
      return detail::with_order<float>(swap, function);
    case static_cast<int>(Kind::floating) * 16 + 8:
      return detail::with_order<double>(swap, function);
    default:
      CHECK(false, "no stored type of " + std::to_string(type.bytes) + " bytes");
      __builtin_unreachable();
  }
}

}  // namespace lepton::data
