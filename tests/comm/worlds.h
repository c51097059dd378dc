// SPDX-License-Identifier: Apache-2.0
// For MPI tests: the ways to cut this job's ranks into machines and nodes, and random numbers that are the
// same on all ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/philox.h"
#include "comm/world.h"

namespace lepton::comm {

/// Runs `test` with nodes of 1, 2 and 3 ranks and with all ranks on one node.
inline void for_each_world(const std::function<void(const World&)>& test, double deadline_s = 60) {
  for (const int ranks_per_node : {1, 2, 3, 1000}) {
    const World world(deadline_s, ranks_per_node);
    test(world);
    world.barrier();
  }
}

/// Which ranks stand alone, as those do that compute on a device.
enum class Alone { none, all, one_of_three };

inline bool stands_alone(int rank, Alone who) {
  return who == Alone::all || (who == Alone::one_of_three && rank % 3 == 1);
}

/// Runs `test` with machines of 1, 2 and 3 ranks and with all ranks on one machine, each with ranks that
/// stand alone on it and without.
inline void for_each_machines(const std::function<void(const World&, int ranks_per_machine, Alone)>& test) {
  const int rank = World().rank();
  for (const int ranks_per_machine : {1, 2, 3, 1000})
    for (const Alone who : {Alone::none, Alone::all, Alone::one_of_three}) {
      const World world(60, ranks_per_machine, stands_alone(rank, who));
      test(world, ranks_per_machine, who);
      world.barrier();
    }
}

/// A sequence of pseudo-random numbers.
class Random {
 public:
  explicit Random(uint64_t seed) : seed_(mix64(seed)) {}
  uint64_t next() { return mix64(seed_ ^ mix64(++count_)); }
  /// In [0, bound).
  int64_t below(int64_t bound) { return static_cast<int64_t>(next() % static_cast<uint64_t>(bound)); }

 private:
  uint64_t seed_, count_ = 0;
};

}  // namespace lepton::comm
