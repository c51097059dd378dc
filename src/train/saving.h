// SPDX-License-Identifier: Apache-2.0
// Saving: a leader's part in checkpoints: votes for one when it is due, takes the copy at a step boundary,
// follows what the nodes report of their parts, and waits for the disk where it must. Called by conductor;
// leaders decide alike, from the same lanes.
#pragma once

#include <cstdint>

#include "checkpoint/writer.h"
#include "comm/world.h"
#include "exact/lanes.h"
#include "train/bookkeeper.h"
#include "train/node_state.h"
#include "train/run_state.h"

namespace lepton::train {

/// Where threads copy their node's slice of the state for the writer.
StateCopy copy_for(checkpoint::Writer& writer, const NodeState& node);

class Saving {
 public:
  /// `writer` null: nothing is saved. `bookkeeper`: rank 0 only, else null.
  Saving(const comm::World& world, NodeState& node, checkpoint::Writer* writer,
         const checkpoint::Identity& identity, Bookkeeper* bookkeeper)
      : world_(world), node_(node), writer_(writer), identity_(identity), bookkeeper_(bookkeeper) {}

  /// The state that the run begins with is on disk already; -1: none is.
  void saved(int64_t step) { last_step_ = step; }
  /// Into the lanes of a round: this node's report, and in a training round (`step`, else -1) rank 0's vote.
  void vote(exact::Lanes& lanes, int64_t step) const;
  /// From the lanes of all: commits or abandons what is complete on all nodes; notes votes.
  void observe(exact::Lanes& total);
  /// Before a training round: whether threads shall first copy the state.
  bool take_due();
  /// The run ends with this state: whether it is still to be saved. Then the copies are free.
  bool take_last(int64_t step);
  /// The copies are complete.
  void begin(const RunState& state);
  void progress() const {
    if (writer_) writer_->progress();
  }
  /// Training has failed: what is in flight is of a state before, and worth keeping.
  void fail();
  /// Waits for the checkpoint in flight. Error(io) when the last one could not be written.
  void close(int64_t step, const std::string& run_directory);

 private:
  bool finish();
  void note_committed() const;
  void prepare_copy();

  const comm::World& world_;
  NodeState& node_;
  checkpoint::Writer* writer_;
  const checkpoint::Identity& identity_;
  Bookkeeper* bookkeeper_;
  bool due_ = false, in_flight_ = false;
  int64_t last_step_ = -1;               ///< of the newest copy
  double prepared_s_ = 0, stood_s_ = 0;  ///< from when on, and how long, threads made the newest copy
};

}  // namespace lepton::train
