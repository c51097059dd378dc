// SPDX-License-Identifier: Apache-2.0
// What is written is what the published format says: read back by a reader in Python that is not ours (the
// safetensors package where it is installed, else one written from the format's description); every violation
// is refused.
#include "storage/safetensors.h"

#include <cstdlib>
#include <cstring>

#include "storage/file.h"
#include "storage/scratch.h"

namespace lepton::storage {
namespace {

using testing::expect_error;
using testing::Scratch;

void write_example(const std::string& path) {
  const std::vector<float> weight = {1, 2.5f, -3, 4, 5, 6}, bias = {0.1f};
  write_safetensors(path, {{"dense_1.weight", {2, 3}, weight}, {"empty", {0, 4}, {}}, {"a \"b\"", {1}, bias}},
                    {{"format", "lepton"}, {"text", "line\nbreak"}});
}

TEST(Safetensors, ThereAndBack) {
  const Scratch scratch;
  const std::string path = scratch / "model.safetensors";
  write_example(path);
  const std::string content = read_file(path);
  uint64_t length = 0;
  std::memcpy(&length, content.data(), 8);
  EXPECT_EQ(length % 8, 0u) << "data are aligned";
  EXPECT_EQ(content.size(), 8 + length + 7 * sizeof(float));
  const SafetensorsFile file = read_safetensors(path);
  ASSERT_EQ(file.tensors.size(), 3u);
  EXPECT_EQ(file.tensors.at("dense_1.weight").shape, (Shape{2, 3}));
  EXPECT_EQ(file.tensors.at("dense_1.weight").values, (std::vector<float>{1, 2.5f, -3, 4, 5, 6}));
  EXPECT_EQ(file.tensors.at("a \"b\"").values, (std::vector<float>{0.1f}));
  EXPECT_TRUE(file.tensors.at("empty").values.empty());
  EXPECT_EQ(file.metadata.at("text"), "line\nbreak");
}

void write_raw(const std::string& path, const std::string& header, size_t data_bytes, int64_t length = -1) {
  const uint64_t said = length < 0 ? header.size() : static_cast<uint64_t>(length);
  std::string content(8, '\0');
  std::memcpy(content.data(), &said, 8);
  replace_file(path, content + header + std::string(data_bytes, '\0'));
}

TEST(Safetensors, RefusesWhatTheFormatForbids) {
  const Scratch scratch;
  const std::string path = scratch / "bad.safetensors";
  const auto refused = [&](const std::string& part) {
    expect_error(Exit::data, part, [&] { read_safetensors(path); });
  };
  expect_error(Exit::no_input, path, [&] { read_safetensors(path); });
  replace_file(path, "short");
  refused("shorter than");
  write_raw(path, "{}", 0, int64_t{1} << 60);
  refused("longer than the file");
  write_raw(path, "{\"a\":", 0);
  refused("not a JSON object");
  write_raw(path, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8);
  refused("lacks");
  write_raw(path, R"({"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}})", 8);
  refused("BF16");
  write_raw(path, R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8);
  refused("do not fit its shape");
  write_raw(path, R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8);
  refused("impossible shape");
  write_raw(path, R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 8);
  refused("impossible shape");
  write_raw(path, R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})", 16);
  refused("gap or overlaps");
  write_raw(
      path,
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
      12);
  refused("gap or overlaps");
  write_raw(path, R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4);
  refused("8 bytes of data expected, 4 there");
  write_raw(path, R"({"__metadata__":{"a":1}})", 0);
  refused("not text");
}

const char* const reader = R"py(
import json, struct, sys
path = sys.argv[1]
try:
    from safetensors import safe_open
    import numpy
    with safe_open(path, framework="numpy") as f:
        weight, meta = f.get_tensor("dense_1.weight"), f.metadata()
        names = sorted(f.keys())
    assert weight.shape == (2, 3) and weight.dtype == numpy.float32, weight
    assert weight.ravel().tolist() == [1, 2.5, -3, 4, 5, 6], weight
    which = "the safetensors package"
except ImportError:
    data = open(path, "rb").read()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n])
    meta = header.pop("__metadata__")
    names = sorted(header)
    begin, end = header["dense_1.weight"]["data_offsets"]
    assert header["dense_1.weight"]["shape"] == [2, 3] and header["dense_1.weight"]["dtype"] == "F32"
    assert list(struct.unpack("<6f", data[8 + n + begin:8 + n + end])) == [1, 2.5, -3, 4, 5, 6]
    which = "a reader from the format's description (the package is not installed)"
assert names == ['a "b"', "dense_1.weight", "empty"], names
assert meta == {"format": "lepton", "text": "line\nbreak"}, meta
print("read by", which)
)py";

TEST(Safetensors, ReadByAnotherReader) {
  const Scratch scratch;
  write_example(scratch / "model.safetensors");
  replace_file(scratch / "reader.py", reader);
  bool found = false;
  for (const std::string python : {"/usr/bin/python3", "python3"}) {
    if (std::system((python + " -c pass > /dev/null 2>&1").c_str()) != 0) continue;
    found = true;
    EXPECT_EQ(
        std::system((python + " " + (scratch / "reader.py") + " " + (scratch / "model.safetensors")).c_str()),
        0);
  }
  if (!found) GTEST_SKIP() << "no Python here";
}

}  // namespace
}  // namespace lepton::storage
