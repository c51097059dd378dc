// SPDX-License-Identifier: Apache-2.0
// HDF5, and the only folder that calls it. RAII handles, the process-wide lock (HDF5 is not thread-safe; the
// lock covers metadata, never slow disk I/O), clear errors in place of HDF5's stacks. Contiguous data is read
// by H5Dget_offset + pread, chunked data by whole chunks. No external links, virtual datasets or foreign
// filters are followed. HDF5_USE_FILE_LOCKING=FALSE is set before the library starts (many parallel file
// systems need it). Declared sizes are checked against the file's size before anything is allocated.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tensor/shape.h"

namespace lepton::storage {

/// A stored number type: what a sample store keeps and an assembler converts from.
struct StoredType {
  enum class Kind { signed_integer, unsigned_integer, floating } kind = Kind::floating;
  int bytes = 4;  ///< 1, 2, 4, 8
  bool big_endian = false;
  bool operator==(const StoredType&) const = default;
  std::string text() const;  ///< "uint8", "float32 big-endian"
};

/// Rows that are windows of an array of rank 1: row r holds elements r * stride + first, ..., `length` of
/// them. As many rows as there are whole spans [r * stride, r * stride + span). length 0: no windows.
struct RowWindows {
  int64_t length = 0, stride = 1, first = 0, span = 0;
  int64_t rows(int64_t elements) const { return elements < span ? 0 : (elements - span) / stride + 1; }
  bool operator==(const RowWindows&) const = default;
};

struct ArrayInfo {
  std::string file, path;  ///< path inside the file
  Shape shape;             ///< [N, ...]
  StoredType type;
  int64_t chunk_rows = 0;  ///< 0: contiguous
  bool filtered = false;
  RowWindows windows = {};
  size_t row_bytes() const;
};

/// An open array of one file. Thread-compatible: one object per thread, or the caller's lock.
class Hdf5Array {
 public:
  /// Throws Error(no_input) for a missing or unreadable file, Error(data) for one that is not HDF5,
  /// truncated, or lacks `path` (names the nearest path), or has an unsupported type, layout or filter; and
  /// for windows of an array that is not of rank 1.
  Hdf5Array(const std::string& file, const std::string& path, const RowWindows& windows = {});
  ~Hdf5Array();
  Hdf5Array(Hdf5Array&&) noexcept;
  const ArrayInfo& info() const;
  /// Rows [begin, end) into `out` (row_bytes each, stored type and byte order). Blocks of at least 1 MiB are
  /// read at the speed of pread when the array is contiguous or unfiltered.
  void read_rows(int64_t begin, int64_t end, std::span<std::byte> out) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Paths of all arrays in a file with their infos, for `inspect` and for nearest names.
std::vector<ArrayInfo> list_arrays(const std::string& file);
/// Whether this is an HDF5 file, by its signature; false for what is missing or unreadable.
bool is_hdf5(const std::string& file);

/// What a file consists of, in order. The arrays lie where they lay; all else is in `between`.
struct Hdf5Pieces {
  Hdf5Pieces() = default;
  Hdf5Pieces(Hdf5Pieces&&) = default;  // a copy's pieces would lie in the original
  std::vector<std::byte> between;
  std::vector<std::span<const std::byte>> pieces;
  std::vector<std::byte> joined() const;
};

/// A file of plain arrays built as an image in memory, byte-identical for identical content (no times).
class Hdf5Image {
 public:
  Hdf5Image();
  ~Hdf5Image();
  void add(const std::string& path, const StoredType& type, const Shape& shape,
           std::span<const std::byte> bytes);
  void attribute(const std::string& name, const std::string& value);
  void attribute(const std::string& name, int64_t value);
  /// Valid while the arrays' bytes are.
  Hdf5Pieces pieces() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Opens arrays in a verified image in memory (checkpoint shards: bytes are verified before HDF5 parses
/// them).
class Hdf5ImageReader {
 public:
  explicit Hdf5ImageReader(std::span<const std::byte> image, const std::string& name);
  ~Hdf5ImageReader();
  std::vector<ArrayInfo> arrays() const;
  void read(const std::string& path, std::span<std::byte> out) const;
  std::string text_attribute(const std::string& name) const;
  int64_t int_attribute(const std::string& name) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Creates `file` with empty contiguous arrays allocated early; returns the byte offset of each, so that
/// ranks write their rows by pwrite (predict). Throws Error(io).
struct NewArray {
  std::string path;
  StoredType type;
  Shape shape;
};
std::vector<int64_t> create_contiguous(const std::string& file, const std::vector<NewArray>& arrays);

}  // namespace lepton::storage
