// SPDX-License-Identifier: Apache-2.0
// Packing: round trips, and every damaged envelope refused before the archive is opened.
#include "comm/pack.h"

#include <gtest/gtest.h>

namespace lepton::comm {
namespace {

using Table = std::vector<std::pair<std::string, int64_t>>;

TEST(Pack, RoundTrip) {
  const Table table = {{"a", 1}, {std::string("\0b", 2), -2}, {"", INT64_MAX}};
  EXPECT_EQ(unpack<Table>(pack(table), "test"), table);
  EXPECT_EQ(unpack<Table>(pack(Table{}), "test"), Table{});
}

void expect_refused(const std::string& bytes) {
  try {
    unpack<Table>(bytes, "the table");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_EQ(error.where(), "the table");
  }
}

TEST(Pack, EveryFlippedBitIsRefused) {
  const std::string good = pack(Table{{"name", 1}, {"other", 2}});
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    expect_refused(bad);
  }
}

TEST(Pack, EveryTruncationAndExtensionIsRefused) {
  const std::string good = pack(Table{{"name", 1}});
  for (size_t length = 0; length < good.size(); ++length) expect_refused(good.substr(0, length));
  expect_refused(good + "x");
}

TEST(Pack, ShorterArchiveThanExpectedIsRefused) {
  expect_refused(seal(""));
}

}  // namespace
}  // namespace lepton::comm
