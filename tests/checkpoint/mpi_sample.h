// SPDX-License-Identifier: Apache-2.0
// For MPI tests: a scratch directory that all ranks see, made and removed by rank 0; slices of a state by
// nodes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/world.h"
#include "sample.h"

namespace lepton::checkpoint {

/// **Collective.** Also the destructor.
class SharedScratch {
 public:
  explicit SharedScratch(const comm::World& world, const std::string& name = "") : world_(world) {
    std::string path = testing::TempDir() + "lepton-checkpoint-mpi-" + std::to_string(getpid()) + name;
    world.broadcast(path);
    scratch_ = std::make_unique<Scratch>(path, world.rank() == 0);
    world.barrier();
  }
  ~SharedScratch() {
    try {
      world_.barrier();
    } catch (const Error&) {  // some rank has failed and left; the test says so
    }
  }
  const std::string& path() const { return scratch_->path(); }

 private:
  const comm::World& world_;
  std::unique_ptr<Scratch> scratch_;
};

/// Cuts `elements` into one slice per node at multiples of `grain`, uneven and some empty where there are
/// few.
inline std::vector<int64_t> sample_slices(int64_t elements, int nodes, int64_t grain) {
  const int64_t blocks = (elements + grain - 1) / grain;
  std::vector<int64_t> slices;
  for (int node = 0; node <= nodes; ++node)
    slices.push_back(std::min(elements, blocks * node / nodes * grain));
  return slices;
}

/// Worlds with nodes of 1, 2, 3 ranks and with one node. **Collective.**
inline void for_each_world(const std::function<void(const comm::World&)>& test) {
  for (const int ranks_per_node : {1, 2, 3, 1000}) {
    const comm::World world(60, ranks_per_node);
    test(world);
    world.barrier();
  }
}

}  // namespace lepton::checkpoint
