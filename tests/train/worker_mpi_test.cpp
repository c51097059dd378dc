// SPDX-License-Identifier: Apache-2.0
// What workers share: which kind a thread gets, how their counts go into the node's lanes, and that nothing
// is counted twice. (What they compute: unit_runner_mpi_test and device_runner_mpi_test.)
#include "train/worker.h"

#include <gtest/gtest.h>

#include "device_round.h"
#include "train/device_runner.h"
#include "train/unit_runner.h"

namespace lepton::train {
namespace {

/// A worker that counts what it is told.
class Counter : public Worker {
 public:
  explicit Counter(const UnitResources& resources, int nodes) : Worker(resources, 0, nodes) {}
  void run_queue(const std::function<void()>&) override {
    sums_.loss.samples += 5;
    sums_.loss.counted += 2;
    sums_.loss.weight.add(0.75);
    sums_.loss.correct += 3;
    sums_.loss.correct_top += 4;
    sums_.loss.loss.add(1.5);
    sums_.loss.absolute_error.add(2.5);
    sums_.loss.squared_error.add(3.5);
    sums_.loss.target.add(-4.5);
    sums_.loss.target_squared.add(5.5);
    sums_.lanes.add_unit(77);
    count_time(2, 0.25);
  }
  void verify() override {}
  void verify_and_update() override {}
  void update() override {}
  void copy_state(const StateCopy&) override {}
};

TEST(MakeWorker, GivesADeviceRunnerExactlyWhereTheNodeHasADevice) {
  const SmallRuns runs;
  for (const char* device : {"cpu", "debug"}) {
    const DrivenRound driven(runs, device, "dense.toml");
    const Round& round = driven.round;
    const std::unique_ptr<Worker> worker =
        make_worker(round.resources, round.job.sizes, 0, 1, round.world.nodes(), [] {});
    const bool on_device = device == std::string("debug");
    EXPECT_EQ(round.resources.device != nullptr, on_device);
    EXPECT_EQ(dynamic_cast<DeviceRunner*>(worker.get()) != nullptr, on_device);
    EXPECT_EQ(dynamic_cast<UnitRunner*>(worker.get()) != nullptr, !on_device);
    EXPECT_EQ(round.job.share.threads, 1);
    EXPECT_EQ(round.world.node_size(), 1);
  }
}

// One node runs one round on the CPU with a callback that must be called between layers where there are
// several nodes, and may not where there is nobody to exchange messages with.
TEST(MakeWorker, CpuWorkersPollBetweenLayersWhereThereAreOtherNodes) {
  const SmallRuns runs;
  DrivenRound driven(runs, "cpu", "dense.toml");
  int64_t polls = 0;
  driven.worker = make_worker(driven.round.resources, driven.round.job.sizes, 0, 1,
                              driven.round.world.nodes(), [&] { ++polls; });
  driven.run_units();
  EXPECT_EQ(polls > 0, driven.round.world.nodes() > 1 && !driven.round.mine.empty());
}

TEST(Worker, PutsCountsIntoTheNodesLanesOnce) {
  const SmallRuns runs;
  for (const char* device : {"cpu", "debug"}) {
    DrivenRound driven(runs, device, "dense.toml");
    const int node = driven.round.world.node();
    Counter worker(driven.round.resources, driven.round.world.nodes());
    worker.run_queue({});
    worker.run_queue({});
    worker.finish_units(1);
    worker.finish_units(1);  // nothing is left
    worker.merge_lanes(1);
    exact::Lanes lanes = make_lanes(driven.round.job.graph, driven.round.world.nodes(), {});
    driven.node().lanes().take(1, lanes);
    EXPECT_EQ(lanes.units(), 2);
    EXPECT_EQ(lanes.unit_hash_sum(), 2 * 77U);
    EXPECT_EQ(lanes.count(static_cast<int>(Count::samples)), 10);
    EXPECT_EQ(lanes.count(static_cast<int>(Count::counted)), 4);
    EXPECT_EQ(lanes.exact(static_cast<int>(Exact::weight)).value(), 1.5);
    EXPECT_EQ(lanes.count(static_cast<int>(Count::correct)), 6);
    EXPECT_EQ(lanes.count(static_cast<int>(Count::correct_top)), 8);
    EXPECT_EQ(lanes.exact(static_cast<int>(Exact::loss)).value(), 3);
    EXPECT_EQ(lanes.exact(static_cast<int>(Exact::absolute_error)).value(), 5);
    EXPECT_EQ(lanes.exact(static_cast<int>(Exact::squared_error)).value(), 7);
    EXPECT_EQ(lanes.exact(static_cast<int>(Exact::target)).value(), -9);
    EXPECT_EQ(lanes.exact(static_cast<int>(Exact::target_squared)).value(), 11);
    EXPECT_EQ(lanes.node_units(node), 4);
    EXPECT_EQ(lanes.node_busy_ns(node), 500'000'000);
    EXPECT_EQ(worker.times().units, 4);
    EXPECT_EQ(worker.lanes().units(), 0);
  }
}

TEST(Worker, RoundsAreKeptApart) {
  const SmallRuns runs;
  DrivenRound driven(runs, "cpu", "dense.toml");
  Counter worker(driven.round.resources, driven.round.world.nodes());
  worker.run_queue({});
  worker.finish_units(1);
  worker.run_queue({});
  worker.run_queue({});
  worker.finish_units(2);
  for (const int round : {1, 2}) {
    exact::Lanes lanes = make_lanes(driven.round.job.graph, driven.round.world.nodes(), {});
    driven.node().lanes().take(round, lanes);
    EXPECT_EQ(lanes.count(static_cast<int>(Count::samples)), 5 * round);
    EXPECT_EQ(lanes.units(), round);
  }
}

}  // namespace
}  // namespace lepton::train
