// SPDX-License-Identifier: Apache-2.0
// SampleStore: each row of each source resident on exactly one node, once, in node-shared memory, in its stored type.
// Rows are cut over nodes at chunk boundaries of the largest column; the ranks of a node read their parts in large
// blocks, independently. One pass over the resident rows settles bad rows, labels, classes, statistics (exact sums)
// and the fingerprint, the same on any number of ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/shared_memory.h"
#include "comm/world.h"
#include "data/dataset.h"
#include "data/statistics.h"

namespace lepton::data {

/// First row of each node's part, and the total behind: equal parts, moved to multiples of chunk_rows.
std::vector<int64_t> partition_rows(int64_t rows, int64_t chunk_rows, int nodes);

class SampleStore {
 public:
  /// **Collective.** Reads everything. Statistics come from the train split unless `known` (from a checkpoint) is
  /// given. Throws Error(data): truncated or unreadable data, bad labels, NaN/Inf under the policy (file, path, row);
  /// Error(memory) with needed and available bytes before anything is read.
  SampleStore(const comm::World& world, Dataset& dataset, const std::string& shm_directory, const Statistics* known);

  /// The node on which a row of a source lives.
  int owner(int source, int64_t row) const;
  /// A resident row's bytes: inputs, then targets. CHECKs residence.
  const std::byte* row(int source, int64_t row) const;
  size_t row_bytes(int source) const;
  const Statistics& statistics() const { return statistics_; }
  size_t resident_bytes() const;
  double read_s() const { return read_s_; }

 private:
  const comm::World& world_;
  struct Part {
    std::vector<int64_t> begins;
    size_t row_bytes = 0;
    comm::SharedMemory memory;
  };
  std::vector<Part> parts_;
  Statistics statistics_;
  double read_s_ = 0;
};

}  // namespace lepton::data
