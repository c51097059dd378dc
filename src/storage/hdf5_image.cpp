// SPDX-License-Identifier: Apache-2.0
// Files that Lepton makes: images in memory (checkpoint shards) and empty contiguous arrays on disk
// (predict). HDF5 only lays out the file (early allocation, nothing written, no times, no fill values); the
// bytes of the arrays are put at H5Dget_offset by us, so an image is held once and not also in HDF5's
// buffers. An image is read in place too: HDF5 gets the caller's memory through its file-image callbacks
// instead of two copies.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>

#include "storage/hdf5.h"
#include "storage/hdf5_file.h"
#include "storage/hdf5_type.h"

namespace lepton::storage {

namespace {

struct Attribute {
  std::string name, text;
  int64_t number = 0;
  bool is_text = false;
};

/// Creates one array, allocated and unwritten; returns its offset in the file.
int64_t create_array(hid_t file, const NewArray& array, const std::string& where) {
  const Handle type = hdf5_type(array.type);
  const std::vector<hsize_t> sides(array.shape.begin(), array.shape.end());
  const Handle space = hdf5_handle(H5Screate_simple(static_cast<int>(sides.size()), sides.data(), nullptr),
                                   H5Sclose, Exit::software, where, "making a shape");
  const Handle links = hdf5_handle(H5Pcreate(H5P_LINK_CREATE), H5Pclose, Exit::software, where, "H5Pcreate");
  const Handle properties =
      hdf5_handle(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, Exit::software, where, "H5Pcreate");
  H5Pset_create_intermediate_group(links.get(), 1);
  H5Pset_obj_track_times(properties.get(), false);
  H5Pset_layout(properties.get(), H5D_CONTIGUOUS);
  H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
  const Handle dataset = hdf5_handle(H5Dcreate2(file, array.path.c_str(), type.get(), space.get(),
                                                links.get(), properties.get(), H5P_DEFAULT),
                                     H5Dclose, Exit::io, where, "creating the array");
  const haddr_t offset = H5Dget_offset(dataset.get());
  CHECK(offset != HADDR_UNDEF || element_count(array.shape) == 0, where + " was not allocated");
  return offset == HADDR_UNDEF ? 0 : static_cast<int64_t>(offset);
}

void create_attribute(hid_t file, const Attribute& attribute) {
  const Handle space =
      hdf5_handle(H5Screate(H5S_SCALAR), H5Sclose, Exit::software, attribute.name, "H5Screate");
  Handle type = hdf5_handle(H5Tcopy(attribute.is_text ? H5T_C_S1 : H5T_STD_I64LE), H5Tclose, Exit::software,
                            attribute.name, "H5Tcopy");
  if (attribute.is_text) {
    H5Tset_size(type.get(), attribute.text.size() + 1);
    H5Tset_cset(type.get(), H5T_CSET_UTF8);
  }
  const Handle id =
      hdf5_handle(H5Acreate2(file, attribute.name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
                  H5Aclose, Exit::io, attribute.name, "creating the attribute");
  const void* value =
      attribute.is_text ? static_cast<const void*>(attribute.text.c_str()) : &attribute.number;
  hdf5_status(H5Awrite(id.get(), type.get(), value), Exit::io, attribute.name, "writing the attribute");
}

/// Lays out `file` and closes it; returns the arrays' offsets.
std::vector<int64_t> create_layout(const std::string& file, const std::string& name,
                                   const std::vector<NewArray>& arrays,
                                   const std::vector<Attribute>& attributes) {
  const Hdf5Lock lock{std::string()};
  Handle id = hdf5_handle(H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose,
                          Exit::io, name, "creating the file");
  std::vector<int64_t> offsets;
  for (const NewArray& array : arrays)
    offsets.push_back(create_array(id.get(), array, place(name, array.path)));
  for (const Attribute& attribute : attributes) create_attribute(id.get(), attribute);
  hdf5_status(H5Fflush(id.get(), H5F_SCOPE_GLOBAL), Exit::io, name, "flushing");
  id.reset();
  return offsets;
}

/// A small sparse file for the layout of an image: what is allocated for arrays and never written takes no
/// room. In memory where there is /dev/shm. (HDF5 refuses a memfd, whose path cannot be resolved.)
class LayoutFile {
 public:
  LayoutFile() {
    for (const std::string directory : {"/dev/shm", "/tmp", "."}) {
      path_ = directory + "/lepton-layout-XXXXXX";
      if ((descriptor_ = mkostemp(path_.data(), O_CLOEXEC)) >= 0) return;
    }
    fail(Exit::io, "checkpoint image", std::string("no temporary file can be made: ") + std::strerror(errno),
         "");
  }
  ~LayoutFile() {
    unlink(path_.c_str());
    close(descriptor_);
  }
  LayoutFile(const LayoutFile&) = delete;
  LayoutFile& operator=(const LayoutFile&) = delete;
  const std::string& path() const { return path_; }

  size_t size() const { return static_cast<size_t>(lseek(descriptor_, 0, SEEK_END)); }
  /// Holes are zeros.
  void read(size_t at, std::span<std::byte> out) const {
    CHECK(pread(descriptor_, out.data(), out.size(), static_cast<off_t>(at)) == std::ssize(out), path_);
  }

 private:
  std::string path_;
  int descriptor_ = -1;
};

size_t array_bytes(const NewArray& array) {
  return static_cast<size_t>(element_count(array.shape)) * static_cast<size_t>(array.type.bytes);
}

}  // namespace

struct Hdf5Image::State {
  std::vector<NewArray> arrays;
  std::vector<std::span<const std::byte>> contents;
  std::vector<Attribute> attributes;
};

Hdf5Image::Hdf5Image() : state_(std::make_unique<State>()) {}
Hdf5Image::~Hdf5Image() = default;

void Hdf5Image::add(const std::string& path, const StoredType& type, const Shape& shape,
                    std::span<const std::byte> bytes) {
  const NewArray array{path, type, shape};
  CHECK(bytes.size() == array_bytes(array), path + ": size and shape differ");
  state_->arrays.push_back(array);
  state_->contents.push_back(bytes);
}

void Hdf5Image::attribute(const std::string& name, const std::string& value) {
  CHECK(value.find('\0') == std::string::npos, name + ": text with a zero byte");
  state_->attributes.push_back({name, value, 0, true});
}

void Hdf5Image::attribute(const std::string& name, int64_t value) {
  state_->attributes.push_back({name, "", value, false});
}

Hdf5Pieces Hdf5Image::pieces() const {
  const LayoutFile file;
  const auto offsets = create_layout(file.path(), "checkpoint image", state_->arrays, state_->attributes);
  std::map<size_t, std::span<const std::byte>> arrays;  // by where they begin
  for (size_t i = 0; i < offsets.size(); ++i)
    if (!state_->contents[i].empty()) arrays[static_cast<size_t>(offsets[i])] = state_->contents[i];
  size_t rest = file.size();
  arrays[rest] = {};
  for (const auto& [begin, content] : arrays) {
    CHECK(content.size() <= rest, "arrays beyond the image");
    rest -= content.size();
  }
  Hdf5Pieces result;
  result.between.resize(rest);
  size_t end = 0, used = 0;  // of the pieces so far; of what is between
  for (const auto& [begin, content] : arrays) {
    CHECK(begin >= end && begin - end <= rest - used, "arrays overlap");
    const std::span<std::byte> gap = std::span(result.between).subspan(used, begin - end);
    file.read(end, gap);
    if (!gap.empty()) result.pieces.push_back(gap);
    if (!content.empty()) result.pieces.push_back(content);
    used += gap.size();
    end = begin + content.size();
  }
  return result;
}

std::vector<std::byte> Hdf5Pieces::joined() const {
  std::vector<std::byte> bytes;
  for (const auto& piece : pieces) bytes.insert(bytes.end(), piece.begin(), piece.end());
  return bytes;
}

std::vector<int64_t> create_contiguous(const std::string& file, const std::vector<NewArray>& arrays) {
  return create_layout(file, file, arrays, {});
}

namespace {

// File-image callbacks that lend HDF5 the caller's memory: `malloc` hands it out, copies onto itself and
// frees do nothing. Read-only use: HDF5 never resizes it.
struct LentImage {
  void* bytes;
};
void* lend(size_t, H5FD_file_image_op_t, void* image) {
  return static_cast<LentImage*>(image)->bytes;
}
void* copy_onto_itself(void* to, const void* from, size_t, H5FD_file_image_op_t, void*) {
  return to == from ? to : nullptr;
}
void* refuse_resize(void*, size_t, H5FD_file_image_op_t, void*) {
  return nullptr;
}
herr_t keep(void*, H5FD_file_image_op_t, void*) {
  return 0;
}
void* same_image(void* image) {
  return image;
}
herr_t keep_image(void*) {
  return 0;
}

}  // namespace

struct Hdf5ImageReader::State {
  std::span<const std::byte> image;
  std::string name;
  LentImage lent{};
  Handle access, file;
};

Hdf5ImageReader::Hdf5ImageReader(std::span<const std::byte> image, const std::string& name)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.image = image;
  s.name = name;
  s.lent.bytes = const_cast<std::byte*>(image.data());
  const Hdf5Lock lock{std::string()};
  s.access = hdf5_handle(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, Exit::software, name, "H5Pcreate");
  hdf5_status(H5Pset_fapl_core(s.access.get(), 1 << 16, false), Exit::software, name, "choosing memory");
  H5FD_file_image_callbacks_t calls = {lend,       copy_onto_itself, refuse_resize, keep,
                                       same_image, keep_image,       &s.lent};
  hdf5_status(H5Pset_file_image_callbacks(s.access.get(), &calls), Exit::software, name, "lending the image");
  hdf5_status(H5Pset_file_image(s.access.get(), s.lent.bytes, image.size()), Exit::data, name,
              "lending the image");
  s.file = hdf5_handle(H5Fopen(name.c_str(), H5F_ACC_RDONLY, s.access.get()), H5Fclose, Exit::data, name,
                       "opening the image");
}

Hdf5ImageReader::~Hdf5ImageReader() = default;

std::vector<ArrayInfo> Hdf5ImageReader::arrays() const {
  const Hdf5Lock lock{std::string()};
  return readable_arrays(state_->file.get(), state_->name, static_cast<int64_t>(state_->image.size()));
}

void Hdf5ImageReader::read(const std::string& path, std::span<std::byte> out) const {
  const Hdf5Lock lock{std::string()};
  const Handle dataset = open_array(state_->file.get(), state_->name, path);
  const ArrayLayout layout =
      describe(dataset.get(), state_->name, path, static_cast<int64_t>(state_->image.size()));
  const std::string where = place(state_->name, path);
  REQUIRE(info_bytes(layout.info) == out.size(), Exit::data, where,
          "the array has " + std::to_string(info_bytes(layout.info)) + " bytes, " +
              std::to_string(out.size()) + " were expected",
          "");
  if (out.empty()) return;
  REQUIRE(layout.offset, Exit::data, where, "the array is not contiguous", "");
  std::memcpy(out.data(), state_->image.data() + *layout.offset, out.size());
}

namespace {

Handle open_attribute(hid_t file, const std::string& where) {
  return hdf5_handle(H5Aopen(file, where.substr(where.rfind('@') + 1).c_str(), H5P_DEFAULT), H5Aclose,
                     Exit::data, where, "opening the attribute");
}

}  // namespace

std::string Hdf5ImageReader::text_attribute(const std::string& name) const {
  const Hdf5Lock lock{std::string()};
  const std::string where = state_->name + "@" + name;
  const Handle id = open_attribute(state_->file.get(), where);
  const Handle type = hdf5_handle(H5Aget_type(id.get()), H5Tclose, Exit::data, where, "reading the type");
  REQUIRE(H5Tget_class(type.get()) == H5T_STRING && H5Tis_variable_str(type.get()) == 0, Exit::data, where,
          "the attribute is not a text of fixed length", "");
  const hsize_t bytes = H5Aget_storage_size(id.get());
  REQUIRE(bytes <= state_->image.size(), Exit::data, where, "the attribute is longer than its file", "");
  std::string text(bytes, '\0');
  hdf5_status(H5Aread(id.get(), type.get(), text.data()), Exit::data, where, "reading the attribute");
  return text.substr(0, text.find('\0'));
}

int64_t Hdf5ImageReader::int_attribute(const std::string& name) const {
  const Hdf5Lock lock{std::string()};
  const std::string where = state_->name + "@" + name;
  const Handle id = open_attribute(state_->file.get(), where);
  const Handle space = hdf5_handle(H5Aget_space(id.get()), H5Sclose, Exit::data, where, "reading the shape");
  const Handle type = hdf5_handle(H5Aget_type(id.get()), H5Tclose, Exit::data, where, "reading the type");
  REQUIRE(H5Sget_simple_extent_npoints(space.get()) == 1 && H5Tget_class(type.get()) == H5T_INTEGER,
          Exit::data, where, "the attribute is not one whole number", "");
  int64_t value = 0;
  hdf5_status(H5Aread(id.get(), H5T_NATIVE_INT64, &value), Exit::data, where, "reading the attribute");
  return value;
}

}  // namespace lepton::storage
