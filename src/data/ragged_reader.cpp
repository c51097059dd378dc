// SPDX-License-Identifier: Apache-2.0
// Lengths and offsets to rows of one length. See the header.
#include "data/ragged_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "data/row_check.h"

namespace lepton::data {

namespace {

std::string place_of(const storage::ArrayInfo& array, int64_t row) {
  return array.file + ":" + array.path + ", row " + std::to_string(row);
}

std::unique_ptr<storage::Hdf5Array> open_as_found(const storage::ArrayInfo& found) {
  auto array = std::make_unique<storage::Hdf5Array>(found.file, found.path, found.windows);
  REQUIRE(array->info().shape == found.shape && array->info().type == found.type, Exit::io,
          found.file + ":" + found.path, "the file changed while it was read",
          "Start again when nobody writes to it.");
  return array;
}

/// Whole numbers [begin, end) of an array [N]. Throws Error(data) at one that is none, or not in [0, most].
std::vector<int64_t> whole_numbers(const storage::Hdf5Array& array, int64_t begin, int64_t end, int64_t most,
                                   const char* what) {
  const storage::ArrayInfo& info = array.info();
  std::vector<std::byte> bytes(static_cast<size_t>(end - begin) * info.row_bytes());
  array.read_rows(begin, end, bytes);
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < end - begin; ++i) {
    const double value = stored_number(info.type, bytes.data(), i);
    const bool fits = value >= 0 && value <= static_cast<double>(most) && value == std::floor(value);
    REQUIRE(fits, Exit::data, place_of(info, begin + i),
            std::string(what) + " is not a whole number from 0 to " + std::to_string(most),
            "Lengths and offsets count the steps of a row's values.");
    numbers.push_back(static_cast<int64_t>(value));
  }
  return numbers;
}

std::vector<int64_t> offsets_of(const storage::Hdf5Array& array, int64_t begin, int64_t end, int64_t most) {
  std::vector<int64_t> offsets = whole_numbers(array, begin, end, most, "the offset");
  for (size_t i = 1; i < offsets.size(); ++i)
    REQUIRE(offsets[i - 1] <= offsets[i], Exit::data, place_of(array.info(), begin + static_cast<int64_t>(i)),
            "the offset is below the one before", "Row i holds the values from offset i up to offset i + 1.");
  return offsets;
}

constexpr int64_t block_rows = 1 << 20;  // of offsets that are read at a time

}  // namespace

RaggedReader::RaggedReader(const Column& column) : column_(column) {
  first_row_.push_back(0);
  for (size_t file = 0; file < column.arrays.size(); ++file)
    first_row_.push_back(first_row_.back() + column.rows(file));
}

void RaggedReader::open(size_t file) {
  if (values_ && file == open_) return;
  values_.reset();  // before the next ones are opened: descriptors are few where threads are many
  extents_.reset();
  values_ = open_as_found(column_.arrays[file]);
  extents_ = open_as_found(column_.extents[file]);
  open_ = file;
}

void RaggedReader::put_row(const std::byte* values, int64_t steps, std::byte* out) {
  cut_ += steps > column_.length;
  const auto kept = static_cast<int32_t>(std::min(steps, column_.length));
  const size_t bytes = static_cast<size_t>(kept) * column_.step_bytes(), all = column_.value_bytes();
  if (bytes > 0) std::memcpy(out, values, bytes);
  std::memset(out + bytes, 0, all - bytes);
  std::memcpy(out + all, &kept, sizeof kept);
}

void RaggedReader::read_padded(int64_t begin, int64_t end, std::byte* out) {
  const storage::ArrayInfo& info = values_->info();
  const std::vector<int64_t> lengths = whole_numbers(*extents_, begin, end, info.shape[1], "the length");
  const size_t stored = info.row_bytes();
  bytes_.resize(lengths.size() * stored);
  values_->read_rows(begin, end, bytes_);
  for (size_t i = 0; i < lengths.size(); ++i, out += column_.row_bytes())
    put_row(bytes_.data() + i * stored, lengths[i], out);
}

void RaggedReader::read_flat(int64_t begin, int64_t end, std::byte* out) {
  const std::vector<int64_t> offsets = offsets_of(*extents_, begin, end + 1, values_->info().shape[0]);
  bytes_.resize(static_cast<size_t>(offsets.back() - offsets.front()) * column_.step_bytes());
  values_->read_rows(offsets.front(), offsets.back(), bytes_);
  for (size_t i = 0; i + 1 < offsets.size(); ++i, out += column_.row_bytes())
    put_row(bytes_.data() + static_cast<size_t>(offsets[i] - offsets.front()) * column_.step_bytes(),
            offsets[i + 1] - offsets[i], out);
}

void RaggedReader::read(int64_t begin, int64_t end, std::span<std::byte> out) {
  CHECK(0 <= begin && begin <= end && end <= first_row_.back(), "rows outside the files");
  CHECK(out.size() == static_cast<size_t>(end - begin) * column_.row_bytes(), "wrong size for the rows");
  std::byte* to = out.data();
  while (begin < end) {
    const auto behind = std::upper_bound(first_row_.begin(), first_row_.end(), begin);
    const size_t file = static_cast<size_t>(behind - first_row_.begin()) - 1;
    const int64_t first = first_row_[file], stop = std::min(end, *behind);
    open(file);
    if (column_.by_offsets)
      read_flat(begin - first, stop - first, to);
    else
      read_padded(begin - first, stop - first, to);
    to += static_cast<size_t>(stop - begin) * column_.row_bytes();
    begin = stop;
  }
}

int64_t longest_row(const Column& column, size_t file) {
  const storage::ArrayInfo& values = column.arrays[file];
  if (!column.by_offsets) return values.shape[1];
  const auto extents = open_as_found(column.extents[file]);
  int64_t longest = 0;
  for (int64_t begin = 0, rows = column.rows(file); begin < rows; begin += block_rows) {
    const std::vector<int64_t> offsets =
        offsets_of(*extents, begin, std::min(rows, begin + block_rows) + 1, values.shape[0]);
    for (size_t i = 1; i < offsets.size(); ++i) longest = std::max(longest, offsets[i] - offsets[i - 1]);
  }
  return longest;
}

}  // namespace lepton::data
