// SPDX-License-Identifier: Apache-2.0
// Images: byte-identical for identical content at any time, readable in place and by plain HDF5, damage is an
// error.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <numeric>
#include <thread>

#include "storage/hdf5.h"
#include "storage/make_hdf5.h"
#include "storage/scratch.h"

namespace lepton::storage {
namespace {

using testing::expect_error;
using testing::f32;
using testing::Scratch;

std::vector<std::byte> make_image(const std::vector<float>& values, const std::string& text = "text") {
  Hdf5Image image;
  const auto bytes = std::as_bytes(std::span(values));
  image.add("parameters/a", f32, {static_cast<int64_t>(values.size())}, bytes);
  image.add("parameters/b", f32, {2, 3}, bytes.first(24));
  image.add("empty", f32, {0}, {});
  image.attribute("kind", text);
  image.attribute("nothing", std::string());
  image.attribute("step", int64_t{-42});
  return image.pieces().joined();
}

std::vector<float> numbers(size_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 1.5f);
  return values;
}

TEST(Hdf5Image, SameBytesAtAnyTime) {
  const auto first = make_image(numbers(100000));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // times in HDF5 count seconds
  EXPECT_EQ(first, make_image(numbers(100000)));
  EXPECT_NE(first, make_image(numbers(100000), "other"));
}

TEST(Hdf5Image, ReadInPlace) {
  const auto image = make_image(numbers(1000));
  const auto before = image;
  {
    const Hdf5ImageReader reader(image, "shard 0");
    const auto arrays = reader.arrays();
    ASSERT_EQ(arrays.size(), 3u);
    EXPECT_EQ(arrays[1].path, "parameters/a");
    EXPECT_EQ(arrays[2].shape, (Shape{2, 3}));
    std::vector<float> values(1000), few(6);
    reader.read("parameters/a", std::as_writable_bytes(std::span(values)));
    reader.read("parameters/b", std::as_writable_bytes(std::span(few)));
    reader.read("empty", {});
    EXPECT_EQ(values, numbers(1000));
    EXPECT_EQ(few, numbers(6));
    EXPECT_EQ(reader.text_attribute("kind"), "text");
    EXPECT_EQ(reader.text_attribute("nothing"), "");
    EXPECT_EQ(reader.int_attribute("step"), -42);
    expect_error(Exit::data, "shard 0@stop", [&] { reader.int_attribute("stop"); });
    expect_error(Exit::data, "not one whole number", [&] { reader.int_attribute("kind"); });
    expect_error(Exit::data, "not a text", [&] { reader.text_attribute("step"); });
    expect_error(Exit::data, "24 bytes, 4000 were expected",
                 [&] { reader.read("parameters/b", std::as_writable_bytes(std::span(values))); });
    expect_error(Exit::data, "Did you mean \"parameters/a\"?",
                 [&] { reader.read("parameters/aa", std::as_writable_bytes(std::span(values))); });
  }
  EXPECT_EQ(image, before);
}

TEST(Hdf5Image, IsAPlainFile) {
  const Scratch scratch;
  const auto image = make_image(numbers(50));
  std::ofstream(scratch / "a.h5", std::ios::binary)
      .write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
  const Hdf5Array array(scratch / "a.h5", "parameters/a");
  std::vector<float> values(50);
  array.read_rows(0, 50, std::as_writable_bytes(std::span(values)));
  EXPECT_EQ(values, numbers(50));
}

TEST(Hdf5Image, DamagedImages) {
  auto image = make_image(numbers(5000));
  const auto whole = image;
  image.resize(image.size() / 2);
  expect_error(Exit::data, "shard 7", [&] { Hdf5ImageReader(image, "shard 7"); });
  image.assign(1000, std::byte{0});
  expect_error(Exit::data, "shard 7", [&] { Hdf5ImageReader(image, "shard 7"); });
}

TEST(Hdf5Image, CreateContiguousThenPwrite) {
  const Scratch scratch;
  const std::string file = scratch / "predictions.h5";
  const StoredType i64{StoredType::Kind::signed_integer, 8, false};
  const auto offsets = create_contiguous(file, {{"scores", f32, {100, 10}}, {"out/classes", i64, {100}}});
  ASSERT_EQ(offsets.size(), 2u);
  const auto scores = numbers(1000);
  const int descriptor = open(file.c_str(), O_WRONLY);
  ASSERT_EQ(pwrite(descriptor, scores.data() + 500, 2000, offsets[0] + 2000), 2000);
  ASSERT_EQ(pwrite(descriptor, scores.data(), 2000, offsets[0]), 2000);
  const int64_t last = 99;
  ASSERT_EQ(pwrite(descriptor, &last, 8, offsets[1] + 8 * 99), 8);
  close(descriptor);
  const Hdf5Array array(file, "scores"), classes(file, "out/classes");
  std::vector<float> values(1000);
  array.read_rows(0, 100, std::as_writable_bytes(std::span(values)));
  EXPECT_EQ(values, scores);
  int64_t value = 0;
  classes.read_rows(99, 100, std::as_writable_bytes(std::span(&value, 1)));
  EXPECT_EQ(value, 99);
  expect_error(Exit::io, "creating the file", [&] { create_contiguous(scratch / "no/such/place.h5", {}); });
}

}  // namespace
}  // namespace lepton::storage
