// SPDX-License-Identifier: Apache-2.0
// Philox against the published known answers (Random123 1.14, kat_vectors), and the derivation of keys.
#include "base/philox.h"

#include <gtest/gtest.h>

#include <set>

namespace lepton {
namespace {

TEST(Philox, GivesRandom123KnownAnswers) {
  EXPECT_EQ(philox4x32(0, {0, 0, 0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32(~uint64_t{0}, {ones, ones, ones, ones}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, Mix64IsSplitmix64) {
  // The first outputs of splitmix64 seeded with 1234567 (Vigna's reference program).
  EXPECT_EQ(mix64(1234567), 6457827717110365317u);
  EXPECT_EQ(mix64(1234567 + 0x9E3779B97F4A7C15u), 3203168211198807973u);
}

TEST(Philox, StreamsOfDifferentPurposeSeedOrLayerDiffer) {
  std::set<uint64_t> keys;
  for (uint64_t seed = 0; seed < 10; ++seed)
    for (const Purpose purpose :
         {Purpose::initial_values, Purpose::dropout, Purpose::shuffle, Purpose::split})
      for (uint64_t layer = 0; layer < 10; ++layer) keys.insert(stream_key(seed, purpose, layer));
  EXPECT_EQ(keys.size(), 400u);
}

TEST(Philox, UniformIsInZeroToOneExclusive) {
  EXPECT_EQ(uniform01(0), 0.0f);
  EXPECT_EQ(uniform01(0xffffffff), 1.0f - 0x1p-24f);
  EXPECT_EQ(uniform01(0x80000000), 0.5f);
}

}  // namespace
}  // namespace lepton
