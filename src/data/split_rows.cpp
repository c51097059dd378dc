// SPDX-License-Identifier: Apache-2.0
// Lists and masks to a set of rows; see the header.
#include "data/split_rows.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "data/row_check.h"

namespace lepton::data {

namespace {

constexpr int64_t numbers_at_a_time = 1 << 20;

std::string element_place(const storage::ArrayInfo& array, int64_t element) {
  return array.file + ":" + array.path + ", element " + std::to_string(element);
}

std::string shortest_text(double number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

/// Calls each(element, number) for all numbers of an array of rank 1.
template <class Each>
void for_each_number(const storage::Hdf5Array& array, const Each& each) {
  const storage::ArrayInfo& info = array.info();
  std::vector<std::byte> bytes;
  for (int64_t begin = 0; begin < info.shape[0]; begin += numbers_at_a_time) {
    const int64_t count = std::min(numbers_at_a_time, info.shape[0] - begin);
    bytes.resize(static_cast<size_t>(count) * info.row_bytes());
    array.read_rows(begin, begin + count, bytes);
    for (int64_t i = 0; i < count; ++i) each(begin + i, stored_number(info.type, bytes.data(), i));
  }
}

void add_indices(const storage::Hdf5Array& array, int64_t first_row, int64_t rows, RowSet& set) {
  for_each_number(array, [&](int64_t element, double number) {
    const bool is_row = number >= 0 && number < static_cast<double>(rows) && number == std::floor(number);
    REQUIRE(is_row, Exit::data, element_place(array.info(), element),
            shortest_text(number) + " is not the number of a row, from 0 to " + std::to_string(rows - 1), "");
    REQUIRE(set.insert(first_row + static_cast<int64_t>(number)), Exit::data,
            element_place(array.info(), element), "row " + shortest_text(number) + " is there twice",
            "A split has each of its rows once. An array with a 1 or 0 for each row is given as mask.");
  });
}

void add_mask(const storage::Hdf5Array& array, int64_t first_row, int64_t rows, RowSet& set) {
  const storage::ArrayInfo& info = array.info();
  REQUIRE(info.shape[0] == rows, Exit::data, info.file + ":" + info.path,
          "the mask has " + std::to_string(info.shape[0]) + " elements for " + std::to_string(rows) + " rows",
          "A mask has a 1 or 0 for each row; a list of row numbers is given as indices.");
  for_each_number(array, [&](int64_t element, double number) {
    REQUIRE(number == 0 || number == 1, Exit::data, element_place(info, element),
            shortest_text(number) + " is neither 0 nor 1",
            "A mask has a 1 or 0 for each row; a list of row numbers is given as indices.");
    if (number == 1) set.insert(first_row + element);
  });
}

}  // namespace

RowSet read_split_rows(const Source& source, const SplitSpec& split) {
  RowSet set(source.rows());
  const bool by_mask = split.indices.empty();
  const std::string& path = by_mask ? split.mask : split.indices;
  const std::vector<storage::ArrayInfo>& files = source.inputs.front().arrays;
  for (size_t file = 0; file < files.size(); ++file) {
    const storage::Hdf5Array array(files[file].file, path);
    REQUIRE(array.info().shape.size() == 1, Exit::data, files[file].file + ":" + path,
            "lists of rows and masks have shape [N], this array has " + shape_text(array.info().shape), "");
    const int64_t first = source.first_row[file];
    (by_mask ? add_mask : add_indices)(array, first, source.first_row[file + 1] - first, set);
  }
  set.settle();
  REQUIRE(set.size() > 0, Exit::data, files.front().file + ":" + path,
          by_mask ? "the mask holds no 1: the split has no rows" : "the list is empty: the split has no rows",
          "");
  return set;
}

}  // namespace lepton::data
