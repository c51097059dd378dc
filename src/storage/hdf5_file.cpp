// SPDX-License-Identifier: Apache-2.0
// Opening and checking. Refused by name: virtual datasets, data in external files, external links, foreign
// filters, arrays that were declared but never written, and declared sizes that the file cannot hold. Called
// by hdf5_array.cpp and hdf5_image.cpp, under Hdf5Lock.
#include "storage/hdf5_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "storage/hdf5_type.h"

namespace lepton::storage {

namespace {

herr_t refuse_external(const char*, const char*, const char*, const char*, unsigned*, hid_t, void*) {
  return -1;  // a link into another file: traversal fails
}

herr_t collect_dataset(hid_t, const char* name, const H5O_info_t* info, void* paths) {
  if (info->type == H5O_TYPE_DATASET) static_cast<std::vector<std::string>*>(paths)->push_back(name);
  return 0;
}

/// The sizes in HDF5's message on a truncated file, put into words; the message itself otherwise.
std::string open_problem(const std::string& message) {
  unsigned long long there = 0, base = 0, expected = 0;
  const char* at = std::strstr(message.c_str(), "eof = ");
  if (at != nullptr && std::sscanf(at, "eof = %llu, sblock->base_addr = %llu, stored_eof = %llu", &there,
                                   &base, &expected) == 3)
    return "the file is truncated: " + std::to_string(expected) + " bytes expected, " +
           std::to_string(there) + " there";
  return "the file is damaged; " + message;
}

void check_filters(hid_t properties, const std::string& where) {
  const int filters = H5Pget_nfilters(properties);
  for (int i = 0; i < filters; ++i) {
    char name[64] = "";
    unsigned flags = 0, config = 0;
    size_t values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(properties, static_cast<unsigned>(i), &flags, &values, nullptr,
                                               sizeof name, name, &config);
    const bool own = filter > 0 && filter <= H5Z_FILTER_SCALEOFFSET;  // those that HDF5 itself brings
    REQUIRE(own && H5Zfilter_avail(filter) > 0, Exit::data, where,
            "the array needs filter " + std::to_string(filter) +
                (name[0] ? " (" + std::string(name) + ")" : "") + ", which this HDF5 library does not have",
            "Rewrite it without that filter: h5repack -f GZIP=4 OLD.h5 NEW.h5");
  }
}

/// Bytes of an array of this shape, or nullopt beyond 2^62.
std::optional<int64_t> checked_bytes(const Shape& shape, int64_t element_bytes) {
  int64_t bytes = element_bytes;
  for (int64_t dimension : shape)
    if (__builtin_mul_overflow(bytes, dimension, &bytes)) return std::nullopt;
  return bytes < (int64_t{1} << 62) ? std::optional(bytes) : std::nullopt;
}

std::string truncated(int64_t expected, int64_t there) {
  return "the file is truncated: the array needs the file's bytes up to " + std::to_string(expected) +
         ", there are " + std::to_string(there);
}

void check_contiguous(ArrayLayout& layout, hid_t dataset, const std::string& where, int64_t bytes,
                      int64_t file_bytes) {
  const haddr_t offset = H5Dget_offset(dataset);
  REQUIRE(offset != HADDR_UNDEF, Exit::data, where,
          "the array was declared with " + std::to_string(bytes) + " bytes but never written", "");
  const int64_t begin = static_cast<int64_t>(offset);
  REQUIRE(begin <= file_bytes && bytes <= file_bytes - begin, Exit::data, where,
          truncated(begin + bytes, file_bytes), "Copy or make the file again.");
  layout.offset = begin;
}

void check_chunks(ArrayLayout& layout, hid_t dataset, hid_t properties, const std::string& where,
                  int64_t file_bytes) {
  const Shape& shape = layout.info.shape;
  std::vector<hsize_t> chunk(shape.size());
  H5Pget_chunk(properties, static_cast<int>(chunk.size()), chunk.data());
  layout.info.chunk_rows = static_cast<int64_t>(chunk[0]);
  int64_t expected = 1, chunk_bytes = layout.info.type.bytes;
  for (size_t i = 0; i < chunk.size(); ++i) {
    const int64_t side = static_cast<int64_t>(chunk[i]);
    const bool possible =
        side > 0 && !__builtin_mul_overflow(chunk_bytes, side, &chunk_bytes) &&
        !__builtin_mul_overflow(expected, shape[i] / side + (shape[i] % side != 0), &expected);
    REQUIRE(possible, Exit::data, where, "the declared shape " + shape_text(shape) + " is impossible", "");
  }
  hsize_t written = 0;
  const Handle space = hdf5_handle(H5Dget_space(dataset), H5Sclose, Exit::data, where, "reading the shape");
  hdf5_status(H5Dget_num_chunks(dataset, space.get(), &written), Exit::data, where, "counting chunks");
  REQUIRE(static_cast<int64_t>(written) == expected, Exit::data, where,
          "only " + std::to_string(written) + " of " + std::to_string(expected) +
              " chunks of the declared shape " + shape_text(shape) + " were ever written",
          "Write the missing rows, or make the array as short as its data.");
  const int64_t stored = static_cast<int64_t>(H5Dget_storage_size(dataset));
  REQUIRE(stored <= file_bytes, Exit::data, where, truncated(stored, file_bytes),
          "Copy or make the file again.");
}

Shape shape_of(hid_t dataset, const std::string& where) {
  const Handle space = hdf5_handle(H5Dget_space(dataset), H5Sclose, Exit::data, where, "reading the shape");
  const int rank = H5Sget_simple_extent_ndims(space.get());
  REQUIRE(rank > 0, Exit::data, where, "the array holds a single value or nothing, not rows [N, ...]", "");
  std::vector<hsize_t> sides(static_cast<size_t>(rank));
  H5Sget_simple_extent_dims(space.get(), sides.data(), nullptr);
  for (hsize_t side : sides)
    REQUIRE(side < (hsize_t{1} << 62), Exit::data, where, "a declared dimension exceeds 2^62", "");
  return Shape(sides.begin(), sides.end());
}

}  // namespace

std::string place(const std::string& file, const std::string& path) {
  return path.empty() ? file : file + ":" + (path.front() == '/' ? "" : "/") + path;
}

size_t info_bytes(const ArrayInfo& info) {
  return static_cast<size_t>(element_count(info.shape)) * static_cast<size_t>(info.type.bytes);
}

Handle open_file(const std::string& file, const std::string& wanted_path) {
  const std::string where = place(file, wanted_path);
  struct stat status {};
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  const int problem = descriptor < 0 || fstat(descriptor, &status) != 0 ? errno : 0;
  if (descriptor >= 0) close(descriptor);
  REQUIRE(problem == 0, Exit::no_input, where,
          std::string("the file cannot be read: ") + std::strerror(problem),
          "Check data.file and its permissions.");
  REQUIRE(S_ISREG(status.st_mode), Exit::no_input, where, "this is not a file", "Check data.file.");
  REQUIRE(status.st_size > 0, Exit::data, where, "the file is empty", "Copy or make it again.");
  REQUIRE(H5Fis_hdf5(file.c_str()) > 0, Exit::data, where, "this is not an HDF5 file",
          "The README shows how to make one from Python (Your data).");
  const hid_t id = H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  REQUIRE(id >= 0, Exit::data, where, open_problem(hdf5_message()), "Copy or make the file again.");
  return Handle(id, H5Fclose);
}

Handle open_array(hid_t file_id, const std::string& file, const std::string& path) {
  const std::string where = place(file, path);
  const Handle access =
      hdf5_handle(H5Pcreate(H5P_DATASET_ACCESS), H5Pclose, Exit::software, where, "making a property list");
  H5Pset_elink_cb(access.get(), refuse_external, nullptr);
  H5Pset_chunk_cache(access.get(), 521, 0, 1);  // blocks are read once, whole: a cache would only copy
  const hid_t id = path.empty() ? -1 : H5Dopen2(file_id, path.c_str(), access.get());
  if (id >= 0) return Handle(id, H5Dclose);
  const std::string message = hdf5_message();
  std::vector<std::string> paths = dataset_paths(file_id);
  std::string absolute = path;
  if (!path.empty() && path.front() == '/') absolute.erase(0, 1);
  const std::string nearest = nearest_name(absolute, paths);
  std::string hint = "Did you mean \"" + nearest + "\"?";
  if (nearest.empty()) {
    hint = paths.empty() ? "The file holds no arrays." : "The file holds:";
    for (size_t i = 0; i < paths.size() && i < 10; ++i) hint += (i ? ", " : " ") + paths[i];
  }
  fail(Exit::data, where, "there is no such array that can be opened (" + message + ")", hint);
}

ArrayLayout describe(hid_t dataset, const std::string& file, const std::string& path, int64_t file_bytes) {
  const std::string where = place(file, path);
  ArrayLayout layout;
  layout.info.file = file;
  layout.info.path = path;
  const Handle type = hdf5_handle(H5Dget_type(dataset), H5Tclose, Exit::data, where, "reading the type");
  layout.info.type = stored_type(type.get(), where);
  layout.info.shape = shape_of(dataset, where);
  const auto bytes = checked_bytes(layout.info.shape, layout.info.type.bytes);
  REQUIRE(bytes, Exit::data, where, "the declared shape " + shape_text(layout.info.shape) + " is impossible",
          "");

  const Handle properties =
      hdf5_handle(H5Dget_create_plist(dataset), H5Pclose, Exit::data, where, "reading the storage layout");
  REQUIRE(H5Pget_external_count(properties.get()) <= 0, Exit::data, where,
          "the data lie in another, external file, which is not followed", "Repack: h5repack OLD.h5 NEW.h5");
  layout.info.filtered = H5Pget_nfilters(properties.get()) > 0;
  check_filters(properties.get(), where);
  const H5D_layout_t kind = H5Pget_layout(properties.get());
  REQUIRE(kind == H5D_CONTIGUOUS || kind == H5D_CHUNKED || kind == H5D_COMPACT, Exit::data, where,
          kind == H5D_VIRTUAL ? "this is a virtual dataset, which is not followed"
                              : "the storage layout is unknown",
          "List its files in data.files, or copy it into a plain array.");
  layout.chunked = kind == H5D_CHUNKED;
  if (*bytes == 0) return layout;
  if (kind == H5D_CONTIGUOUS) check_contiguous(layout, dataset, where, *bytes, file_bytes);
  if (kind == H5D_CHUNKED) check_chunks(layout, dataset, properties.get(), where, file_bytes);
  return layout;
}

std::vector<std::string> dataset_paths(hid_t file_id) {
  std::vector<std::string> paths;
  // (The other fields cost much, and the library's own heaps are read for them unchecked.)
  H5Ovisit2(file_id, H5_INDEX_NAME, H5_ITER_NATIVE, collect_dataset, &paths, H5O_INFO_BASIC);
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::vector<ArrayInfo> readable_arrays(hid_t file_id, const std::string& file, int64_t file_bytes) {
  std::vector<ArrayInfo> arrays;
  for (const std::string& path : dataset_paths(file_id)) try {
      const Handle dataset = open_array(file_id, file, path);
      arrays.push_back(describe(dataset.get(), file, path, file_bytes).info);
    } catch (const Error&) {
      continue;  // not an array that Lepton reads: a string, a compound, ...
    }
  return arrays;
}

}  // namespace lepton::storage
