// SPDX-License-Identifier: Apache-2.0
// Group: a communicator whose collectives are nonblocking inside and end at a deadline that names who is
// missing. Inside comm only: the one header that shows MPI's types. World holds one group of all ranks, one
// of the machine, one of the node and one of the leaders. The roll call that finds the missing: after half
// the deadline a waiting rank announces the number of the collective it waits in to all others, on a
// communicator of its own; who hears one while waiting announces too. At the deadline the missing are those
// who were not heard in this collective or a later one.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/waiting.h"
#include "comm/world.h"

namespace lepton::comm {

/// Throws Error(io) with MPI's text unless `status` is MPI_SUCCESS.
void check_mpi(int status, const char* call);

struct Group {
  Group() = default;
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  ~Group();

  /// **Collective over `parent`'s ranks of one colour.** Duplicates and asks who is who.
  void open(MPI_Comm parent, const Deadline& deadline);
  /// Ends `request`, which belongs to the collective begun by the last begin().
  void wait(MPI_Request& request, const char* collective, const std::function<void()>* poll = nullptr);
  void begin() { ++calls; }
  /// For waits of another shape than wait()'s: takes part in the roll call of the collective begun last,
  /// which has been waited for so long; and who has not been heard in it. **Local.**
  void roll_call(double waited_s);
  std::string missing() const;

  // Collectives over the group.
  void barrier(const char* name);
  void broadcast(std::string& bytes);
  std::vector<std::string> all_gather(const std::string& bytes);
  void all_reduce(std::span<int64_t> values, MPI_Op operation);
  void agree(const std::function<void()>& work);

  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Comm roll = MPI_COMM_NULL;
  int rank = 0, size = 1;
  const Deadline* deadline = nullptr;
  double deadline_s() const { return deadline->seconds(); }
  int64_t calls = 0;             ///< collectives begun; the same on all ranks at the same collective
  std::vector<int> world_ranks;  ///< by rank in the group

 private:
  bool heard_announcement();
  void announce();

  std::vector<int64_t> heard_;  // by rank: the latest collective it announced
  int64_t announced_ = 0;
};

struct World::Handles {
  Group all, machine, node, leaders;  ///< leaders is open on leaders only
  MPI_Comm messages =
      MPI_COMM_NULL;  ///< a duplicate of the leaders' communicator for point-to-point messages
  ~Handles();
};

}  // namespace lepton::comm
