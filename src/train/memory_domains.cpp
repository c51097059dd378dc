// SPDX-License-Identifier: Apache-2.0
// Domains from /sys/devices/system/node/nodeN/cpulist, those of all ranks of a node together. See the header.
#include "train/memory_domains.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "train/threads.h"

namespace lepton::train {

namespace {

/// Core -> kernel's number of its domain.
std::map<int, int> domains_of_cores(const std::string& root) {
  std::map<int, int> domains;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(root + "/sys/devices/system/node", none)) {
    int number = -1;
    if (std::sscanf(entry.path().filename().c_str(), "node%d", &number) != 1) continue;
    std::string list;
    std::getline(std::ifstream(entry.path() / "cpulist"), list);
    for (const int core : parse_core_list(list)) domains[core] = number;
  }
  return domains;
}

}  // namespace

MemoryDomains::MemoryDomains(const comm::World& world, const std::string& root) {
  const std::map<int, int> domains = domains_of_cores(root);
  const char* pretend = world.rank() == 0 ? std::getenv("LEPTON_MEMORY_DOMAINS") : nullptr;
  std::ostringstream mine;
  mine << world.node() << ' ' << (pretend ? std::atoi(pretend) : 0);
  for (const int core : local_cores(root).own)
    if (domains.contains(core)) mine << ' ' << domains.at(core);

  std::set<int> numbers;
  int pretended = 0;
  for (const std::string& text : world.all_gather(mine.str())) {
    std::istringstream theirs(text);
    int node = 0, wanted = 0;
    theirs >> node >> wanted;
    pretended = std::max(pretended, wanted);
    for (int number; node == world.node() && theirs >> number;) numbers.insert(number);
  }
  if (pretended > 0) {
    pretended_ = true;
    numbers_.assign(static_cast<size_t>(pretended), -1);
    return;
  }
  if (numbers.size() < 2) return;
  numbers_.assign(numbers.begin(), numbers.end());
  for (const auto& [core, number] : domains) {
    of_core_.resize(std::max(of_core_.size(), static_cast<size_t>(core) + 1), 0);
    const auto place = numbers.find(number);
    if (place != numbers.end()) of_core_[core] = static_cast<int>(std::distance(numbers.begin(), place));
  }
}

int MemoryDomains::here(int thread) const {
  if (pretended_) return thread % count();
  if (count() == 1) return 0;
  const int core = sched_getcpu();
  return core >= 0 && core < std::ssize(of_core_) ? of_core_[core] : 0;
}

}  // namespace lepton::train
