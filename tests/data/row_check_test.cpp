// SPDX-License-Identifier: Apache-2.0
// Checks of rows, for every stored type and byte order, with bytes made by HDF5's own conversion.
#include "data/row_check.h"

#include <cmath>
#include <limits>

#include "data/stored_value.h"
#include "stored_rows.h"

namespace lepton::data {
namespace {

using testing::stored_bytes;

TEST(StoredNumber, EveryType) {
  for (const storage::StoredType& type : testing::all_types()) {
    const bool negative = type.kind != storage::StoredType::Kind::unsigned_integer;
    const std::vector<double> values = {0, 1, 2, 100, negative ? -100.0 : 7.0};
    const auto bytes = stored_bytes(type, values);
    for (size_t i = 0; i < values.size(); ++i)
      EXPECT_EQ(stored_number(type, bytes.data(), static_cast<int64_t>(i)), values[i]) << type.text();
  }
}

TEST(StoredNumber, EveryHalf) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const double sign = bits & 0x8000 ? -1 : 1;
    const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
    const float value = half_to_float({static_cast<uint16_t>(bits)});
    if (exponent == 31) {
      EXPECT_TRUE(fraction == 0 ? std::isinf(value) : std::isnan(value)) << bits;
      continue;
    }
    const double expected =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    EXPECT_EQ(static_cast<double>(value), sign * expected) << bits;
    EXPECT_EQ(std::signbit(value), sign < 0);
  }
}

TEST(AllFinite, FindsInfAndNanAnywhere) {
  for (const storage::StoredType& type : testing::all_types()) {
    std::vector<double> values(37, 3);
    EXPECT_TRUE(all_finite(type, stored_bytes(type, values).data(), 37));
    if (type.kind != storage::StoredType::Kind::floating) continue;
    for (const double bad :
         {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
          std::numeric_limits<double>::quiet_NaN()})
      for (const size_t at : {0, 17, 36}) {
        std::vector<double> broken = values;
        broken[at] = bad;
        EXPECT_FALSE(all_finite(type, stored_bytes(type, broken).data(), 37)) << type.text() << " " << bad;
      }
    EXPECT_TRUE(all_finite(type, stored_bytes(type, {-65504, 65504, 1e-7}).data(), 3))
        << "large is not infinite";
  }
}

TEST(FitsFloat32, JudgesWhatConversionMakes) {
  for (const storage::StoredType& type : testing::all_types()) {
    EXPECT_TRUE(fits_float32(type, stored_bytes(type, {0, 1, 100}).data(), 3)) << type.text();
    if (type.kind != storage::StoredType::Kind::floating) continue;
    EXPECT_FALSE(fits_float32(type, stored_bytes(type, {1, std::nan("")}).data(), 2)) << type.text();
    EXPECT_FALSE(fits_float32(type, stored_bytes(type, {-HUGE_VAL, 1}).data(), 2)) << type.text();
    if (type.bytes < 8) continue;
    for (const double value : {0x1.fffffep127, -0x1.fffffefp127, 0x1.ffffffp127, -1e39, 1e308}) {
      EXPECT_EQ(fits_float32(type, stored_bytes(type, {value}).data(), 1),
                std::isfinite(static_cast<float>(value)))
          << value;
      EXPECT_TRUE(all_finite(type, stored_bytes(type, {value}).data(), 1));
    }
  }
}

TEST(ClassId, WholeNumbersOfAnyType) {
  for (const storage::StoredType& type : testing::all_types()) {
    EXPECT_EQ(class_id(type, stored_bytes(type, {0}).data()), 0);
    EXPECT_EQ(class_id(type, stored_bytes(type, {99}).data()), 99);
    if (type.kind != storage::StoredType::Kind::unsigned_integer) {
      EXPECT_EQ(class_id(type, stored_bytes(type, {-1}).data()), std::nullopt);
    }
    if (type.kind != storage::StoredType::Kind::floating) continue;
    EXPECT_EQ(class_id(type, stored_bytes(type, {2.5}).data()), std::nullopt);
    EXPECT_EQ(class_id(type, stored_bytes(type, {std::nan("")}).data()), std::nullopt);
    EXPECT_EQ(class_id(type, stored_bytes(type, {HUGE_VAL}).data()), std::nullopt);
  }
  EXPECT_EQ(class_id(testing::f64, stored_bytes(testing::f64, {4e9}).data()), std::nullopt);
}

TEST(ClassId, TheIgnoredOneIsFoundByItsNumberAndIsNoLargest) {
  using testing::f64;
  const auto row = stored_bytes(f64, {3, 255, 7, -100});
  EXPECT_EQ(largest_class(f64, row.data(), 4), 255);
  EXPECT_EQ(largest_class(f64, row.data(), 4, 255), 7);
  EXPECT_EQ(largest_class(f64, row.data(), 4, -100), 255);
  EXPECT_TRUE(is_ignored(f64, row.data() + 3 * f64.bytes, -100));
  EXPECT_FALSE(is_ignored(f64, row.data(), -100));
  EXPECT_FALSE(is_ignored(f64, row.data(), std::nullopt));
}

TEST(OneHotClass, ExactlyOneOne) {
  for (const storage::StoredType& type : testing::all_types()) {
    const auto found = [&](const std::vector<double>& row) {
      return one_hot_class(type, stored_bytes(type, row).data(), static_cast<int64_t>(row.size()));
    };
    EXPECT_EQ(found({0, 0, 1}), 2);
    EXPECT_EQ(found({1, 0, 0}), 0);
    EXPECT_EQ(found({0, 0, 0}), std::nullopt);
    EXPECT_EQ(found({0, 1, 1}), std::nullopt);
    EXPECT_EQ(found({0, 2, 0}), std::nullopt);
  }
}

}  // namespace
}  // namespace lepton::data
