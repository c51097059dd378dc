// SPDX-License-Identifier: Apache-2.0
// Which file a row is in, and reading across their borders; see hdf5_rows.h. Files without rows are passed
// over.
#include "storage/hdf5_rows.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace lepton::storage {

Hdf5Rows::Hdf5Rows(std::span<const ArrayInfo> arrays) : arrays_(arrays) {
  CHECK(!arrays.empty(), "rows of no file");
  first_row_.push_back(0);
  for (const ArrayInfo& array : arrays) first_row_.push_back(first_row_.back() + array.shape[0]);
}

void Hdf5Rows::read(int64_t begin, int64_t end, std::span<std::byte> out) {
  CHECK(0 <= begin && begin <= end && end <= rows(), "rows outside the files");
  CHECK(out.size() == static_cast<size_t>(end - begin) * row_bytes(), "wrong size for the rows");
  while (begin < end) {
    const auto behind = std::upper_bound(first_row_.begin(), first_row_.end(), begin);
    const size_t file = static_cast<size_t>(behind - first_row_.begin()) - 1;
    const int64_t first = first_row_[file], stop = std::min(end, *behind);
    const std::span<std::byte> part = out.first(static_cast<size_t>(stop - begin) * row_bytes());
    open_array(file).read_rows(begin - first, stop - first, part);
    out = out.subspan(part.size());
    begin = stop;
  }
}

const Hdf5Array& Hdf5Rows::open_array(size_t file) {
  if (array_ && file == open_) return *array_;
  const ArrayInfo& found = arrays_[file];
  array_.reset();  // before the next one is opened: descriptors are few where threads are many
  auto array = std::make_unique<Hdf5Array>(found.file, found.path, found.windows);
  const ArrayInfo& now = array->info();
  REQUIRE(now.shape == found.shape && now.type == found.type, Exit::io, found.file + ":" + found.path,
          "the file changed while it was read", "Start again when nobody writes to it.");
  array_ = std::move(array);
  open_ = file;
  return *array_;
}

}  // namespace lepton::storage
