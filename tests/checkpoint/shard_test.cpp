// SPDX-License-Identifier: Apache-2.0
// Shards: any range of any array comes back, the bytes depend on nothing but the content, and a shard of
// another step, place or run is noticed.
#include "checkpoint/shard.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace lepton::checkpoint {
namespace {

const StateLayout layout = {250, {"parameters", "adam.m"}, 100};
const ShardLabel label = {7, 1, 0xabcd};

std::vector<std::byte> sample() {
  std::vector<float> a(100), b(100);
  std::iota(a.begin(), a.end(), 100.0f);
  std::iota(b.begin(), b.end(), 1000.0f);
  const std::vector<std::span<const float>> arrays = {a, b};
  return build_shard(layout, label, arrays).joined();
}

TEST(Shard, ranges_come_back) {
  const std::vector<std::byte> image = sample();
  for (const auto& [begin, end] :
       std::vector<std::pair<int64_t, int64_t>>{{100, 200}, {100, 101}, {150, 177}, {199, 200}}) {
    std::vector<float> out(static_cast<size_t>(end - begin));
    read_shard(image, "x", layout, label, "parameters", begin, end, out);
    for (int64_t i = begin; i < end; ++i)
      EXPECT_EQ(out[static_cast<size_t>(i - begin)], static_cast<float>(i));
    read_shard(image, "x", layout, label, "adam.m", begin, end, out);
    EXPECT_EQ(out.front(), static_cast<float>(900 + begin));
  }
}

TEST(Shard, same_content_same_bytes) {
  EXPECT_EQ(sample(), sample());
}

TEST(Shard, another_shard_is_noticed) {
  const std::vector<std::byte> image = sample();
  std::vector<float> out(100);
  const auto refused = [&](const StateLayout& other_layout, const ShardLabel& other,
                           const std::string& array) {
    const int64_t begin = other_layout.shard_begin(other.shard), end = other_layout.shard_end(other.shard);
    try {
      read_shard(image, "the path", other_layout, other, array, begin, end,
                 std::span(out).first(size_t(end - begin)));
      return false;
    } catch (const Error& error) {
      return error.code() == Exit::data && error.where() == "the path";
    }
  };
  EXPECT_FALSE(refused(layout, label, "parameters"));
  EXPECT_TRUE(refused(layout, {8, 1, 0xabcd}, "parameters"));
  EXPECT_TRUE(refused(layout, {7, 0, 0xabcd}, "parameters"));
  EXPECT_TRUE(refused(layout, {7, 2, 0xabcd}, "parameters"));
  EXPECT_TRUE(refused(layout, {7, 1, 0xabce}, "parameters"));
  EXPECT_TRUE(refused(layout, label, "adam.v"));
  EXPECT_TRUE(refused({150, {"parameters", "adam.m"}, 100}, label, "parameters"));
}

}  // namespace
}  // namespace lepton::checkpoint
