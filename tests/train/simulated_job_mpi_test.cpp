// SPDX-License-Identifier: Apache-2.0
// Jobs cut from a cluster: nodes, threads, links and classes of machines with and without GPUs; the length of
// the run that the deck describes; and what a measuring run adds to the end of a step.
#include "train/simulated_job.h"

#include <gtest/gtest.h>

#include "simulations.h"

namespace lepton::train {
namespace {

class SimulatedJobs : public Simulations {
 protected:
  /// The job of all ranks of this cluster.
  SimulatedJob job_of(const std::string& cluster_lines, const std::vector<Override>& overrides = {}) const {
    const LoadedDeck loaded(world_, options(overrides));
    const Cluster cluster = parse_cluster("c.toml", cluster_lines);
    const std::optional<Calibration> none;
    const Subject subject = make_subject(loaded.deck, loaded.dataset, loaded.graph, cluster, none, 0);
    return make_job(subject, cluster.ranks());
  }
  void expect_wrong(const std::string& cluster_lines, const std::vector<Override>& overrides,
                    const std::string& part) const {
    try {
      job_of(cluster_lines, overrides);
      ADD_FAILURE() << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::deck) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
};

constexpr const char* mixed =
    "[[nodes]]\ncount = 2\nranks = 4\nthreads = 3\nunit_ms = 8\nnoise = 0.5\n"
    "[[nodes]]\nranks = 2\ndevice = \"gpu\"\nspeed = 8\n[network]\ngigabytes_per_second = 6\n";

TEST_F(SimulatedJobs, AMachineOfCpusIsANodeAndEachGpuIsOne) {
  const SimulatedJob job = job_of(mixed, {{"balance.classes", "free"}});
  ASSERT_EQ(job.units.nodes.size(), 4u);
  EXPECT_EQ(job.machines.size(), 3u);
  EXPECT_EQ(job.links.nodes, 4);
  EXPECT_EQ(job.threads, 12 + 1 + 1 + 12);
  EXPECT_EQ(job.units.nodes[0].threads, 12);
  EXPECT_DOUBLE_EQ(job.units.nodes[0].unit_s, 8e-3);
  EXPECT_EQ(job.units.nodes[0].noise, 0.5);
  EXPECT_EQ(job.units.nodes[1].threads, 1) << "the groups alternate in proportion";
  EXPECT_DOUBLE_EQ(job.units.nodes[1].unit_s, 1e-3);
  EXPECT_EQ(job.units.nodes[1].node_class, 0);
  EXPECT_DOUBLE_EQ(job.links.bytes_per_s, 3e9) << "two nodes share the link of their machine";
  EXPECT_DOUBLE_EQ(job.links.memory_bytes_per_s, 10e9);
}

TEST_F(SimulatedJobs, MixedDevicesNeedAPolicyOfClasses) {
  expect_wrong(mixed, {}, "with and without GPUs");
  const std::vector<Override> fixed = {{"balance.classes", "fixed"},
                                       {"balance.shares", "[\"3 cuda\", \"2 cpu avx2\"]"}};
  const SimulatedJob job = job_of(mixed, fixed);
  EXPECT_EQ(job.units.shares, (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(job.units.nodes[0].node_class, 1);
  EXPECT_EQ(job.units.nodes[1].node_class, 0);
  expect_wrong(mixed, {{"balance.classes", "fixed"}, {"balance.shares", "[\"3 cpu\"]"}},
               "no share is for the cuda nodes");
}

TEST_F(SimulatedJobs, OnOneMachineNothingCrossesALink) {
  EXPECT_DOUBLE_EQ(job_of("[[nodes]]\nranks = 4\nunit_ms = 1\n").links.bytes_per_s, 20e9);
  EXPECT_DOUBLE_EQ(job_of("[[nodes]]\ncount = 2\nunit_ms = 1\n").links.bytes_per_s, 10e9);
}

TEST_F(SimulatedJobs, TheDeckSaysUnitsPolicyAndSeed) {
  const SimulatedJob job = job_of("[[nodes]]\ncount = 2\nunit_ms = 6\n[network]\nlatency_us = 7\n",
                                  {{"balance.policy", "proportional"}, {"run.seed", "9"}});
  EXPECT_EQ(job.units.units, 20);
  EXPECT_EQ(job.units.policy, balance::Policy::proportional);
  EXPECT_EQ(job.units.seed, 9u);
  EXPECT_DOUBLE_EQ(job.units.network.latency_s, 7e-6);
  EXPECT_DOUBLE_EQ(job.units.network.row_s_per_unit, 2 * 13 / 10e9) << "two rows of 12 inputs and a label";
  EXPECT_GT(job.units.look_s, 0);
  EXPECT_LE(job.units.look_s, 6e-3);
  EXPECT_EQ(job.units.warm_up_rounds, 4);
  EXPECT_EQ(job_of("[[nodes]]\nunit_ms = 6\n").units.warm_up_rounds, 0);
}

TEST_F(SimulatedJobs, TheRunIsAsLongAsTheDeckSays) {
  const Cluster cluster = parse_cluster("c.toml", "[[nodes]]\nunit_ms = 1\n");
  const std::optional<Calibration> none;
  const auto length = [&](const std::vector<Override>& overrides) {
    const LoadedDeck loaded(world_, options(overrides));
    return make_subject(loaded.deck, loaded.dataset, loaded.graph, cluster, none, 0).length;
  };
  const RunLength usual = length({});
  EXPECT_EQ(usual.steps_per_epoch, 3);
  EXPECT_EQ(usual.epochs, 3);
  EXPECT_EQ(usual.units, 20);
  EXPECT_EQ(usual.last_units, 5);
  EXPECT_NEAR(usual.evaluated_units, 3 * 10 / 2.0, 1e-12) << "10 test rows after each of 3 epochs";
  EXPECT_NEAR(length({{"evaluation.every", "4 steps"}}).evaluated_units, 3 * 10 / 2.0, 1e-12)
      << "steps 4, 8, 9";
  EXPECT_NEAR(length({{"data.validation.rows", "[70, 90]"}, {"data.train.rows", "[0, 70]"}}).evaluated_units,
              (3 * 20 + 10) / 2.0, 1e-12);
  EXPECT_EQ(length({{"train.batch_size", "400"}}).units, 45) << "an epoch is the largest batch";
}

TEST_F(SimulatedJobs, StepsAreAsManyAsAskedForOrTakeSeconds) {
  const LoadedDeck loaded(world_, options());
  const Cluster cluster = parse_cluster("c.toml", "[[nodes]]\nunit_ms = 1\n");
  const std::optional<Calibration> none;
  EXPECT_EQ(make_subject(loaded.deck, loaded.dataset, loaded.graph, cluster, none, 5).rounds, 5);
  EXPECT_EQ(make_subject(loaded.deck, loaded.dataset, loaded.graph, cluster, none, 0).rounds, 16);
}

TEST_F(SimulatedJobs, AMeasuringRunAddsWhatItTookBeyondTheFormulas) {
  const LoadedDeck loaded(world_, options());
  const Cluster cluster = parse_cluster("c.toml", "[[nodes]]\ncount = 4\n");
  std::optional<Calibration> measured;
  measured.emplace();
  measured->unit_s = 0.01;
  measured->nodes = 1;
  measured->rest_s = 0.003;
  const Subject subject = make_subject(loaded.deck, loaded.dataset, loaded.graph, cluster, measured, 0);
  EXPECT_DOUBLE_EQ(make_job(subject, 1).units.nodes[0].unit_s, 0.01);
  const auto formulas_s = [&](int nodes) {
    const StepEnd end = step_end_of(subject, make_job(subject, nodes));
    return end.total_s() - end.other_s;
  };
  EXPECT_GT(formulas_s(1), 0);  // the update
  EXPECT_GT(formulas_s(4), formulas_s(1));
  for (const int nodes : {1, 4}) {
    measured->nodes = nodes;
    EXPECT_NEAR(step_end_of(subject, make_job(subject, 4)).other_s, 0.003 - formulas_s(nodes), 1e-12);
  }
  // A machine that is faster than the formulas believe.
  const StepEnd believed = step_end_of(subject, make_job(subject, 4));
  measured->rest_s = formulas_s(4) / 2;
  const StepEnd faster = step_end_of(subject, make_job(subject, 4));
  EXPECT_EQ(faster.other_s, 0);
  EXPECT_NEAR(faster.total_s(), measured->rest_s, 1e-12);
  EXPECT_NEAR(faster.update_s, believed.update_s / 2, 1e-12);
  EXPECT_NEAR(faster.gather_s, believed.gather_s / 2, 1e-12);
}

TEST_F(SimulatedJobs, AClassWithoutNodesIsNoticed) {
  const LoadedDeck loaded(
      world_, options({{"balance.classes", "fixed"}, {"balance.shares", "[\"3 cuda\", \"2 cpu\"]"}}));
  const Cluster cluster = parse_cluster("c.toml", mixed);
  const std::optional<Calibration> none;
  const Subject subject = make_subject(loaded.deck, loaded.dataset, loaded.graph, cluster, none, 0);
  EXPECT_FALSE(holds_all_classes(subject, make_job(subject, 4)));
  EXPECT_TRUE(holds_all_classes(subject, make_job(subject, 5)));
}

}  // namespace
}  // namespace lepton::train
