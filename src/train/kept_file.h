// SPDX-License-Identifier: Apache-2.0
// The file of a node's state (kept_state.h) over a run: from begin() on it stays whatever happens to the
// processes, until the run has ended with its state on disk. Called by the command `train`.
#pragma once

#include "checkpoint/layout.h"
#include "train/job.h"
#include "train/run_state.h"

namespace lepton::train {

class KeptFile {
 public:
  explicit KeptFile(NodeState& node) : node_(node) {}
  ~KeptFile() {
    if (!stays_) remove();
  }
  KeptFile(const KeptFile&) = delete;
  KeptFile& operator=(const KeptFile&) = delete;

  /// **Collective.** The state is loaded: it is in slot 0. Then what former starts have left is removed.
  void begin(const Job& job, int64_t generation, const checkpoint::Identity& identity, const RunState& state);
  /// **Local.** What it holds is on disk.
  void remove();

 private:
  NodeState& node_;
  bool stays_ = false;
};

}  // namespace lepton::train
