// SPDX-License-Identifier: Apache-2.0
// The barrier of a node's compute threads: one round trip, also with more threads than cores.
#include <benchmark/benchmark.h>

#include "comm/node_barrier.h"

namespace lepton::benchmarks {

namespace {

comm::NodeBarrierState barrier_states[8];

/// All threads run the same number of iterations, so they meet in each.
void NodeBarrier(benchmark::State& state) {
  comm::NodeBarrier barrier(barrier_states[state.threads()], state.threads(), 600);
  for (auto _ : state) barrier.wait();
}
BENCHMARK(NodeBarrier)->Iterations(20'000)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(NodeBarrier)->Iterations(2'000)->Threads(4)->Threads(7)->UseRealTime();

}  // namespace

}  // namespace lepton::benchmarks
