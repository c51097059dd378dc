// SPDX-License-Identifier: Apache-2.0
// The choice of a device from the deck, what the machine has, and the ranks on it: what is chosen, what is
// refused with which words.
#include "train/devices.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace lepton::train {
namespace {

const DevicesHere none = {0, "this program was built without CUDA"}, two = {2, ""}, one = {1, ""};
const std::string place = "deck.toml:7:10";

/// The refusal of a choice, which must be one.
std::string refusal(DeviceKind wanted, bool automatic, bool share, const DevicesHere& here, int ranks) {
  try {
    choose({wanted, automatic, share}, here, 0, ranks, place);
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), 69) << error.what();
    EXPECT_EQ(error.where(), place);
    return error.what();
  }
  return "";
}

TEST(Choose, TheCpuWhateverThereIs) {
  for (const DevicesHere& here : {none, one, two}) {
    const DeviceChoice choice = choose({DeviceKind::cpu, false, false}, here, 5, 9, place);
    EXPECT_EQ(choice.kind, DeviceKind::cpu);
    EXPECT_EQ(choice.note, "");
  }
}

TEST(Choose, AutomaticWithoutDevicesIsTheCpuAndSaysWhy) {
  const DeviceChoice choice = choose({DeviceKind::cuda, true, false}, none, 1, 3, place);
  EXPECT_EQ(choice.kind, DeviceKind::cpu);
  EXPECT_EQ(choice.index, 0);
  EXPECT_EQ(choice.note, none.absence);
}

TEST(Choose, AutomaticTakesADeviceThatIsThere) {
  const DeviceChoice choice = choose({DeviceKind::cuda, true, false}, two, 1, 2, place);
  EXPECT_EQ(choice.kind, DeviceKind::cuda);
  EXPECT_EQ(choice.index, 1);
  EXPECT_EQ(choice.note, "");
}

TEST(Choose, WhatIsDemandedAndAbsentIsRefusedWithPlaceAndReason) {
  for (const DeviceKind kind : {DeviceKind::cuda, DeviceKind::debug})
    for (const bool share : {false, true}) {
      const std::string message = refusal(kind, false, share, none, 1);
      EXPECT_NE(message.find(none.absence), std::string::npos) << message;
      EXPECT_NE(message.find("train.device"), std::string::npos) << message;
    }
}

TEST(Choose, MoreRanksThanDevicesAreRefusedWithBothNumbersUnlessTheyShare) {
  for (const bool automatic : {false, true}) {
    const std::string several = refusal(DeviceKind::cuda, automatic, false, two, 3);
    EXPECT_NE(several.find("2 devices for 3 ranks"), std::string::npos) << several;
    EXPECT_NE(several.find("train.share_devices"), std::string::npos) << several;
    const std::string single = refusal(DeviceKind::debug, automatic, false, one, 2);
    EXPECT_NE(single.find("1 device for 2 ranks"), std::string::npos) << single;
  }
  EXPECT_NO_THROW(choose({DeviceKind::cuda, false, false}, two, 1, 2, place)) << "as many as there are";
}

TEST(Choose, RanksTakeTheDevicesInTurn) {
  for (int rank = 0; rank < 7; ++rank) {
    EXPECT_EQ(choose({DeviceKind::debug, false, true}, two, rank, 7, place).index, rank % 2);
    EXPECT_EQ(choose({DeviceKind::debug, false, false}, {7, ""}, rank, 7, place).index, rank);
  }
}

TEST(Choose, RanksBeyondTheDevicesComputeOnTheCpuWhereClassesMayMix) {
  for (const bool automatic : {false, true}) {
    const DeviceWish wish{DeviceKind::debug, automatic, false, true};
    for (int rank = 0; rank < 5; ++rank) {
      const DeviceChoice choice = choose(wish, two, rank, 5, place);
      EXPECT_EQ(choice.kind, rank < 2 ? DeviceKind::debug : DeviceKind::cpu) << rank;
      EXPECT_EQ(choice.index, rank < 2 ? rank : 0);
      EXPECT_EQ(choice.note.empty(), rank < 2);
    }
  }
  EXPECT_EQ(choose({DeviceKind::debug, false, true, true}, two, 3, 5, place).index, 1)
      << "sharing goes before";
  EXPECT_THROW(choose({DeviceKind::cuda, false, false, true}, none, 0, 1, place), Error) << "demanded";
}

TEST(OpenDevice, NothingForTheCpu) {
  EXPECT_FALSE(open_device(Deck{}, {}).has_value());
}

TEST(OpenDevice, TheDebugDeviceHasTheMemoryThatTheEnvironmentSays) {
  setenv("LEPTON_DEBUG_DEVICE_BYTES", "1000000", 1);
  const std::optional<ops::Engine> small = open_device(Deck{}, {DeviceKind::debug, 0, ""});
  unsetenv("LEPTON_DEBUG_DEVICE_BYTES");
  ASSERT_TRUE(small.has_value());
  EXPECT_EQ(small->backend->properties().bytes_total, 1000000U);
  EXPECT_EQ(small->device().kind, DeviceKind::debug);
  const std::optional<ops::Engine> usual = open_device(Deck{}, {DeviceKind::debug, 3, ""});
  ASSERT_TRUE(usual.has_value());
  EXPECT_EQ(usual->backend->properties().bytes_free, size_t{4} << 30);
}

TEST(OpenDevice, PrecisionsOfTensorCoresNeedAGpu) {
  Deck deck;
  deck.path = "a.toml";
  for (const ops::Precision precision : {ops::Precision::tf32, ops::Precision::bf16})
    for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::debug}) {
      deck.precision = precision;
      try {
        open_device(deck, {kind, 0, ""});
        FAIL() << "nothing is thrown";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::deck);
        EXPECT_NE(error.problem().find(ops::precision_name(precision)), std::string::npos) << error.what();
      }
    }
}

}  // namespace
}  // namespace lepton::train
