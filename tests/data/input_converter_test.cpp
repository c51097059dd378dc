// SPDX-License-Identifier: Apache-2.0
// One input of rows that hold others too. (All types, layouts and normalisations: assembler_mpi_test.)
#include "data/input_converter.h"

#include <gtest/gtest.h>

#include "data/stored_rows.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

std::vector<const std::byte*> pointers(const std::vector<std::byte>& bytes, size_t row_bytes) {
  std::vector<const std::byte*> rows;
  for (size_t at = 0; at < bytes.size(); at += row_bytes) rows.push_back(bytes.data() + at);
  return rows;
}

Input input_of(Shape shape, Normalisation normalisation) {
  Input input;
  input.shape = std::move(shape);
  input.normalisation = normalisation;
  return input;
}

TEST(InputConverter, AtItsPlaceInTheRow) {
  // Three odd bytes before it: values need no alignment.
  std::vector<std::byte> bytes;
  for (const double row : {0.0, 1.0}) {
    for (const auto& part : {stored_bytes(u8, {9, 9, 9}), stored_bytes(f32, {10 + row, 20 + row})})
      bytes.insert(bytes.end(), part.begin(), part.end());
  }
  const InputConverter converter(input_of({2}, Normalisation::none), f32, 3, {}, 0);
  std::vector<float> values(4);
  converter.convert(pointers(bytes, 11), values);
  EXPECT_EQ(values, (std::vector<float>{10, 20, 11, 21}));
}

TEST(InputConverter, GroupsOfItsOwn) {
  const std::vector<std::byte> bytes = stored_bytes(u8, {3, 8});
  Statistics statistics;
  statistics.mean = {100, 1, 2};
  statistics.deviation = {100, 2, 3};
  statistics.minimum = {-50, 2, 4};
  statistics.maximum = {900, 3, 12};
  std::vector<float> values(2);
  InputConverter(input_of({2}, Normalisation::standardize), u8, 0, statistics, 1)
      .convert(pointers(bytes, 2), values);
  EXPECT_EQ(values, (std::vector<float>{1, 2}));
  InputConverter(input_of({2}, Normalisation::unit), u8, 0, statistics, 1)
      .convert(pointers(bytes, 2), values);
  EXPECT_NEAR(static_cast<double>(values[1]), 0.6, 1e-7) << "by the range of all its groups, 2 to 12";
}

}  // namespace
}  // namespace lepton::data
