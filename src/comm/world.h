// SPDX-License-Identifier: Apache-2.0
// World: the ranks of the job, and the groups that they form by the memory they share. Host: the ranks that
// can, as MPI says. Machine: the ranks that share a sample store; those of a host, unless
// LEPTON_RANKS_PER_NODE=k cuts it into machines of k consecutive ranks, which then share nothing. Node: the
// ranks that share everything else too; those of a machine, but ranks that stand alone (each computes on a
// device) are nodes of their own beside it. A node's leader (node rank 0) alone speaks with other nodes
// inside a step. Alone this folder calls MPI; only main threads call it (FUNNELED). Every wait has a
// deadline: then DeadlineError (exit 75) names the collective and who did not come.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/waiting.h"

namespace lepton::comm {

/// Why a job of `mpi_size` ranks cannot be what the launcher meant: it says that this process is one of
/// several, but MPI came up alone (started through the wrong PMI each rank would train for itself). "" when
/// all is well. `variable` looks up the environment. **Local.**
std::string launcher_conflict(int mpi_size, const std::function<const char*(const char*)>& variable);

/// MPI_Init_thread(FUNNELED) and MPI_Finalize. At most one per process. Throws Error(usage) at a
/// launcher_conflict.
class Session {
 public:
  Session(int& argc, char**& argv);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  /// Ends every rank of the job with this exit code, at once. Never returns.
  [[noreturn]] static void abort(int code);
};

class World {
 public:
  /// **Collective.** Over MPI_COMM_WORLD; `deadline_s` bounds every later wait. `ranks_per_node` > 0 cuts the
  /// hosts into machines of so many consecutive ranks; 0: as LEPTON_RANKS_PER_NODE says on rank 0, else one
  /// machine per host. Ranks that stand `alone` form nodes of their own, the others of a machine are one
  /// node.
  explicit World(double deadline_s = 600, int ranks_per_node = 0, bool alone = false);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  int node() const { return node_; }
  int nodes() const { return nodes_; }
  int node_rank() const { return node_rank_; }
  int node_size() const { return node_size_; }
  bool leads() const { return node_rank_ == 0; }
  int leader_of(int node) const { return leaders_[node]; }  ///< world rank
  int machine() const { return machine_of_[node_]; }
  int machines() const { return static_cast<int>(nodes_of_.size()); }
  int machine_rank() const { return machine_rank_; }
  int machine_size() const { return machine_size_; }
  int machine_of(int node) const { return machine_of_[node]; }
  /// Ascending; never none.
  const std::vector<int>& nodes_of(int machine) const { return nodes_of_[machine]; }
  /// World ranks of this host, ascending.
  const std::vector<int>& host_ranks() const { return host_ranks_; }
  /// Of every wait for other ranks; train shortens it once it knows how long steps take.
  Deadline& deadline() const { return *deadline_; }
  double deadline_s() const { return deadline_->seconds(); }

  // Collectives over all ranks, for set-up and shut-down (blocking with deadline).
  /// **Collective.** Rank 0's bytes to all.
  void broadcast(std::string& bytes) const;
  /// **Collective.** Everybody's bytes, by rank, on all ranks.
  std::vector<std::string> all_gather(const std::string& bytes) const;
  /// **Collective.** Elementwise, in place, on all ranks.
  void all_sum(std::span<int64_t> values) const;
  void all_max(std::span<int64_t> values) const;
  void barrier() const;
  void node_barrier() const;  ///< **Collective over the node.** MPI barrier, for set-up only

  struct Handles;  // the communicators; only comm looks inside
  Handles& handles() const { return *handles_; }

 private:
  void number_groups();  // **Collective.**
  int rank_ = 0, size_ = 1, node_ = 0, nodes_ = 1, node_rank_ = 0, node_size_ = 1;
  int machine_rank_ = 0, machine_size_ = 1;
  std::unique_ptr<Deadline> deadline_;
  std::vector<int> host_ranks_;
  std::vector<int> leaders_, machine_of_;   // by node
  std::vector<std::vector<int>> nodes_of_;  // by machine
  std::unique_ptr<Handles> handles_;
};

/// **Collective.** Runs `work` on every rank; if it throws on any, all ranks throw the Error of the lowest
/// such rank, marked as agreed (bad_alloc becomes Error(memory), any other exception Error(software)). So
/// that one bad file gives one message and one exit code, and nobody hangs. A DeadlineError passes through
/// unagreed.
void agree(const World& world, const std::function<void()>& work);

}  // namespace lepton::comm
