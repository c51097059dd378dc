// SPDX-License-Identifier: Apache-2.0
// What single units leave behind: counts of an evaluation, the flags that a bad one raises, the lanes' order.
// (That they add the right gradients: unit_runner_mpi_test.)
#include "train/unit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "round.h"

namespace lepton::train {
namespace {

TEST(Unit, EvaluationCountsAndAddsNoGradient) {
  const SmallRuns runs;
  Round round(runs, 1000, "dense.toml", exact::RoundKind::test, true);
  exact::Lanes lanes = round.run(1);
  if (!round.world.leads()) return;
  EXPECT_EQ(lanes.count(static_cast<int>(Count::samples)), round_samples);
  int64_t confused = 0, diagonal = 0;
  const std::span<const int64_t> counts = lanes.tallies();
  ASSERT_EQ(counts.size(), 16u);
  for (int64_t i = 0; i < 16; ++i) confused += counts[i];
  for (int64_t c = 0; c < 4; ++c) diagonal += counts[c * 5];
  EXPECT_EQ(confused, round_samples);
  EXPECT_EQ(diagonal, lanes.count(static_cast<int>(Count::correct)));
  for (const int64_t element : round.job.node.accumulator().elements()) ASSERT_EQ(element, 0);
}

TEST(Unit, NonFiniteScoresBlameTheFirstUnitAndLayer) {
  const SmallRuns runs;
  Round round(runs, 1000, "dense.toml", exact::RoundKind::train, false);
  const ArenaTensor& weight = round.job.graph.layout.tensors()[2];  // of the second dense layer
  if (round.world.leads()) round.job.node.parameters(0)[weight.offset] = INFINITY;
  round.world.node_barrier();
  exact::Lanes lanes = round.run(2);
  if (!round.world.leads()) return;
  EXPECT_TRUE(lanes.non_finite());
  EXPECT_EQ(lanes.first_non_finite_unit(), 0);
  const int place = lanes.first_non_finite_place();
  ASSERT_LT(place, static_cast<int>(round.job.graph.nodes.size()));
  EXPECT_EQ(round.job.graph.nodes[place].name, "dense_2");
  EXPECT_EQ(lanes.units(), 3);  // counted all the same
}

TEST(Unit, ValuesBeyondTheScaleAreFlaggedAndNotAdded) {
  const SmallRuns runs;
  Round round(runs, 1000, "dense.toml", exact::RoundKind::train, false);
  if (round.world.leads()) {
    std::fill(round.job.node.scales().begin(), round.job.node.scales().end(), 90);
    std::fill(round.job.node.overflow_bits().begin(), round.job.node.overflow_bits().end(),
              ops::power_of_two_bits(51 - 90));
  }
  round.world.node_barrier();
  exact::Lanes lanes = round.run(1);
  if (!round.world.leads()) return;
  EXPECT_TRUE(lanes.overflow());
  EXPECT_GT(lanes.magnitude_bits(0), 0);  // M is complete all the same
}

TEST(Unit, LanesHoldTheTallyInFrontOfTheCounts) {
  const model::Graph graph;
  exact::Lanes plain = make_lanes(graph, 2, {}), tallied = make_lanes(graph, 2, {10, true, false});
  EXPECT_EQ(plain.tally_count(), 0u);
  EXPECT_EQ(tallied.tally_count(), 100u);
  EXPECT_EQ(make_lanes(graph, 2, {10, false, true}).tally_count(), 30u + 2 * 65536);
  for (exact::Lanes* lanes : {&plain, &tallied})
    EXPECT_EQ(lanes->counts().size(), static_cast<size_t>(Count::fixed_counts));
}

}  // namespace
}  // namespace lepton::train
