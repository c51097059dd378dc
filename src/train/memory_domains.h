// SPDX-License-Identifier: Apache-2.0
// MemoryDomains: the NUMA domains of a host whose cores the ranks of this node may use. The node has one
// accumulator in the memory of each (DESIGN section 1.2): adding goes to the near one, and they are folded at
// the end of a step. Made by job, held by NodeState.
#pragma once

#include <string>
#include <vector>

#include "comm/world.h"

namespace lepton::train {

class MemoryDomains {
 public:
  /// One, wherever it lies.
  MemoryDomains() = default;
  /// **Collective.** Read from /sys (`root` is put before it, for tests); what cannot be read counts as one.
  /// LEPTON_MEMORY_DOMAINS=k pretends k domains, for tests: thread t of the node is in domain t modulo k.
  explicit MemoryDomains(const comm::World& world, const std::string& root = "");

  int count() const { return static_cast<int>(numbers_.size()); }
  /// The kernel's number of a domain, -1 where the kernel is not to be asked for its memory.
  int kernel_number(int domain) const { return numbers_[domain]; }
  /// The domain of the core that the calling thread runs on now; `thread`: its number within the node.
  int here(int thread) const;

 private:
  std::vector<int> numbers_{-1};
  std::vector<int> of_core_;  // domain by core
  bool pretended_ = false;
};

}  // namespace lepton::train
