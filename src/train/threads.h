// SPDX-License-Identifier: Apache-2.0
// How many compute threads a rank may have: the cores that affinity and cgroup quota leave to it, divided
// among the ranks of the host that share them, at least 1. A needlessly narrow binding (mpirun binds each
// rank to one core by default) is reported with the option that mends it. Bits never depend on the answer.
// Called by train and check.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "comm/world.h"
#include "train/memory_domains.h"

namespace lepton::train {

/// What one rank knows of its cores.
struct RankCores {
  std::string host;
  int node = 0, machine = 0;
  std::vector<int> own;  ///< core numbers that this process may run on
  std::vector<int> job;  ///< those of its parent: what a launcher could have given it
  bool device = false;   ///< computes on a device: one thread feeds it
  double quota = std::numeric_limits<double>::infinity();  ///< cores' worth of time that control groups allow
};

/// "0-3,8" as numbers: how the kernel lists cores. What is no number is left out.
std::vector<int> parse_core_list(const std::string& list);

/// **Local.** `root` is put before /proc and /sys, for tests.
RankCores local_cores(const std::string& root = "");

/// **Local.** Cores that this process alone could keep busy, at least 1.
int usable_cores();

/// What of the job is on one host.
struct OnHost {
  int nodes = 1;
  int machines = 1;  ///< more than 1 where LEPTON_RANKS_PER_NODE cuts the host
};

struct ThreadShare {
  int threads = 1;        ///< of this rank
  int node_first = 0;     ///< threads of the ranks before this one on its node
  int node_threads = 1;   ///< of all ranks of its node
  int job_threads = 1;    ///< of all ranks
  MemoryDomains domains;  ///< of its node
  OnHost on_host;         ///< of this rank
  std::string warning;    ///< "" or a whole sentence about the binding; the same on all ranks
};

/// The share of each rank, `wanted` threads where that is above 0. A pure function of what all ranks know.
std::vector<ThreadShare> share_cores(const std::vector<RankCores>& ranks, int wanted);

/// **Collective.** This rank's share; `device`: it computes on one.
ThreadShare threads_per_rank(const comm::World& world, int wanted, bool device = false);

/// **Collective.** Its number of threads; rank 0 logs the warning.
int threads_of_rank(const comm::World& world, int wanted);

}  // namespace lepton::train
