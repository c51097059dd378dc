// SPDX-License-Identifier: Apache-2.0
// How ranks form groups: hosts as MPI says, machines and nodes by splitting those; groups numbered by their
// lowest rank, ranks within a group in world order. Built by main, once to read the deck and once as it says.
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

/// **Collective.** Splits `from` by colour, in world order; frees `from`, and the caller what is returned.
static MPI_Comm split(MPI_Comm from, int color, int rank) {
  MPI_Comm group = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(from, color, rank, &group), "MPI_Comm_split");
  MPI_Comm_free(&from);
  return group;
}

/// **Collective.** By rank: the first rank of its group, which names the group.
static std::vector<int> first_ranks(Group& all, const Group& mine) {
  std::vector<int> first;
  for (const std::string& text : all.all_gather(std::to_string(mine.world_ranks[0])))
    first.push_back(std::stoi(text));
  return first;
}

/// Groups are numbered by their first ranks: those, ascending.
static std::vector<int> numbered(const std::vector<int>& first_by_rank) {
  std::vector<int> first;
  for (int rank = 0; rank < static_cast<int>(first_by_rank.size()); ++rank)
    if (first_by_rank[rank] == rank) first.push_back(rank);
  return first;
}

static int number_of(const std::vector<int>& numbered, int first) {
  return static_cast<int>(std::lower_bound(numbered.begin(), numbered.end(), first) - numbered.begin());
}

World::World(double deadline_s, int ranks_per_node, bool alone)
    : deadline_(std::make_unique<Deadline>(deadline_s)), handles_(std::make_unique<Handles>()) {
  Group& all = handles_->all;
  all.open(MPI_COMM_WORLD, *deadline_);
  rank_ = all.rank;
  size_ = all.size;
  std::string asked = std::to_string(ranks_per_node > 0 ? ranks_per_node : ranks_per_node_asked());
  all.broadcast(asked);
  const int each = std::stoi(asked);
  if (each < 0)
    throw Error(Exit::usage, "LEPTON_RANKS_PER_NODE", "not a positive number",
                "Unset it, or set the number of ranks that shall form a machine.")
        .as_agreed();

  MPI_Comm host = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(all.comm, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host),
            "MPI_Comm_split_type");
  Group on_host;
  on_host.open(host, *deadline_);
  host_ranks_ = on_host.world_ranks;
  MPI_Comm machine = split(host, each > 0 ? on_host.rank / each : 0, rank_);
  handles_->machine.open(machine, *deadline_);
  machine_rank_ = handles_->machine.rank;
  machine_size_ = handles_->machine.size;
  MPI_Comm node = split(machine, alone ? 1 + machine_rank_ : 0, rank_);
  handles_->node.open(node, *deadline_);
  MPI_Comm_free(&node);
  node_rank_ = handles_->node.rank;
  node_size_ = handles_->node.size;
  number_groups();

  MPI_Comm leaders = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(all.comm, leads() ? 0 : MPI_UNDEFINED, rank_, &leaders), "MPI_Comm_split");
  if (!leads()) return;
  handles_->leaders.open(leaders, *deadline_);
  check_mpi(MPI_Comm_dup(leaders, &handles_->messages), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(handles_->messages, MPI_ERRORS_RETURN);
  MPI_Comm_free(&leaders);
}

void World::number_groups() {
  const std::vector<int> node_first = first_ranks(handles_->all, handles_->node),
                         machine_first = first_ranks(handles_->all, handles_->machine);
  leaders_ = numbered(node_first);
  nodes_ = static_cast<int>(leaders_.size());
  node_ = number_of(leaders_, node_first[rank_]);
  const std::vector<int> machines = numbered(machine_first);
  nodes_of_.resize(machines.size());
  for (int n = 0; n < nodes_; ++n) {
    machine_of_.push_back(number_of(machines, machine_first[leaders_[n]]));
    nodes_of_[machine_of_[n]].push_back(n);
  }
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
