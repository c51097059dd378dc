// SPDX-License-Identifier: Apache-2.0
// What parity gives back: single flips everywhere, cut ends, bursts and holes up to what the code promises;
// nothing where it is too much; damage of the parity file itself; and no trust in what a head declares.
#include "storage/parity.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/hash.h"
#include "base/philox.h"

namespace lepton::storage {
namespace {

constexpr size_t KiB = 1024, block = 64 * KiB;

std::string sample(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(mix64(i / 8) >> (8 * (i % 8)));
  return text;
}

std::vector<std::byte> parity_of(const std::string& file, int parity) {
  return encode_parity(std::as_bytes(std::span(file)), parity);
}

void expect_restored(const std::string& damaged, std::span<const std::byte> parity, const std::string& file,
                     int64_t blocks) {
  const std::optional<Restored> restored = restore(damaged, parity);
  ASSERT_TRUE(restored);
  EXPECT_TRUE(restored->bytes == file);
  EXPECT_EQ(restored->blocks, blocks);
}

void damage(std::string& file, size_t at) {
  file[at] = static_cast<char>(file[at] ^ (1 << at % 8));
}

TEST(Parity, files_of_every_size_lose_as_many_blocks_as_there_is_parity) {
  for (const size_t size : {size_t{1}, size_t{1000}, 16 * KiB, 16 * KiB + 1, 64 * KiB + 1, 200 * KiB,
                            1024 * KiB - 1, 1024 * KiB, 1024 * KiB + 1, 33 * block + 100, 100 * block})
    for (const int parity : {1, 2, parity_blocks_max}) {
      const std::string file = sample(size);
      const std::vector<std::byte> beside = parity_of(file, parity);
      expect_restored(file, beside, file, 0);
      const size_t block_bytes = parity_block_bytes(size), blocks = (size + block_bytes - 1) / block_bytes,
                   stripes = (blocks + parity_stripe - 1) / parity_stripe;
      EXPECT_LE(beside.size(), stripes * static_cast<size_t>(parity) * block_bytes + 8 * (stripes * 24) + 80);
      EXPECT_LE(block_bytes, blocks == 1 ? size : size / (16 * stripes) + 512);
      const size_t burst = std::min(blocks, stripes * static_cast<size_t>(parity));
      for (const size_t first : {size_t{0}, (blocks - burst) / 2, blocks - burst}) {
        std::string damaged = file;
        for (size_t b = first; b < first + burst; ++b)
          damage(damaged, std::min(size - 1, b * block_bytes + mix64(b) % block_bytes));
        SCOPED_TRACE(std::to_string(size) + " bytes, parity " + std::to_string(parity));
        expect_restored(damaged, beside, file, static_cast<int64_t>(burst));
      }
      const size_t kept = (blocks - burst) * block_bytes;
      expect_restored(file.substr(0, kept), beside, file, static_cast<int64_t>(burst));
      expect_restored(file + "more", beside, file, 0);
      if (burst == blocks) continue;
      EXPECT_FALSE(restore(file.substr(0, kept - 1), beside)) << size << " " << parity;
      EXPECT_FALSE(restore("", beside));
    }
}

TEST(Parity, a_damaged_parity_file_gives_what_is_left_of_it) {
  const std::string file = sample(32 * block);  // 2 stripes
  const std::vector<std::byte> whole = parity_of(file, 2);
  std::string damaged = file;
  damage(damaged, 3 * block);
  for (size_t at = 0; at < whole.size(); at += at < 400 || at + 400 > whole.size() ? 1 : 1009) {
    std::vector<std::byte> beside = whole;
    beside[at] ^= std::byte{0x10};
    expect_restored(damaged, beside, file, 1);
  }
  for (size_t size = whole.size() - 1; size > whole.size() - 2 * block + 1; size -= 997)
    expect_restored(damaged, std::span(whole).first(size), file, 1);
  EXPECT_FALSE(restore(damaged, std::span(whole).first(100)));
  EXPECT_FALSE(restore(damaged, {}));
  EXPECT_FALSE(restore(damaged, std::as_bytes(std::span(file))));
}

TEST(Parity, heads_that_lie_are_refused) {
  const std::string file = sample(1000);
  const std::vector<std::byte> whole = parity_of(file, 1);
  for (const size_t field : {8, 16})  // parity blocks, bytes of the file
    for (const uint64_t value : {uint64_t{0}, uint64_t{9}, uint64_t{1} << 40, ~uint64_t{0}}) {
      std::vector<std::byte> beside = whole;
      for (const size_t at : {field, beside.size() - 40 + field})
        std::memcpy(&beside[at], &value, sizeof value);
      EXPECT_FALSE(restore(file, beside)) << field << " " << value;
    }
}

TEST(Parity, of_another_file_gives_that_file_or_nothing) {
  const std::string one = sample(1000), other = sample(2000).substr(1000);
  const std::optional<Restored> restored = restore(one, parity_of(other, 1));
  ASSERT_TRUE(restored);  // one block: the parity is the file
  EXPECT_TRUE(restored->bytes == other);
  EXPECT_FALSE(restore(sample(20 * block), parity_of(sample(21 * block).substr(block), 2)));
}

TEST(Parity, of_pieces_is_that_of_the_whole) {
  for (const size_t size : {size_t{900}, 40 * KiB, 33 * block + 100}) {
    const std::string file = sample(size);
    const std::span<const std::byte> bytes = std::as_bytes(std::span(file));
    std::vector<std::span<const std::byte>> pieces;
    for (size_t at = 0, length = 1; at < size; at += length, length = 1 + mix64(at) % (2 * block))
      pieces.push_back(bytes.subspan(at, std::min(length, size - at)));
    EXPECT_EQ(encode_parity(pieces, hash64(file), 2), parity_of(file, 2)) << pieces.size();
  }
}

TEST(Parity, is_a_function_of_the_bytes) {
  const std::string file = sample(20 * block + 5);
  EXPECT_EQ(parity_of(file, 2), parity_of(file, 2));
  EXPECT_EQ(hex64(hash64(parity_of(file, 2))), "aab820283fcfccbe");
}

}  // namespace
}  // namespace lepton::storage
