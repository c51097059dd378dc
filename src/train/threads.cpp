// SPDX-License-Identifier: Apache-2.0
// Affinity by sched_getaffinity, the launcher's by /proc/PPID/status, quotas from control groups v2 and v1
// with all their parents. What cannot be read does not limit. See the header.
#include "train/threads.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "base/log.h"

namespace lepton::train {

std::vector<int> parse_core_list(const std::string& list) {
  std::vector<int> cores;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) {
    int first = 0, last = 0;
    const int found = std::sscanf(part.c_str(), "%d-%d", &first, &last);
    if (found < 1) continue;
    for (int core = first; core <= (found == 2 ? last : first) && core < 65536; ++core) cores.push_back(core);
  }
  return cores;
}

namespace {

std::vector<int> own_cores() {
  std::vector<int> cores;
  cpu_set_t set;  // 1,024 cores; larger machines need a larger set and answer EINVAL: then nothing is known
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  return cores;
}

std::vector<int> cores_of_process(const std::string& root, int process) {
  std::ifstream status(root + "/proc/" + std::to_string(process) + "/status");
  const std::string key = "Cpus_allowed_list:";
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key)) return parse_core_list(line.substr(line.find_first_not_of(" \t", key.size())));
  return {};
}

/// Cores' worth of time that the group at `folder` allows.
double quota_of_group(const std::string& folder) {
  double quota = -1, period = 0;
  if (std::ifstream file(folder + "/cpu.max"); file >> quota >> period) {
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : std::numeric_limits<double>::infinity();
}

/// The least that this process' control groups and their parents allow.
double cgroup_quota(const std::string& root) {
  double quota = std::numeric_limits<double>::infinity();
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "hierarchy:controllers:path"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool version2 = controllers == ",,", cpu = controllers.find(",cpu,") != std::string::npos;
    if (!version2 && !cpu) continue;
    std::string group = line.substr(second + 1);
    for (;;) {
      for (const char* mount : {"", "/cpu", "/cpu,cpuacct"})
        quota =
            std::min(quota, quota_of_group(root + "/sys/fs/cgroup" + mount + (group == "/" ? "" : group)));
      if (group.empty() || group == "/") break;
      group.resize(group.find_last_of('/'));
    }
  }
  return quota;
}

/// `total` things over `count` takers, as evenly as can be: those of taker `index`.
int part_of(int total, int count, int index) {
  return total * (index + 1) / count - total * index / count;
}

/// The ranks of one host, and what they may use together.
struct Host {
  std::vector<size_t> ranks;
  std::map<int, int> users;  // ranks per core
  std::set<int> job;
  std::set<int> nodes, machines;
  double quota = std::numeric_limits<double>::infinity();
};

std::map<std::string, Host> hosts_of(const std::vector<RankCores>& ranks) {
  std::map<std::string, Host> hosts;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    Host& host = hosts[ranks[rank].host];
    host.ranks.push_back(rank);
    host.nodes.insert(ranks[rank].node);
    host.machines.insert(ranks[rank].machine);
    host.quota = std::min(host.quota, ranks[rank].quota);
    for (const int core : ranks[rank].own) ++host.users[core];
    host.job.insert(ranks[rank].job.begin(), ranks[rank].job.end());
  }
  return hosts;
}

/// Ranks that divide cores among themselves. Those that feed a device take one each.
struct Sharers {
  int devices = 0, others = 0, index = 0;  ///< index: of the rank asked for among the others
  void add(bool device, bool before) {
    ++(device ? devices : others);
    index += !device && before;
  }
  int share(int cores) const { return part_of(std::max(0, cores - devices), std::max(1, others), index); }
};

/// What affinity leaves to a rank without a device: ranks with the same cores divide them evenly, others by
/// the sharers of each core.
int affinity_share(const std::vector<RankCores>& ranks, const Host& host, size_t rank) {
  Sharers same;
  for (const size_t other : host.ranks)
    if (ranks[other].own == ranks[rank].own) same.add(ranks[other].device, other < rank);
  double share = 0;
  for (const int core : ranks[rank].own) share += 1.0 / host.users.at(core);
  return same.share(static_cast<int>(std::floor(share * (same.devices + same.others) + 1e-6)));
}

int quota_share(const std::vector<RankCores>& ranks, const Host& host, size_t rank) {
  if (!std::isfinite(host.quota)) return std::numeric_limits<int>::max();
  Sharers all;
  for (const size_t other : host.ranks) all.add(ranks[other].device, other < rank);
  return all.share(static_cast<int>(std::min(65536.0, std::floor(host.quota + 1e-6))));
}

/// A sentence when the ranks of a host are bound to fewer cores than the job has there and could use.
std::string binding_warning(const std::string& name, const Host& host, const std::vector<ThreadShare>& shares,
                            int wanted) {
  const int ranks = static_cast<int>(host.ranks.size()), bound = static_cast<int>(host.users.size());
  int threads = 0;
  for (const size_t rank : host.ranks) threads += shares[rank].threads;
  const auto quota = static_cast<int>(std::min(host.quota, 65536.0));
  const int allowed = std::min(static_cast<int>(host.job.size()), std::max(1, quota));
  const int useful = wanted > 0 ? std::min(allowed, wanted * ranks) : allowed;
  if (bound == 0 || bound >= useful) return "";
  const int each = std::max(1, useful / ranks);
  return "the " + std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks") + " on " + name + " may use " +
         std::to_string(bound) + " of " + std::to_string(useful) + " cores for " + std::to_string(threads) +
         (threads == 1 ? " thread" : " threads") +
         ": start with mpirun --bind-to none, or with --map-by slot:PE=" + std::to_string(each) +
         " --bind-to core.";
}

std::string encode(const RankCores& cores) {
  std::ostringstream text;
  text << cores.host << '\n'
       << cores.node << ' ' << cores.machine << ' ' << cores.device << ' '
       << (std::isfinite(cores.quota) ? cores.quota : -1.0);
  for (const std::vector<int>* list : {&cores.own, &cores.job}) {
    text << ' ' << list->size();
    for (const int core : *list) text << ' ' << core;
  }
  return text.str();
}

RankCores decode(const std::string& encoded) {
  RankCores cores;
  std::istringstream text(encoded);
  std::getline(text, cores.host);
  text >> cores.node >> cores.machine >> cores.device >> cores.quota;
  if (cores.quota < 0) cores.quota = std::numeric_limits<double>::infinity();
  for (std::vector<int>* list : {&cores.own, &cores.job}) {
    size_t count = 0;
    text >> count;
    list->resize(count);
    for (int& core : *list) text >> core;
  }
  return cores;
}

}  // namespace

RankCores local_cores(const std::string& root) {
  RankCores cores;
  char name[256] = {};
  cores.host = gethostname(name, sizeof name - 1) == 0 ? name : "this machine";
  cores.own = own_cores();
  cores.job = cores_of_process(root, getppid());
  cores.quota = cgroup_quota(root);
  return cores;
}

int usable_cores() {
  const RankCores cores = local_cores();
  const int quota = static_cast<int>(std::min(cores.quota, 65536.0));
  return std::max(1, std::min(static_cast<int>(cores.own.size()), quota));
}

std::vector<ThreadShare> share_cores(const std::vector<RankCores>& ranks, int wanted) {
  std::vector<ThreadShare> shares(ranks.size());
  std::string warning;
  for (const auto& [name, host] : hosts_of(ranks)) {
    for (const size_t rank : host.ranks) {
      const int share = std::min(affinity_share(ranks, host, rank), quota_share(ranks, host, rank));
      shares[rank].threads = ranks[rank].device ? 1 : wanted > 0 ? wanted : std::max(1, share);
      shares[rank].on_host = {static_cast<int>(host.nodes.size()), static_cast<int>(host.machines.size())};
    }
    if (warning.empty()) warning = binding_warning(name, host, shares, wanted);
  }
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    ThreadShare& share = shares[rank];
    share.warning = warning;
    share.node_threads = share.job_threads = 0;
    for (size_t other = 0; other < ranks.size(); ++other) {
      share.job_threads += shares[other].threads;
      if (ranks[other].node != ranks[rank].node) continue;
      share.node_threads += shares[other].threads;
      if (other < rank) share.node_first += shares[other].threads;
    }
  }
  return shares;
}

ThreadShare threads_per_rank(const comm::World& world, int wanted, bool device) {
  RankCores mine = local_cores();
  mine.node = world.node();
  mine.machine = world.machine();
  mine.device = device;
  std::vector<RankCores> ranks;
  for (const std::string& encoded : world.all_gather(encode(mine))) ranks.push_back(decode(encoded));
  ThreadShare share = share_cores(ranks, wanted)[static_cast<size_t>(world.rank())];
  share.domains = MemoryDomains(world);
  return share;
}

int threads_of_rank(const comm::World& world, int wanted) {
  const ThreadShare share = threads_per_rank(world, wanted);
  if (world.rank() == 0 && !share.warning.empty()) log_warning(share.warning);
  return share.threads;
}

}  // namespace lepton::train
