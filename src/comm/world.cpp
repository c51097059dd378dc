// SPDX-License-Identifier: Apache-2.0
// How ranks form nodes: those that MPI says can share memory, cut into groups of LEPTON_RANKS_PER_NODE where
// that is set; nodes numbered by their lowest rank, ranks within a node in world order. Built once at start
// by train.
#include "comm/world.h"

#include <algorithm>
#include <cstdlib>

#include "comm/group.h"

namespace lepton::comm {

/// The value of LEPTON_RANKS_PER_NODE, 0 where it is not set, -1 where it is not a positive number.
static int ranks_per_node_asked() {
  const char* text = std::getenv("LEPTON_RANKS_PER_NODE");
  if (!text || !*text) return 0;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  return *end == '\0' && value > 0 && value < 1 << 20 ? static_cast<int>(value) : -1;
}

/// **Collective.** The communicator of this rank's node; the caller frees it.
static MPI_Comm split_into_nodes(MPI_Comm machine, int machine_rank, int rank, int ranks_per_node,
                                 bool alone) {
  int color = ranks_per_node > 0 ? machine_rank / ranks_per_node : 0;
  if (alone) color = (1 << 20) + machine_rank;  // behind all others
  MPI_Comm node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(machine, color, rank, &node), "MPI_Comm_split");
  return node;
}

World::World(double deadline_s, int ranks_per_node, bool alone)
    : deadline_s_(deadline_s), handles_(std::make_unique<Handles>()) {
  Group& all = handles_->all;
  all.open(MPI_COMM_WORLD, deadline_s);
  rank_ = all.rank;
  size_ = all.size;
  std::string asked = std::to_string(ranks_per_node > 0 ? ranks_per_node : ranks_per_node_asked());
  all.broadcast(asked);
  if (std::stoi(asked) < 0)
    throw Error(Exit::usage, "LEPTON_RANKS_PER_NODE", "not a positive number",
                "Unset it, or set the number of ranks that shall form a node.")
        .as_agreed();

  MPI_Comm machine = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(all.comm, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &machine),
            "MPI_Comm_split_type");
  MPI_Comm_rank(machine, &machine_rank_);
  MPI_Comm_size(machine, &machine_size_);
  MPI_Comm node = split_into_nodes(machine, machine_rank_, rank_, std::stoi(asked), alone);
  MPI_Comm_free(&machine);
  handles_->node.open(node, deadline_s);
  MPI_Comm_free(&node);
  node_rank_ = handles_->node.rank;
  node_size_ = handles_->node.size;

  const std::vector<std::string> leader_by_rank =
      all.all_gather(std::to_string(handles_->node.world_ranks[0]));
  for (int r = 0; r < size_; ++r)
    if (std::stoi(leader_by_rank[r]) == r) leaders_.push_back(r);
  nodes_ = static_cast<int>(leaders_.size());
  const auto mine = std::find(leaders_.begin(), leaders_.end(), handles_->node.world_ranks[0]);
  node_ = static_cast<int>(mine - leaders_.begin());

  MPI_Comm leaders = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(all.comm, leads() ? 0 : MPI_UNDEFINED, rank_, &leaders), "MPI_Comm_split");
  if (!leads()) return;
  handles_->leaders.open(leaders, deadline_s);
  check_mpi(MPI_Comm_dup(leaders, &handles_->messages), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(handles_->messages, MPI_ERRORS_RETURN);
  MPI_Comm_free(&leaders);
}

World::~World() = default;

void World::broadcast(std::string& bytes) const {
  handles_->all.broadcast(bytes);
}

std::vector<std::string> World::all_gather(const std::string& bytes) const {
  return handles_->all.all_gather(bytes);
}

void World::all_sum(std::span<int64_t> values) const {
  handles_->all.all_reduce(values, MPI_SUM);
}

void World::all_max(std::span<int64_t> values) const {
  handles_->all.all_reduce(values, MPI_MAX);
}

void World::barrier() const {
  handles_->all.barrier("barrier of all ranks");
}

void World::node_barrier() const {
  handles_->node.barrier("barrier of the ranks of a node");
}

void agree(const World& world, const std::function<void()>& work) {
  world.handles().all.agree(work);
}

}  // namespace lepton::comm
