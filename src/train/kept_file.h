// SPDX-License-Identifier: Apache-2.0
// The files of a node's state (kept_state.h) and of its copies (redundant_state.h) over a run: from begin()
// on they stay whatever happens to the processes, until the run has ended with its state on disk. Called by
// the command `train`.
#pragma once

#include <functional>
#include <optional>

#include "checkpoint/layout.h"
#include "train/job.h"
#include "train/redundant_state.h"
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

  /// **Collective.** The state is loaded: it is in slot 0. Then what former starts have left is removed; if
  /// the run goes on from it, their copies only when there are new ones.
  void begin(const Job& job, int64_t generation, const checkpoint::Identity& identity, const RunState& state);
  /// Of copies, from begin() on.
  RedundantState* redundant() { return &*redundant_; }
  /// **Local.** What they hold is on disk.
  void remove();

 private:
  NodeState& node_;
  std::function<void()> remove_former_;
  std::optional<RedundantState> redundant_;
  bool stays_ = false;
};

}  // namespace lepton::train
