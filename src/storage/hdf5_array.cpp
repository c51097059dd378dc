// SPDX-License-Identifier: Apache-2.0
// Hdf5Array: rows of an open array. Contiguous arrays are read by pread at H5Dget_offset, without HDF5 and
// its lock. Chunked ones that are not compressed also, where their chunks hold whole rows and are few enough
// that the table of their offsets is cheap to make (HDF5 1.10 walks the index for each); many small chunks
// one by one by H5Dread_chunk. All others are read by H5Dread of the hyperslab. The latter two hold the lock:
// HDF5 is not thread-safe, and lookup and decompression belong to it. Called by data/store, train/predict.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "storage/hdf5.h"
#include "storage/hdf5_file.h"

namespace lepton::storage {

namespace {

constexpr int64_t table_chunks_max = 512;  // the table costs chunks^2 / 2 index steps of some 50 ns

/// A file descriptor that closes itself.
struct Descriptor {
  int value = -1;
  Descriptor() = default;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value >= 0) close(value);
  }
};

}  // namespace

struct Hdf5Array::State {
  ArrayLayout layout;
  Descriptor descriptor;
  Handle file, dataset, type;
  bool whole_row_chunks = false;       // unfiltered chunks that hold whole rows
  std::vector<int64_t> chunk_offsets;  // by chunk, once rows are read; empty: read through HDF5
  std::string where;
  ArrayInfo view;  // as the caller sees it: rows may be windows

  void read_stored_rows(int64_t begin, int64_t end, std::span<std::byte> out);
  void read_windows(int64_t begin, int64_t end, std::span<std::byte> out);
  bool chunks_hold_whole_rows() const;
  void make_chunk_table();
  void pread_fully(int64_t offset, std::span<std::byte> out) const;
  void read_contiguous(int64_t begin, std::span<std::byte> out) const;
  void read_chunks(int64_t begin, int64_t end, std::span<std::byte> out) const;
  void read_chunks_by_hdf5(int64_t begin, int64_t end, std::span<std::byte> out) const;
  void read_by_hdf5(int64_t begin, int64_t end, std::span<std::byte> out) const;
};

size_t ArrayInfo::row_bytes() const {
  size_t bytes = static_cast<size_t>(type.bytes);
  for (size_t i = 1; i < shape.size(); ++i) bytes *= static_cast<size_t>(shape[i]);
  return bytes;
}

/// The same array as rows of windows.
static ArrayInfo windows_of(const ArrayInfo& stored, const RowWindows& windows, const std::string& where) {
  if (windows.length == 0) return stored;
  CHECK(windows.stride > 0 && windows.first + windows.length <= windows.span, "windows of " + where);
  REQUIRE(stored.shape.size() == 1, Exit::data, where,
          "windows are cut from an array of rank 1, this one has shape " + shape_text(stored.shape),
          "Leave data.sequence out where rows are sequences already.");
  ArrayInfo view = stored;
  view.windows = windows;
  view.shape = {windows.rows(stored.shape[0]), windows.length};
  view.chunk_rows = stored.chunk_rows / windows.stride;
  REQUIRE(view.shape[0] > 0, Exit::data, where,
          "its " + std::to_string(stored.shape[0]) + " elements are fewer than the " +
              std::to_string(windows.span) + " of one window",
          "Make data.sequence smaller.");
  return view;
}

Hdf5Array::Hdf5Array(const std::string& file, const std::string& path, const RowWindows& windows)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.where = place(file, path);
  const Hdf5Lock lock(s.where);
  s.file = open_file(file, path);
  s.descriptor.value = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  REQUIRE(s.descriptor.value >= 0 && fstat(s.descriptor.value, &status) == 0, Exit::no_input, s.where,
          std::string("the file cannot be read: ") + std::strerror(errno), "");
  s.dataset = open_array(s.file.get(), file, path);
  s.layout = describe(s.dataset.get(), file, path, status.st_size);
  s.type = hdf5_handle(H5Dget_type(s.dataset.get()), H5Tclose, Exit::data, s.where, "reading the type");
  s.whole_row_chunks = s.layout.chunked && !s.layout.info.filtered && s.chunks_hold_whole_rows();
  s.view = windows_of(s.layout.info, windows, s.where);
}

Hdf5Array::~Hdf5Array() = default;
Hdf5Array::Hdf5Array(Hdf5Array&&) noexcept = default;

const ArrayInfo& Hdf5Array::info() const {
  return state_->view;
}

bool Hdf5Array::State::chunks_hold_whole_rows() const {
  const Shape& shape = layout.info.shape;
  std::vector<hsize_t> chunk(shape.size());
  const Handle properties = hdf5_handle(H5Dget_create_plist(dataset.get()), H5Pclose, Exit::data, where,
                                        "reading the storage layout");
  H5Pget_chunk(properties.get(), static_cast<int>(chunk.size()), chunk.data());
  for (size_t i = 1; i < shape.size(); ++i)
    if (static_cast<int64_t>(chunk[i]) != shape[i]) return false;
  return element_count(shape) > 0;
}

/// Leaves the table empty where HDF5 must be asked chunk by chunk.
void Hdf5Array::State::make_chunk_table() {
  const ArrayInfo& info = layout.info;
  const int64_t chunks = (info.shape[0] + info.chunk_rows - 1) / info.chunk_rows;
  if (chunks > table_chunks_max) return;
  const Hdf5Lock lock(where);
  const Handle space =
      hdf5_handle(H5Dget_space(dataset.get()), H5Sclose, Exit::data, where, "reading the shape");
  std::vector<int64_t> offsets(static_cast<size_t>(chunks), -1);
  std::vector<hsize_t> corner(info.shape.size());
  for (int64_t i = 0; i < chunks; ++i) {
    unsigned mask = 0;
    haddr_t address = HADDR_UNDEF;
    hsize_t bytes = 0;
    const herr_t status = H5Dget_chunk_info(dataset.get(), space.get(), static_cast<hsize_t>(i),
                                            corner.data(), &mask, &address, &bytes);
    hdf5_status(status, Exit::data, where, "finding the chunks");
    const int64_t chunk = static_cast<int64_t>(corner[0]) / info.chunk_rows;
    if (address == HADDR_UNDEF || chunk >= chunks) return;
    offsets[static_cast<size_t>(chunk)] = static_cast<int64_t>(address);
  }
  if (std::find(offsets.begin(), offsets.end(), -1) == offsets.end()) chunk_offsets = std::move(offsets);
}

void Hdf5Array::State::pread_fully(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const size_t piece = std::min(out.size(), size_t{1} << 30);
    const ssize_t got = pread(descriptor.value, out.data(), piece, offset);
    if (got < 0 && errno == EINTR) continue;
    REQUIRE(got >= 0, Exit::io, where, std::string("reading failed: ") + std::strerror(errno), "");
    REQUIRE(got > 0, Exit::data, where,
            "the file was truncated while it was read: it ends at byte " + std::to_string(offset) + ", " +
                std::to_string(out.size()) + " more were expected",
            "Start again when nobody writes to the file.");
    out = out.subspan(static_cast<size_t>(got));
    offset += got;
  }
}

void Hdf5Array::State::read_contiguous(int64_t begin, std::span<std::byte> out) const {
  pread_fully(*layout.offset + begin * static_cast<int64_t>(layout.info.row_bytes()), out);
}

void Hdf5Array::State::read_chunks(int64_t begin, int64_t end, std::span<std::byte> out) const {
  const size_t row_bytes = layout.info.row_bytes();
  const int64_t chunk_rows = layout.info.chunk_rows;
  while (begin < end) {
    const int64_t chunk = begin / chunk_rows, inside = begin % chunk_rows;
    const int64_t rows = std::min(end - begin, chunk_rows - inside);
    const size_t bytes = static_cast<size_t>(rows) * row_bytes;
    pread_fully(chunk_offsets[static_cast<size_t>(chunk)] + inside * static_cast<int64_t>(row_bytes),
                out.first(bytes));
    out = out.subspan(bytes);
    begin += rows;
  }
}

void Hdf5Array::State::read_chunks_by_hdf5(int64_t begin, int64_t end, std::span<std::byte> out) const {
  const size_t row_bytes = layout.info.row_bytes();
  const int64_t chunk_rows = layout.info.chunk_rows;
  const Hdf5Lock lock(where);
  std::vector<hsize_t> corner(layout.info.shape.size(), 0);
  while (begin < end) {
    const int64_t rows = std::min(end - begin, chunk_rows - begin % chunk_rows);
    const std::span<std::byte> part = out.first(static_cast<size_t>(rows) * row_bytes);
    if (rows == chunk_rows) {
      uint32_t mask = 0;
      corner[0] = static_cast<hsize_t>(begin);
      const herr_t status = H5Dread_chunk(dataset.get(), H5P_DEFAULT, corner.data(), &mask, part.data());
      REQUIRE(status >= 0, Exit::data, where,
              "the chunk at row " + std::to_string(begin) + " cannot be read; " + hdf5_message(),
              "The file is damaged or truncated: copy or make it again.");
    } else {
      read_by_hdf5(begin, begin + rows, part);
    }
    out = out.subspan(part.size());
    begin += rows;
  }
}

void Hdf5Array::State::read_by_hdf5(int64_t begin, int64_t end, std::span<std::byte> out) const {
  const Hdf5Lock lock(where);
  std::vector<hsize_t> start(layout.info.shape.size(), 0),
      count(layout.info.shape.begin(), layout.info.shape.end());
  start[0] = static_cast<hsize_t>(begin);
  count[0] = static_cast<hsize_t>(end - begin);
  const int rank = static_cast<int>(count.size());
  const Handle from = hdf5_handle(H5Dget_space(dataset.get()), H5Sclose, Exit::data, where, "selecting rows");
  const Handle to = hdf5_handle(H5Screate_simple(rank, count.data(), nullptr), H5Sclose, Exit::software,
                                where, "selecting rows");
  hdf5_status(H5Sselect_hyperslab(from.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
              Exit::software, where, "selecting rows");
  // The memory type is the file's, so that HDF5 converts nothing: stored bytes come out as they are.
  const herr_t status = H5Dread(dataset.get(), type.get(), to.get(), from.get(), H5P_DEFAULT, out.data());
  REQUIRE(
      status >= 0, Exit::data, where,
      "rows " + std::to_string(begin) + " to " + std::to_string(end) + " cannot be read; " + hdf5_message(),
      "The file is damaged or truncated: copy or make it again.");
}

void Hdf5Array::read_rows(int64_t begin, int64_t end, std::span<std::byte> out) const {
  const ArrayInfo& array = info();
  CHECK(0 <= begin && begin <= end && end <= array.shape[0], "rows outside " + state_->where);
  CHECK(out.size() == static_cast<size_t>(end - begin) * array.row_bytes(),
        "wrong size for " + state_->where);
  if (out.empty()) return;
  if (array.windows.length > 0)
    state_->read_windows(begin, end, out);
  else
    state_->read_stored_rows(begin, end, out);
}

void Hdf5Array::State::read_stored_rows(int64_t begin, int64_t end, std::span<std::byte> out) {
  if (layout.offset) return read_contiguous(begin, out);
  if (!whole_row_chunks) return read_by_hdf5(begin, end, out);
  if (chunk_offsets.empty()) make_chunk_table();
  if (chunk_offsets.empty()) return read_chunks_by_hdf5(begin, end, out);
  read_chunks(begin, end, out);
}

void Hdf5Array::State::read_windows(int64_t begin, int64_t end, std::span<std::byte> out) {
  const RowWindows& windows = view.windows;
  const auto bytes = static_cast<size_t>(view.type.bytes), row_bytes = view.row_bytes();
  const int64_t first = begin * windows.stride + windows.first;
  const int64_t behind = (end - 1) * windows.stride + windows.first + windows.length;
  std::vector<std::byte> elements(static_cast<size_t>(behind - first) * bytes);
  read_stored_rows(first, behind, elements);
  for (int64_t row = 0; row < end - begin; ++row)
    std::memcpy(out.data() + static_cast<size_t>(row) * row_bytes,
                elements.data() + static_cast<size_t>(row * windows.stride) * bytes, row_bytes);
}

std::vector<ArrayInfo> list_arrays(const std::string& file) {
  const Hdf5Lock lock(file);
  const Handle id = open_file(file, "");
  struct stat status {};
  REQUIRE(stat(file.c_str(), &status) == 0, Exit::no_input, file, std::strerror(errno), "");
  return readable_arrays(id.get(), file, status.st_size);
}

bool is_hdf5(const std::string& file) {
  const Hdf5Lock lock(file);
  return H5Fis_hdf5(file.c_str()) > 0;
}

}  // namespace lepton::storage
