// SPDX-License-Identifier: Apache-2.0
// Shards to HDF5 images and back, through storage, which alone calls HDF5.
#include "checkpoint/shard.h"

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"
#include "storage/hdf5.h"

namespace lepton::checkpoint {

namespace {

const storage::StoredType float32 = {storage::StoredType::Kind::floating, 4, false};

void require_label(const storage::Hdf5ImageReader& reader, const std::string& path, const StateLayout& layout,
                   const ShardLabel& label) {
  const bool same = reader.int_attribute("step") == label.step &&
                    reader.int_attribute("shard") == label.shard &&
                    reader.int_attribute("begin") == layout.shard_begin(label.shard) &&
                    reader.int_attribute("end") == layout.shard_end(label.shard) &&
                    reader.text_attribute("identity") == hex64(label.identity);
  REQUIRE(same, Exit::data, path, "is a shard of another step, place or run than its manifest says",
          "Somebody has mixed files of several checkpoints; use another checkpoint.");
}

}  // namespace

storage::Hdf5Pieces build_shard(const StateLayout& layout, const ShardLabel& label,
                                std::span<const std::span<const float>> arrays) {
  CHECK(arrays.size() == layout.arrays.size(), "one span per array");
  const int64_t begin = layout.shard_begin(label.shard), end = layout.shard_end(label.shard);
  storage::Hdf5Image image;
  image.attribute("step", label.step);
  image.attribute("shard", label.shard);
  image.attribute("begin", begin);
  image.attribute("end", end);
  image.attribute("identity", hex64(label.identity));
  for (size_t a = 0; a < arrays.size(); ++a) {
    CHECK(static_cast<int64_t>(arrays[a].size()) == end - begin, layout.arrays[a]);
    image.add(layout.arrays[a], float32, {end - begin}, std::as_bytes(arrays[a]));
  }
  return image.pieces();
}

void read_shard(std::span<const std::byte> image, const std::string& path, const StateLayout& layout,
                const ShardLabel& label, const std::string& array, int64_t begin, int64_t end,
                std::span<float> out) {
  const int64_t first = layout.shard_begin(label.shard), last = layout.shard_end(label.shard);
  CHECK(first <= begin && begin <= end && end <= last && static_cast<int64_t>(out.size()) == end - begin,
        "range of " + array);
  // HDF5 refuses to open an image under the name of a file that exists.
  const storage::Hdf5ImageReader reader(image, path + " (image in memory)");
  require_label(reader, path, layout, label);
  const std::vector<storage::ArrayInfo> arrays = reader.arrays();
  const auto info = std::find_if(arrays.begin(), arrays.end(), [&](const storage::ArrayInfo& candidate) {
    return candidate.path == array || candidate.path == "/" + array;
  });
  REQUIRE(info != arrays.end() && info->type == float32 && info->shape == Shape{last - first}, Exit::data,
          path, "has no array '" + array + "' of " + std::to_string(last - first) + " float32 values",
          "Use another checkpoint.");
  if (begin == first && end == last) return reader.read(array, std::as_writable_bytes(out));
  std::vector<float> whole(static_cast<size_t>(last - first));
  reader.read(array, std::as_writable_bytes(std::span<float>(whole)));
  std::copy(whole.begin() + (begin - first), whole.begin() + (end - first), out.begin());
}

}  // namespace lepton::checkpoint
