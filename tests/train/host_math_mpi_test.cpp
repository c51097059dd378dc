// SPDX-License-Identifier: Apache-2.0
// The type of products and the instruction set, agreed on by all ranks; what is refused, in which words.
// (Runs in bf16 are in tests/e2e: a process has one cap, and tests of this one share float32's.)
#include "train/host_math.h"

#include <gtest/gtest.h>

#include "small_runs.h"
#include "train/job.h"

namespace lepton::train {
namespace {

Deck deck_in(ops::Precision precision) {
  Deck deck;
  deck.path = "a.toml";
  deck.precision = precision;
  return deck;
}

/// The refusal of a required precision, which must be one of all ranks.
Error refusal(const comm::World& world, const Deck& deck, DeviceKind device) {
  try {
    prepare_host_math(world, deck, device, true);
  } catch (const Error& error) {
    EXPECT_TRUE(error.agreed());
    EXPECT_EQ(error.code(), Exit::deck) << error.what();
    EXPECT_EQ(error.where(), "a.toml: model.precision");
    return error;
  }
  ADD_FAILURE() << "nothing thrown";
  return Error(Exit::done, "", "", "");
}

TEST(HostMath, Fp32IsEverywhere) {
  const SmallRuns runs;
  for (const DeviceKind device : {DeviceKind::cpu, DeviceKind::debug, DeviceKind::cuda})
    for (const bool required : {false, true}) {
      const HostMath math = prepare_host_math(runs.world(), deck_in(ops::Precision::fp32), device, required);
      EXPECT_EQ(math.precision, ops::Precision::fp32);
      EXPECT_EQ(math.instruction_set, ops::cap_instruction_set("auto"));
      EXPECT_EQ(math.refusal, "");
    }
}

TEST(HostMath, Tf32IsCudasAlone) {
  const SmallRuns runs;
  const Deck deck = deck_in(ops::Precision::tf32);
  for (const DeviceKind device : {DeviceKind::cpu, DeviceKind::debug}) {
    const Error error = refusal(runs.world(), deck, device);
    EXPECT_NE(error.problem().find("not in tf32"), std::string::npos) << error.what();
    EXPECT_NE(error.hint().find("train.device = \"cuda\""), std::string::npos) << error.what();
    EXPECT_NE(error.hint().find("model.precision = \"fp32\""), std::string::npos) << error.what();
    EXPECT_EQ(error.hint().find("CPUs"), std::string::npos) << error.what();
  }
  const HostMath math = prepare_host_math(runs.world(), deck, DeviceKind::cuda, true);
  EXPECT_EQ(math.precision, ops::Precision::fp32) << "of the host, which multiplies nothing";
  EXPECT_EQ(math.refusal, "");
}

TEST(HostMath, WhereItIsNotRequiredFp32StandsInAndTheReasonIsTold) {
  const SmallRuns runs;
  const HostMath math =
      prepare_host_math(runs.world(), deck_in(ops::Precision::tf32), DeviceKind::cpu, false);
  EXPECT_EQ(math.precision, ops::Precision::fp32);
  EXPECT_NE(math.refusal.find("tf32"), std::string::npos) << math.refusal;
}

TEST(HostMath, Bf16UnderACapWithoutItIsRefused) {
  const SmallRuns runs;
  Deck deck = deck_in(ops::Precision::bf16);
  deck.run.isa = "avx2";
  for (const DeviceKind device : {DeviceKind::cpu, DeviceKind::debug}) {
    const Error error = refusal(runs.world(), deck, device);
    EXPECT_NE(error.problem().find("multiply in bf16"), std::string::npos) << error.what();
    EXPECT_NE(error.hint().find("AVX512_BF16 or AMX (run.isa = \"auto\")"), std::string::npos)
        << error.what();
  }
}

TEST(HostMath, OneRankThatLacksItIsEnough) {
  const SmallRuns runs;
  Deck deck = deck_in(ops::Precision::bf16);
  if (runs.world().rank() + 1 == runs.world().size()) deck.run.isa = "avx2";
  refusal(runs.world(), deck, DeviceKind::cpu);
}

// Training is refused; a model of another precision may be evaluated.
TEST(HostMath, OfAJobIsRequiredForTrainingOnly) {
  const SmallRuns runs;
  const Deck deck =
      load_deck(runs.world(), runs.options("dense.toml", "run", {{"model.precision", "\"tf32\""}}));
  const Job evaluating(runs.world(), deck, nullptr, false, false);
  EXPECT_EQ(evaluating.host.precision, ops::Precision::fp32);
  try {
    const Job training(runs.world(), deck, nullptr, true, false);
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck) << error.what();
    EXPECT_NE(error.where().find("model.precision"), std::string::npos) << error.where();
  }
}

}  // namespace
}  // namespace lepton::train
