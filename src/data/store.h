// SPDX-License-Identifier: Apache-2.0
// SampleStore: each row of each source resident on exactly one machine, once, in memory that all its ranks
// share, whatever nodes they form, in its stored type. Rows are cut over machines at chunk boundaries of the
// largest column; the ranks of a machine read their parts in large blocks, independently. One pass over the
// resident rows settles bad rows, labels, classes and the fingerprint, a second one the statistics (exact
// sums) of the train split; all are the same on any number of ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/shared_memory.h"
#include "comm/world.h"
#include "data/dataset.h"
#include "data/statistics.h"

namespace lepton::data {

struct Findings;

class SampleStore {
 public:
  /// **Collective.** Reads everything and settles `dataset`. Statistics come from the train split (if the
  /// spec normalises) unless `known` (from a checkpoint) is given. Throws, the same on all ranks,
  /// Error(data): truncated or unreadable data, bad labels, NaN/Inf under the policy (file, path, row);
  /// Error(memory) with needed and available bytes before anything is read.
  SampleStore(const comm::World& world, Dataset& dataset, const std::string& shm_directory,
              const Statistics* known);

  /// The machine on which a row of a source lives.
  int owner(int source, int64_t row) const;
  /// A resident row's bytes: inputs, then targets. CHECKs residence.
  const std::byte* row(int source, int64_t row) const;
  size_t row_bytes(int source) const { return parts_[static_cast<size_t>(source)].row_bytes; }
  /// Where this machine's rows of a source lie in this process: its first resident row, for tables of
  /// offsets.
  const std::byte* base(int source) const { return parts_[static_cast<size_t>(source)].memory.data(); }
  int64_t first_row(int source) const;
  const Statistics& statistics() const { return statistics_; }
  size_t resident_bytes() const;  ///< on this machine, of all its ranks together

 private:
  struct Part {
    std::vector<int64_t> begins;         // first row of each machine, and the end
    int64_t own_begin = 0, own_end = 0;  // rows that this rank reads and checks
    size_t row_bytes = 0;
    comm::SharedMemory memory;
  };
  void reserve(const Dataset& dataset, const std::string& shm_directory);
  void read(Dataset& dataset);
  void report_cut(const Dataset& dataset, const std::vector<Findings>& findings) const;
  void settle_labels(Dataset& dataset, std::vector<Findings>& findings);
  bool settle_classes(Dataset& dataset, size_t target, int64_t largest_label);
  void compute_statistics(const Dataset& dataset, const Statistics* known);

  const comm::World& world_;
  std::vector<Part> parts_;
  Statistics statistics_;
};

}  // namespace lepton::data
