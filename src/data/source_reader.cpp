// SPDX-License-Identifier: Apache-2.0
// Columns to rows. Called by store_fill and predict.
#include "data/source_reader.h"

#include <algorithm>
#include <cstring>

namespace lepton::data {

namespace {

void interleave(std::span<const std::byte> column, size_t column_bytes, std::byte* out, size_t row_bytes) {
  for (; !column.empty(); out += row_bytes, column = column.subspan(column_bytes))
    std::memcpy(out, column.data(), column_bytes);
}

}  // namespace

SourceReader::SourceReader(const Source& source) : source_(source) {
  for (const Column& input : source.inputs) columns_.emplace_back(input.arrays);
  if (!source.targets.empty()) columns_.emplace_back(source.targets.arrays);
}

void SourceReader::read(int64_t begin, int64_t end, std::span<std::byte> out) {
  const size_t rows = static_cast<size_t>(end - begin), row_bytes = source_.row_bytes();
  CHECK(out.size() == rows * row_bytes, "room for the rows");
  if (columns_.size() == 1) return columns_.front().read(begin, end, out);
  size_t offset = 0;
  for (storage::Hdf5Rows& column : columns_) {
    scratch_.resize(rows * column.row_bytes());
    column.read(begin, end, scratch_);
    interleave(scratch_, column.row_bytes(), out.data() + offset, row_bytes);
    offset += column.row_bytes();
  }
}

}  // namespace lepton::data
