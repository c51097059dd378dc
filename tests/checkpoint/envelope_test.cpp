// SPDX-License-Identifier: Apache-2.0
// The envelope of the small run state: comes back as it was; every truncation and flipped bit is found.
#include "checkpoint/envelope.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace lepton::checkpoint {
namespace {

bool opens(const std::string& sealed) {
  try {
    open_envelope(sealed, "state.bin");
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::data);
    EXPECT_EQ(error.where(), "state.bin");
    return false;
  }
}

TEST(Envelope, comes_back_as_it_was) {
  for (const std::string& content : {std::string(), std::string("x"), std::string(1000, '\0') + "end"})
    EXPECT_EQ(open_envelope(seal_envelope(content), "x"), content);
}

TEST(Envelope, every_truncation_and_flipped_bit_is_found) {
  const std::string sealed = seal_envelope("the small run state");
  ASSERT_TRUE(opens(sealed));
  for (size_t length = 0; length < sealed.size(); ++length) EXPECT_FALSE(opens(sealed.substr(0, length)));
  EXPECT_FALSE(opens(sealed + '\0'));
  for (size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
    std::string flipped = sealed;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(opens(flipped)) << bit;
  }
}

}  // namespace
}  // namespace lepton::checkpoint
