// SPDX-License-Identifier: Apache-2.0
// The barrier of a node's compute threads: one round trip, also with more threads than cores.
#include <benchmark/benchmark.h>

#include "comm/node_barrier.h"

namespace lepton::benchmarks {

namespace {

constexpr int threads_max = 7;
comm::NodeBarrierState barrier_states[threads_max + 1];
comm::Attendant rosters[threads_max + 1][threads_max];
const Deadline deadline(600);

/// All threads run the same number of iterations, so they meet in each.
void NodeBarrier(benchmark::State& state) {
  const std::span roster(rosters[state.threads()]);
  comm::NodeBarrier barrier(barrier_states[state.threads()],
                            roster.first(static_cast<size_t>(state.threads())), 0, deadline);
  for (auto _ : state) barrier.wait(state.thread_index());
}
BENCHMARK(NodeBarrier)->Iterations(20'000)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(NodeBarrier)->Iterations(2'000)->Threads(4)->Threads(7)->UseRealTime();

}  // namespace

}  // namespace lepton::benchmarks
