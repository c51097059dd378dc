// SPDX-License-Identifier: Apache-2.0
// The choice of a device from the deck, what the machine has, and the ranks on it: what is chosen, what is
// refused with which words.
#include "train/devices.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace lepton::train {
namespace {

DevicesHere devices(int count) {
  DevicesHere here;
  for (int i = 0; i < count; ++i) here.ids.push_back("GPU-" + std::to_string(i));
  return here;
}

const DevicesHere none = {{}, "this program was built without CUDA"}, two = devices(2), one = devices(1);
const std::string place = "deck.toml:7:10";

/// The choice of one of `ranks` ranks that all see the same.
DeviceChoice choose_of(const DeviceWish& wish, const DevicesHere& here, int rank, int ranks) {
  return choose(wish, std::vector<DevicesHere>(static_cast<size_t>(ranks), here), static_cast<size_t>(rank),
                place);
}

/// The refusal of a choice, which must be one.
std::string refusal(DeviceKind wanted, bool automatic, bool share, const DevicesHere& here, int ranks) {
  try {
    choose_of({wanted, automatic, share}, here, ranks - 1, ranks);
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
    const DeviceChoice choice = choose_of({DeviceKind::cpu, false, false}, here, 5, 9);
    EXPECT_EQ(choice.kind, DeviceKind::cpu);
    EXPECT_EQ(choice.note, "");
  }
}

TEST(Choose, AutomaticWithoutDevicesIsTheCpuAndSaysWhy) {
  const DeviceChoice choice = choose_of({DeviceKind::cuda, true, false}, none, 1, 3);
  EXPECT_EQ(choice.kind, DeviceKind::cpu);
  EXPECT_EQ(choice.index, 0);
  EXPECT_EQ(choice.note, none.absence);
}

TEST(Choose, AutomaticTakesADeviceThatIsThere) {
  const DeviceChoice choice = choose_of({DeviceKind::cuda, true, false}, two, 1, 2);
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
  EXPECT_NO_THROW(choose_of({DeviceKind::cuda, false, false}, two, 1, 2)) << "as many as there are";
}

TEST(Choose, RanksTakeTheDevicesInTurn) {
  for (int rank = 0; rank < 7; ++rank) {
    EXPECT_EQ(choose_of({DeviceKind::debug, false, true}, two, rank, 7).index, rank % 2);
    EXPECT_EQ(choose_of({DeviceKind::debug, false, false}, devices(7), rank, 7).index, rank);
  }
}

TEST(Choose, RanksBeyondTheDevicesComputeOnTheCpuWhereClassesMayMix) {
  for (const bool automatic : {false, true}) {
    const DeviceWish wish{DeviceKind::debug, automatic, false, true};
    for (int rank = 0; rank < 5; ++rank) {
      const DeviceChoice choice = choose_of(wish, two, rank, 5);
      EXPECT_EQ(choice.kind, rank < 2 ? DeviceKind::debug : DeviceKind::cpu) << rank;
      EXPECT_EQ(choice.index, rank < 2 ? rank : 0);
      EXPECT_EQ(choice.note.empty(), rank < 2);
    }
  }
  EXPECT_EQ(choose_of({DeviceKind::debug, false, true, true}, two, 3, 5).index, 1) << "sharing goes before";
  EXPECT_THROW(choose_of({DeviceKind::cuda, false, false, true}, none, 0, 1), Error) << "demanded";
}

// As under srun --gpus-per-task=1.
TEST(Choose, ADeviceThatTheLauncherLeftToARankIsItsOwn) {
  const std::vector<DevicesHere> bound = {{{"GPU-a"}, ""}, {{"GPU-b"}, ""}, {{"GPU-c"}, ""}};
  for (const bool share : {false, true})
    for (const bool mixed : {false, true})
      for (size_t rank = 0; rank < bound.size(); ++rank) {
        const DeviceChoice choice = choose({DeviceKind::cuda, false, share, mixed}, bound, rank, place);
        EXPECT_EQ(choice.kind, DeviceKind::cuda);
        EXPECT_EQ(choice.index, 0);
        EXPECT_FALSE(choice.shared);
      }
}

TEST(Choose, SharedIsWhatSeveralRanksHave) {
  const std::vector<DevicesHere> host = {two, two, two};
  const DeviceWish wish{DeviceKind::cuda, false, true};
  EXPECT_TRUE(choose(wish, host, 0, place).shared);
  EXPECT_FALSE(choose(wish, host, 1, place).shared);
  EXPECT_TRUE(choose(wish, host, 2, place).shared);
  const std::vector<DevicesHere> unlike = {one, {{"GPU-0", "GPU-9"}, ""}};
  EXPECT_EQ(choose(wish, unlike, 1, place).index, 1) << "which nobody has";
}

TEST(OpenDevice, NothingForTheCpu) {
  EXPECT_FALSE(open_device(Deck{}, {}, ops::Precision::fp32).has_value());
}

TEST(OpenDevice, TheDebugDeviceHasTheMemoryThatTheEnvironmentSays) {
  setenv("LEPTON_DEBUG_DEVICE_BYTES", "1000000", 1);
  const std::optional<ops::Engine> small = open_device(Deck{}, {DeviceKind::debug, 0}, ops::Precision::fp32);
  unsetenv("LEPTON_DEBUG_DEVICE_BYTES");
  ASSERT_TRUE(small.has_value());
  EXPECT_EQ(small->backend->properties().bytes_total, 1000000U);
  EXPECT_EQ(small->device().kind, DeviceKind::debug);
  const std::optional<ops::Engine> usual = open_device(Deck{}, {DeviceKind::debug, 3}, ops::Precision::fp32);
  ASSERT_TRUE(usual.has_value());
  EXPECT_EQ(usual->backend->properties().bytes_free, size_t{4} << 30);
}

TEST(OpenDevice, TheDebugDeviceMultipliesAsTheHostDoes) {
  for (const ops::Precision precision : {ops::Precision::fp32, ops::Precision::bf16})
    EXPECT_TRUE(open_device(Deck{}, {DeviceKind::debug, 0}, precision)
                    ->libraries.ends_with(ops::precision_name(precision)));
}

}  // namespace
}  // namespace lepton::train
