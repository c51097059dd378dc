// SPDX-License-Identifier: Apache-2.0
// Hashes against XXH3's published values, streaming against whole, and the hexadecimal text.
#include "base/hash.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace lepton {
namespace {

TEST(Hash, GivesXxh3KnownAnswers) {
  EXPECT_EQ(hash64(std::string_view("")), 0x2D06800538D394C2u);
  EXPECT_EQ(hash64(std::string_view("abc")), 0x78AF5F94892F3950u);
}

TEST(Hash, SeedAndBytesMatter) {
  EXPECT_NE(hash64(std::string_view("abc"), 1), hash64(std::string_view("abc"), 2));
  EXPECT_NE(hash64(std::string_view("abc")), hash64(std::string_view("abd")));
  const std::vector<float> values = {1, 2, 3};
  EXPECT_EQ(hash64_of(std::span<const float>(values)), hash64(std::as_bytes(std::span<const float>(values))));
}

TEST(Hash, AStreamEqualsItsConcatenation) {
  std::vector<std::byte> bytes(5000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 37 % 251);
  for (const size_t piece : {1u, 7u, 64u, 240u, 1024u, 5000u}) {
    StreamHash stream;
    for (size_t at = 0; at < bytes.size(); at += piece)
      stream.add(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    EXPECT_EQ(stream.value(), hash64(std::span<const std::byte>(bytes))) << piece;
  }
  EXPECT_EQ(StreamHash().value(), hash64(std::string_view("")));
}

TEST(Hash, HexGoesThereAndBack) {
  EXPECT_EQ(hex64(0), "0000000000000000");
  EXPECT_EQ(hex64(0x0123456789abcdef), "0123456789abcdef");
  EXPECT_EQ(parse_hex64("fedcba9876543210"), 0xfedcba9876543210u);
  for (const char* bad : {"", "123", "0123456789abcdeg", "0123456789abcdef0", "-123456789abcdef"})
    EXPECT_THROW(parse_hex64(bad), std::invalid_argument) << bad;
}

}  // namespace
}  // namespace lepton
