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
  for (const Column& input : source.inputs) {
    if (input.ragged())
      columns_.emplace_back(std::in_place_type<RaggedReader>, input);
    else
      columns_.emplace_back(std::in_place_type<storage::Hdf5Rows>, input.arrays);
  }
  for (const Column& target : source.targets)
    columns_.emplace_back(std::in_place_type<storage::Hdf5Rows>, target.arrays);
}

void SourceReader::read(int64_t begin, int64_t end, std::span<std::byte> out) {
  const size_t rows = static_cast<size_t>(end - begin), row_bytes = source_.row_bytes();
  CHECK(out.size() == rows * row_bytes, "room for the rows");
  const auto read_column = [&](size_t column, std::span<std::byte> to) {
    std::visit([&](auto& reader) { reader.read(begin, end, to); }, columns_[column]);
  };
  if (columns_.size() == 1) return read_column(0, out);
  size_t offset = 0;
  for (size_t column = 0; column < columns_.size(); ++column) {
    const size_t inputs = source_.inputs.size();
    const size_t bytes =
        (column < inputs ? source_.inputs[column] : source_.targets[column - inputs]).row_bytes();
    scratch_.resize(rows * bytes);
    read_column(column, scratch_);
    interleave(scratch_, bytes, out.data() + offset, row_bytes);
    offset += bytes;
  }
}

int64_t SourceReader::cut(size_t input) const {
  const auto* ragged = std::get_if<RaggedReader>(&columns_[input]);
  return ragged == nullptr ? 0 : ragged->cut();
}

}  // namespace lepton::data
