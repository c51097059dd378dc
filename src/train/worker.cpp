// SPDX-License-Identifier: Apache-2.0
// What both kinds of workers share, and the choice between them. Called by trainer.
#include "train/worker.h"

#include "base/clock.h"
#include "comm/node_barrier.h"

#include "train/device_runner.h"
#include "train/unit_runner.h"

namespace lepton::train {

Worker::Worker(const UnitResources& resources, int thread, int nodes)
    : resources_(resources),
      sums_{make_lanes(resources.graph, nodes, resources.tally, resources.parts.size()),
            {},
            {},
            thread,
            0,
            std::vector<ops::LossSums>(resources.parts.size())} {}

void Worker::fold_losses() {
  fold_loss(sums_.loss, {}, sums_.lanes);
  for (size_t i = 0; i < sums_.parts.size(); ++i) fold_loss(sums_.parts[i], lanes_of_part(i), sums_.lanes);
}

void Worker::finish_units(int64_t round) {
  fold_losses();
  merge_lanes(round);
}

void Worker::merge_lanes(int64_t round) {
  resources_.node.lanes().add(round, sums_.lanes);
  sums_.lanes.clear();
}

bool Worker::await_units(const Poll& between) {
  const balance::UnitQueue queue = resources_.node.queue();
  const ScopedTimer timer(sums_.times.wait_s);
  const double deadline_s = resources_.deck.run.deadline_s;
  Pace pace(1e-3);  // mostly the others are about to end, and then wait for this node
  while (queue.left() == 0) {
    if (queue.closed()) return queue.left() > 0;  // nothing is added behind the closing
    if (between) between();
    if (resources_.node.control().barrier.failed.load(std::memory_order_acquire)) throw comm::NodeFailed{};
    pace.step();
    if (pace.waited_s() > deadline_s)
      throw DeadlineError("units of this step", deadline_s, "some node has not started all of its units");
  }
  return true;
}

void Worker::count_time(int64_t units, double seconds) {
  sums_.times.units += units;
  sums_.lanes.node_busy_ns(resources_.world_node) += static_cast<int64_t>(seconds * 1e9);
  sums_.lanes.node_units(resources_.world_node) += units;
}

std::unique_ptr<Worker> make_worker(const UnitResources& resources, const UnitSizes& sizes, int thread,
                                    int node_threads, int nodes, const Poll& poll) {
  if (resources.device) return std::make_unique<DeviceRunner>(resources, sizes, nodes);
  auto runner = std::make_unique<UnitRunner>(resources, sizes, thread, node_threads, nodes);
  if (poll && nodes > 1) runner->set_between_nodes(poll);
  return runner;
}

}  // namespace lepton::train
