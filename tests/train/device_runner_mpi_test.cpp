// SPDX-License-Identifier: Apache-2.0
// The worker of a device against that of the CPU, on nodes that do the same units of the same round: sums,
// lanes and the new state are equal bit by bit, evaluations count alike, and what is not finite, overflows or
// has been flipped is found in the same place.
#include "train/device_runner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/failpoint.h"
#include "device_round.h"

namespace lepton::train {
namespace {

/// The same round twice.
struct Pair {
  Pair(const SmallRuns& runs, const std::string& deck, exact::RoundKind kind = exact::RoundKind::train,
       bool confusion = false, const std::vector<Override>& more = {})
      : cpu(runs, "cpu", deck, kind, confusion, more), device(runs, "debug", deck, kind, confusion, more) {}
  void both(const std::function<void(DrivenRound&)>& work) {
    work(cpu);
    work(device);
  }
  DrivenRound cpu, device;
};

std::vector<int64_t> words(const exact::Lanes& lanes) {
  return copied(lanes.values());
}

void expect_same_sums(Pair& pair, const std::string& what) {
  EXPECT_EQ(pair.device.sums(), pair.cpu.sums()) << what;
  EXPECT_EQ(pair.device.checksums(), pair.cpu.checksums()) << what;
  if (pair.cpu.round.world.nodes() == 1) return;
  exact::Accumulator& host = pair.device.node().accumulator();  // what the leaders are about to reduce
  EXPECT_EQ(copied(host.elements()), pair.cpu.sums()) << what;
  EXPECT_EQ(copied(host.checksums()), pair.cpu.checksums()) << what;
}

TEST(DeviceRunner, OnePassGivesTheSumsLanesAndStateOfTheCpu) {
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "conv.toml", "graph.toml", "wide.toml"}) {
    Pair pair(runs, deck);
    pair.both([](DrivenRound& round) { round.run_units(); });
    expect_same_sums(pair, deck);
    pair.both([](DrivenRound& round) { round.verify_and_update(); });
    exact::Lanes lanes = pair.device.lanes();
    EXPECT_EQ(words(lanes), words(pair.cpu.lanes())) << deck;
    EXPECT_EQ(lanes.units(), std::ssize(pair.device.round.mine));
    EXPECT_EQ(lanes.checksum_failures(), 0);
    expect_same_state(pair.device, pair.cpu, deck);
    expect_cleared(pair.device, deck);
    if (pair.device.slice() > 0) {
      EXPECT_NE(pair.device.parameters(1), pair.device.parameters(0)) << deck;
    }
  }
}

TEST(DeviceRunner, TwoPassesGiveTheNormAndTheStateOfTheCpu) {
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "conv.toml", "graph.toml", "regression.toml"}) {
    std::vector<Override> more = {{"optimizer.clip_norm", "0.1"}};
    if (deck == std::string("regression.toml")) more.insert(more.end(), as_round.begin(), as_round.end());
    Pair pair(runs, deck, exact::RoundKind::train, false, more);
    pair.both([](DrivenRound& round) { round.run_units(); });
    expect_same_sums(pair, deck);
    pair.both([](DrivenRound& round) { round.verify(); });
    exact::Lanes lanes = pair.device.lanes();
    EXPECT_EQ(words(lanes), words(pair.cpu.lanes())) << deck;
    const bool something = pair.device.slice() > 0 && !pair.device.round.mine.empty();
    EXPECT_EQ(lanes.exact(static_cast<int>(Exact::norm)).value() > 0, something) << deck;
    pair.both([](DrivenRound& round) { round.update(Outcome::accept); });
    expect_same_state(pair.device, pair.cpu, deck);
    expect_cleared(pair.device, deck);
  }
}

TEST(DeviceRunner, AnAttemptThatIsNotAcceptedOnlyClears) {
  const SmallRuns runs;
  for (const Outcome outcome : {Outcome::redo, Outcome::repair, Outcome::skip, Outcome::non_finite}) {
    Pair pair(runs, "dense.toml", exact::RoundKind::train, false, {{"optimizer.clip_norm", "0.1"}});
    pair.both([&](DrivenRound& round) {
      round.run_units();
      round.verify();
      round.update(outcome);
    });
    expect_same_state(pair.device, pair.cpu, std::to_string(static_cast<int>(outcome)));
    expect_cleared(pair.device, std::to_string(static_cast<int>(outcome)));
    const std::vector<float> written = pair.device.parameters(1);
    EXPECT_EQ(written, std::vector<float>(written.size(), 0)) << static_cast<int>(outcome);
  }
}

/// As the conductor does it: the new slot becomes the state, and its parameters come from all nodes.
void accept(DrivenRound& round) {
  NodeState& node = round.node();
  const auto begin = static_cast<size_t>(node.slice_begin()), end = static_cast<size_t>(node.slice_end());
  const int to = 1 - round.header().slot;
  if (round.round.world.nodes() > 1)  // instead of other nodes' parameters
    for (size_t i = 0; i < node.parameters(to).size(); ++i)
      if (i < begin || i >= end) node.parameters(to)[i] = 0.25f * std::sin(static_cast<float>(i));
  round.header().slot = to;
  ++round.header().id.round;
  hash_state(round.node(), round.layout(), round.header().slot);  // nothing is gathered here
}

TEST(DeviceRunner, TheNextStepReadsWhatTheLastOneGave) {
  const SmallRuns runs;
  Pair pair(runs, "conv.toml");
  for (int step = 0; step < 3; ++step) {
    const std::string what = "step " + std::to_string(step);
    pair.both([](DrivenRound& round) {
      round.run_units();
      round.verify_and_update();
    });
    EXPECT_EQ(words(pair.device.lanes()), words(pair.cpu.lanes())) << what;
    expect_same_state(pair.device, pair.cpu, what);
    pair.both(accept);
  }
}

TEST(DeviceRunner, AnotherAttemptReadsTheSameParameters) {
  const SmallRuns runs;
  DrivenRound round(runs, "debug", "dense.toml");
  round.run_units();
  const std::vector<int64_t> sums = round.sums();
  round.verify_and_update();
  const std::vector<float> first = round.parameters(1);
  ++round.header().id.round;
  round.run_units();
  EXPECT_EQ(round.sums(), sums);
  round.verify_and_update();
  EXPECT_EQ(round.parameters(1), first);
}

TEST(DeviceRunner, EvaluationCountsAsTheCpuDoes) {
  const SmallRuns runs;
  for (const bool confusion : {false, true}) {
    Pair pair(runs, "conv.toml", exact::RoundKind::test, confusion);
    pair.both([](DrivenRound& round) { round.run_units(); });
    exact::Lanes lanes = pair.device.lanes();
    EXPECT_EQ(words(lanes), words(pair.cpu.lanes())) << confusion;
    ASSERT_EQ(lanes.tallies().size(), confusion ? 16u : 0u);
    int64_t confused = 0;
    for (const int64_t count : lanes.tallies()) confused += count;
    EXPECT_EQ(confused, confusion ? lanes.count(static_cast<int>(Count::samples)) : 0);
    expect_cleared(pair.device, "evaluation adds no gradient");
    pair.both([](DrivenRound& round) {  // the same once more: nothing is left of the first time
      ++round.header().id.round;
      round.run_units();
    });
    EXPECT_EQ(words(pair.device.lanes()), words(pair.cpu.lanes())) << confusion << ", again";
  }
}

void expect_same_blame(Pair& pair, const std::string& name) {
  pair.both([](DrivenRound& round) {
    round.run_units();
    round.verify_and_update();
  });
  exact::Lanes device = pair.device.lanes(), cpu = pair.cpu.lanes();
  ASSERT_EQ(device.non_finite(), !pair.device.round.mine.empty());
  ASSERT_EQ(device.non_finite(), cpu.non_finite());
  EXPECT_EQ(device.units(), cpu.units()) << "counted all the same";
  if (!device.non_finite()) return;
  EXPECT_EQ(device.first_non_finite_unit(), pair.device.round.mine.front());
  EXPECT_EQ(device.first_non_finite_unit(), cpu.first_non_finite_unit());
  EXPECT_EQ(device.first_non_finite_place(), cpu.first_non_finite_place());
  const model::Graph& graph = pair.device.round.job.graph;
  const auto place = static_cast<size_t>(device.first_non_finite_place()), nodes = graph.nodes.size();
  EXPECT_EQ(place < nodes ? graph.nodes[place].name : graph.layout.tensors()[place - nodes].name, name);
}

TEST(DeviceRunner, ALossThatIsNotFiniteBlamesUnitAndLayer) {
  const SmallRuns runs;
  Pair pair(runs, "dense.toml");
  pair.both([](DrivenRound& round) {
    const ArenaTensor& weight = round.layout().tensors()[2];  // of the second dense layer
    round.node().parameters(0)[static_cast<size_t>(weight.offset)] = INFINITY;
  });
  expect_same_blame(pair, "dense_2");
}

// The last layer so large that scores and their squares are finite, and the product that goes backward is
// not.
TEST(DeviceRunner, AGradientThatIsNotFiniteBlamesUnitAndTensor) {
  const SmallRuns runs;
  Pair pair(runs, "regression.toml", exact::RoundKind::train, false, as_round);
  pair.both([](DrivenRound& round) {
    const ArenaTensor& weight = round.layout().tensors()[2];
    std::fill_n(round.node().parameters(0).begin() + weight.offset, weight.count, 1e25f);
  });
  expect_same_blame(pair, "dense_1.weight");
}

TEST(DeviceRunner, AnEvaluationThatIsNotFiniteBlamesTheLayer) {
  const SmallRuns runs;
  Pair pair(runs, "dense.toml", exact::RoundKind::test);
  pair.both([](DrivenRound& round) {
    const ArenaTensor& weight = round.layout().tensors()[2];
    round.node().parameters(0)[static_cast<size_t>(weight.offset)] = NAN;
    round.run_units();
  });
  const exact::Lanes lanes = pair.device.lanes();
  EXPECT_EQ(words(lanes), words(pair.cpu.lanes()));
  EXPECT_EQ(lanes.non_finite(), !pair.device.round.mine.empty());
}

TEST(DeviceRunner, ValuesBeyondTheScaleAreFlaggedWithTheirMagnitudes) {
  const SmallRuns runs;
  for (const int scale : {90, round_scale}) {
    Pair pair(runs, "dense.toml");
    pair.both([scale](DrivenRound& round) {
      std::fill(round.node().scales().begin(), round.node().scales().end(), scale);
      std::fill(round.node().overflow_bits().begin(), round.node().overflow_bits().end(),
                ops::power_of_two_bits(51 - scale));
      round.run_units();
      round.verify_and_update();
    });
    exact::Lanes device = pair.device.lanes(), cpu = pair.cpu.lanes();
    EXPECT_EQ(device.overflow(), scale == 90 && !pair.device.round.mine.empty());
    EXPECT_EQ(device.overflow(), cpu.overflow());
    EXPECT_EQ(device.checksum_failures(), 0) << "added modulo 2^64 in element and checksum alike";
    for (int t = 0; t < std::ssize(pair.cpu.layout().tensors()); ++t)
      EXPECT_EQ(device.magnitude_bits(t), cpu.magnitude_bits(t)) << t;
  }
}

TEST(DeviceRunner, AFlippedBitIsFoundBeforeTheUpdate) {
  const SmallRuns runs;
  for (const bool two_passes : {false, true}) {
    DrivenRound round(runs, "debug", "dense.toml");
    arm_failpoints("point=accumulate,action=flip");
    round.run_units();
    arm_failpoints("");
    if (two_passes)
      round.verify();
    else
      round.verify_and_update();
    EXPECT_EQ(round.lanes().checksum_failures(),
              round.node().slice_begin() == 0 && round.slice() > 0 ? 1 : 0);
  }
}

// What leaders reduce lies on the host: a bit that flips there is found behind the copy back.
TEST(DeviceRunner, ABitThatFlipsBetweenNodesIsFound) {
  const SmallRuns runs;
  DrivenRound round(runs, "debug", "dense.toml");
  if (round.round.world.nodes() == 1) GTEST_SKIP() << "needs two nodes";
  round.run_units();
  if (round.slice() > 0)
    round.node().accumulator().elements()[static_cast<size_t>(round.node().slice_begin())] ^= 8;
  round.verify_and_update();
  EXPECT_EQ(round.lanes().checksum_failures(), round.slice() > 0 ? 1 : 0);
}

TEST(DeviceRunner, AFlipInAnEvaluationTouchesNoSums) {
  const SmallRuns runs;
  DrivenRound round(runs, "debug", "dense.toml", exact::RoundKind::test);
  arm_failpoints("point=accumulate,action=flip");
  round.run_units();
  arm_failpoints("");
  expect_cleared(round, "an evaluation accumulates nothing");
}

TEST(DeviceRunner, CopiesTheSliceOfTheStateForACheckpoint) {
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "conv.toml"}) {
    DrivenRound round(runs, "debug", deck);
    round.run_units();
    round.verify_and_update();
    std::array<std::vector<float>, 3> memory;
    StateCopy to;
    for (size_t array = 0; array < memory.size(); ++array) {
      memory[array].resize(static_cast<size_t>(round.slice()));
      to[array] = memory[array];
    }
    for (const int slot : {0, 1}) {
      round.header().slot = slot;
      round.worker->copy_state(to);
      EXPECT_EQ(memory[0], round.parameters(slot)) << deck << ", slot " << slot;
      for (int m = 0; m < round.node().moments(); ++m)
        EXPECT_EQ(memory[1 + static_cast<size_t>(m)], round.moment(slot, m)) << deck << ", slot " << slot;
    }
  }
}

}  // namespace
}  // namespace lepton::train
