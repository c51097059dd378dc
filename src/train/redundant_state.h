// SPDX-License-Identifier: Apache-2.0
// RedundantState: copies of the state for losses that the living one (kept_state.h) does not survive. Every
// few seconds all nodes copy their slices, at a step boundary, into memory that outlives the processes, and
// parity of the copies goes to other nodes in the background (checkpoint/redundancy.h): a lost node costs the
// steps since the last copy. Of nodes that compute on a device, whose living state goes with the process, the
// copies are all there is.
// Two copies take turns: one is whole at any time. Leaders decide alike, from the same lanes; rank 0 votes.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "checkpoint/layout.h"
#include "checkpoint/redundancy.h"
#include "comm/shared_memory.h"
#include "exact/lanes.h"
#include "train/deck.h"
#include "train/kept_state.h"
#include "train/node_state.h"
#include "train/run_state.h"

namespace lepton::train {

class Job;

/// The two copies as they lie behind the head of a KeptState whose label has a shape of copies.
struct CopyViews {
  std::array<std::span<uint64_t>, 2> hashes;  ///< as Redundancy::begin() takes them
  std::array<std::span<std::byte>, 2> part, parity;
};
/// Bytes that they take; fills the views where there is memory.
size_t cut_copies(std::byte* memory, const KeptLabel& label, CopyViews& views);

/// A copy that counts, on all nodes.
struct RedundantCopy {
  int64_t step = 0;
  double seconds = 0;  ///< from the copy until its parity was there
  double cost_s = 0;   ///< of the main thread's time: standing still for the copy, sums for the parity
  int64_t bytes = 0;   ///< of this node's slice
};

class RedundantState {
 public:
  /// **Collective.** Takes the memory, in a file of this name; none where nobody needs the copies, or where
  /// there is too little, of which rank 0 tells.
  /// `remove_former`: called on leaders once a copy counts on all nodes.
  RedundantState(const Job& job, const std::string& name, int64_t generation,
                 const checkpoint::Identity& identity, std::function<void()> remove_former);
  ~RedundantState();
  RedundantState(const RedundantState&) = delete;
  RedundantState& operator=(const RedundantState&) = delete;
  /// The same on all ranks.
  bool exists() const { return memory_.bytes() > 0; }
  /// Where threads copy the node's slices to.
  StateCopy copy(int slot) const;
  /// **Local.** What they hold is on disk.
  void remove();

  // **Leaders.** Nothing happens where there is no memory.
  /// Into the lanes of a round; `step`: of a training round, else -1.
  void vote(exact::Lanes& lanes, int64_t step) const;
  /// From the lanes of all: a copy whose parity is there on all nodes counts from here on, if the round has
  /// proven the state `sound` of which it is.
  void observe(exact::Lanes& total, bool sound);
  /// Before a training round: the slot that threads shall first copy the state to; -1: none.
  int take_due(NodeState& node);
  /// The copies are complete.
  void begin(const RunState& state);
  void progress();
  /// The newest one, once.
  std::optional<RedundantCopy> take_copied() { return std::exchange(copied_, std::nullopt); }
  /// While others compute: removes what former starts have left, once copies of this one count everywhere.
  void after_release();
  /// Ends what is under way.
  void finish();

 private:
  bool due(int64_t step) const;
  bool make_room(const Job& job, size_t bytes);

  const comm::World& world_;
  const RunSpec& spec_;
  std::function<void()> remove_former_;  ///< empty once it was called
  KeptLabel label_;
  comm::SharedMemory memory_;
  std::optional<KeptState> kept_;
  CopyViews views_;
  std::unique_ptr<checkpoint::Redundancy> redundancy_;
  int64_t every_steps_ = 0;  ///< 0: by time
  bool due_ = false, in_flight_ = false;
  int slot_ = 0;  ///< of the next copy, or the one in flight
  int64_t step_ = 0;
  std::string small_state_;           ///< of the copy in flight
  double taken_s_ = 0, begun_s_ = 0;  ///< when threads began and ended the newest copy
  double cost_s_ = 0;                 ///< of main threads and of standing still, for it
  std::optional<RedundantCopy> copied_;
  bool begun_ = false, counts_ = false, count_everywhere_ = false;  ///< copies of this start
  bool given_up_ = false;                                           ///< the run state is too large to be kept
};

}  // namespace lepton::train
