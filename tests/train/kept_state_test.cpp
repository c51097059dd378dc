// SPDX-License-Identifier: Apache-2.0
// The head of a state's file: at any instant a record of a whole slot counts; what is not whole is refused.
#include "train/kept_state.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace lepton::train {
namespace {

/// Memory for a head, and its view.
struct File {
  File() : bytes(KeptState::head_bytes(200) / 8 + 512), kept(std::as_writable_bytes(std::span(bytes)), 200) {}
  void begin() { kept.begin({3, 1, 2, 1, 1000, 400, 1000}, {"cpu", {{"run.seed", "7"}}, "data"}); }
  /// Steps of the records that count.
  std::vector<int64_t> steps() const {
    std::vector<int64_t> found;
    for (int which = 0; which < 2; ++which)
      if (const auto record = kept.record(which)) found.push_back(record->step);
    std::sort(found.begin(), found.end());
    return found;
  }
  std::vector<uint64_t> bytes;
  KeptState kept;
};

using Steps = std::vector<int64_t>;

TEST(KeptState, SaysWhatItIs) {
  File file;
  EXPECT_FALSE(file.kept.label()) << "zeroed memory";
  file.begin();
  const auto label = file.kept.label();
  ASSERT_TRUE(label);
  EXPECT_EQ(label->generation, 3);
  EXPECT_EQ(label->node, 1);
  EXPECT_EQ(label->slice_begin, 400);
  EXPECT_EQ(file.kept.identity().mathematical.at("run.seed"), "7");
  EXPECT_EQ(file.kept.state_begin(), KeptState::head_bytes(200));
  EXPECT_TRUE(file.steps().empty());
}

TEST(KeptState, AtAnyInstantTheLastStepCounts) {
  File file;
  file.begin();
  for (int64_t step = 1; step <= 9; ++step) {
    const int to = static_cast<int>(step % 2);
    file.kept.overwrite(to);
    EXPECT_EQ(file.steps(), step == 1 ? Steps{} : Steps{step - 1}) << "while the slot is written";
    ASSERT_TRUE(file.kept.commit(step, to, "small state of " + std::to_string(step)));
    EXPECT_EQ(file.steps(), step == 1 ? Steps{1} : (Steps{step - 1, step})) << "until all nodes have it";
  }
  for (int which = 0; which < 2; ++which) {
    const auto record = file.kept.record(which);
    ASSERT_TRUE(record);
    EXPECT_EQ(record->slot, record->step % 2);
    EXPECT_EQ(record->small_state, "small state of " + std::to_string(record->step));
  }
}

TEST(KeptState, AStepThatChangesNothingKeepsItsSlot) {
  File file;
  file.begin();
  file.kept.commit(1, 0, "one");
  file.kept.overwrite(1);
  file.kept.commit(2, 0, "two, skipped");
  EXPECT_EQ(file.steps(), (Steps{1, 2}));
  file.kept.overwrite(1);
  file.kept.commit(3, 1, "three");
  EXPECT_EQ(file.steps(), (Steps{2, 3}));
  file.kept.overwrite(0);
  EXPECT_EQ(file.steps(), Steps{3});
}

TEST(KeptState, WhatIsTooLargeIsNotKept) {
  File file;
  file.begin();
  EXPECT_TRUE(file.kept.commit(1, 0, std::string(200, 'x')));
  EXPECT_FALSE(file.kept.commit(2, 1, std::string(201, 'x')));
  EXPECT_EQ(file.steps(), Steps{1});
}

/// Any bit of head, identity and small states.
TEST(KeptState, AFlippedBitIsNoticed) {
  File file;
  file.begin();
  file.kept.commit(1, 0, std::string(200, 'x'));
  file.kept.overwrite(1);
  file.kept.commit(2, 1, std::string(200, 'y'));
  const std::vector<uint64_t> whole = file.bytes;
  for (size_t word = 0; word < whole.size(); ++word) {
    file.bytes[word] ^= uint64_t{1} << (word * 7 % 64);
    const auto label = file.kept.label();
    if (label)
      for (int which = 0; which < 2; ++which)
        if (const auto record = file.kept.record(which)) {
          EXPECT_TRUE(record->step == 1 || record->step == 2) << word;
          EXPECT_EQ(record->small_state, std::string(200, record->step == 1 ? 'x' : 'y')) << word;
          EXPECT_EQ(record->slot, record->step - 1) << word;
        }
    file.bytes[word] = whole[word];
  }
  const KeptState half(std::as_writable_bytes(std::span(file.bytes)).first(5000));
  EXPECT_FALSE(half.label());
}

}  // namespace
}  // namespace lepton::train
