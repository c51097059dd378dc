// SPDX-License-Identifier: Apache-2.0
// MPI_Ireduce with MPI_BXOR. See the header.
#include "comm/xor_reduction.h"

#include <mpi.h>

#include <algorithm>
#include <climits>
#include <vector>

#include "base/error.h"
#include "comm/group.h"

namespace lepton::comm {

struct XorReduction::State {
  MPI_Comm comm = MPI_COMM_NULL;
  std::vector<MPI_Request> requests;
  uint64_t word = 0;
  MPI_Request& free_place(int place) {
    MPI_Request& request = requests[static_cast<size_t>(place)];
    CHECK(request == MPI_REQUEST_NULL, "one at a time in a place");
    return request;
  }
};

XorReduction::XorReduction(const World& world, int first, int count, int places)
    : state_(std::make_unique<State>()) {
  const int node = world.node();
  CHECK(world.leads() && first <= node && node < first + count, "a group has its own nodes");
  state_->requests.resize(static_cast<size_t>(places), MPI_REQUEST_NULL);
  check_mpi(MPI_Comm_split(world.handles().leaders.comm, first, node, &state_->comm), "MPI_Comm_split");
}

/// Where some are under way the job has failed; they are left to MPI.
XorReduction::~XorReduction() {
  const bool idle = std::all_of(state_->requests.begin(), state_->requests.end(),
                                [](MPI_Request request) { return request == MPI_REQUEST_NULL; });
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!idle)
    static_cast<void>(state_.release());
  else if (!finalized)
    MPI_Comm_free(&state_->comm);
}

void XorReduction::begin(int place, std::span<const std::byte> in, std::span<std::byte> out, int root) {
  CHECK(in.size() % sizeof(uint64_t) == 0 && in.size() / sizeof(uint64_t) <= INT_MAX, "whole words");
  check_mpi(MPI_Ireduce(in.data(), out.data(), static_cast<int>(in.size() / sizeof(uint64_t)), MPI_UINT64_T,
                        MPI_BXOR, root, state_->comm, &state_->free_place(place)),
            "MPI_Ireduce");
}

void XorReduction::begin_gather(int place, uint64_t word, std::span<uint64_t> all) {
  state_->word = word;
  check_mpi(MPI_Iallgather(&state_->word, 1, MPI_UINT64_T, all.data(), 1, MPI_UINT64_T, state_->comm,
                           &state_->free_place(place)),
            "MPI_Iallgather");
}

bool XorReduction::test(int place) {
  int done = 0;
  check_mpi(MPI_Test(&state_->requests[static_cast<size_t>(place)], &done, MPI_STATUS_IGNORE),
            "redundancy between nodes");
  return done != 0;
}

}  // namespace lepton::comm
