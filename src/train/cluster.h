// SPDX-License-Identifier: Apache-2.0
// Cluster: the TOML file that describes machines which a run is to be given: how many of which kind, how fast
// they compute, and what lies between them. For the command `simulate`. One table (cluster.cpp) names every
// key with type, range, default and a sentence; validation and reference are made from it. Invariant: what
// parse_cluster returns is possible in itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace lepton::train {

/// Equal machines. A machine of CPUs is one node in queue and plan; of a machine with GPUs each rank is one.
struct MachineGroup {
  int64_t count = 1;
  int ranks = 1, threads = 1;  ///< ranks of a machine, compute threads of a rank
  double unit_ms = 0;          ///< 0: told by speed
  double speed = 0;            ///< of a thread, relative to the reference; 0: told by unit_ms
  double noise = 0;
  bool gpu = false;
  double memory_bytes_per_s = 0;
  SourcePosition position;

  int64_t nodes_of(int ranks_used) const { return gpu ? ranks_used : 1; }
};

struct Cluster {
  std::string path;
  std::vector<MachineGroup> groups;
  double latency_s = 0, network_bytes_per_s = 0;
  double file_system_bytes_per_s = 0, commit_s = 0;
  double node_mtbf_s = 0, restart_s = 0;
  std::vector<std::string> assumed;  ///< sections that the file leaves to their defaults

  int64_t machines() const;
  int64_t ranks() const;
};

/// Throws Error(deck) with file, line, column, key and the nearest valid name.
Cluster parse_cluster(const std::string& path, const std::string& text);

/// A machine of a job and how many of its ranks the job has.
struct Machine {
  size_t group = 0;
  int ranks = 1;
};
/// The machines of a job of so many ranks, 1 to cluster.ranks(): the groups in proportion to their counts, so
/// that a smaller job's machines are the first of a larger one's; of the last one as many ranks as are left.
std::vector<Machine> machines_for(const Cluster& cluster, int64_t ranks);

/// Thread time of a unit by group. The reference of speeds is the first group where it tells unit_ms, else
/// the run of --from. Throws Error(deck) where a group's speed has neither.
std::vector<double> unit_times_s(const Cluster& cluster, std::optional<double> measured_s);

/// The reference of all keys.
std::string cluster_reference();

}  // namespace lepton::train
