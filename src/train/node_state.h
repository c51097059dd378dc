// SPDX-License-Identifier: Apache-2.0
// NodeState: what the ranks of a node share: two slots of parameters and moments, the accumulator, the queue,
// the lanes, and the header that says what all compute threads do next. Exists once per node, whatever the
// number of ranks (DESIGN section 3). Invariants: slot `header.slot` is whole and read-only while a step
// runs; the other one is written in (d) and (e), by attempts that are then dropped too, and becomes current
// by the header's flip (f); lanes are merged under their lock before a barrier and read by the leader behind
// it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "balance/queue.h"
#include "comm/node_barrier.h"
#include "comm/shared_memory.h"
#include "comm/world.h"
#include "data/spec.h"
#include "exact/accumulator.h"
#include "exact/lanes.h"
#include "exact/node_lanes.h"
#include "optim/optimizer.h"
#include "tensor/arena.h"
#include "train/kept_state.h"
#include "train/memory_domains.h"

namespace lepton::train {

/// The kinds of rounds that are named after splits stand in their order.
inline data::SplitKind split_of(exact::RoundKind kind) {
  return kind == exact::RoundKind::evaluate_train ? data::SplitKind::train
                                                  : static_cast<data::SplitKind>(kind);
}

/// What the threads of the node do until the end of the round. Written by the leader between rounds.
struct RoundHeader {
  exact::RoundId id;
  int64_t ticket = 0;  ///< of the prepared rows; a redone attempt keeps it
  int64_t samples = 0, units = 0;
  int64_t epoch = 0;  ///< of a training round, from 0
  data::SplitKind split = data::SplitKind::train;
  bool run = false;       ///< false: leave the loop
  bool snapshot = false;  ///< first copy the state for a checkpoint
  int copy = -1;          ///< and into this slot of the redundant state; -1: none
  int slot = 0;           ///< parameters and moments to read
};

/// What follows an attempt, decided in (c), the same on all nodes. Order as in DESIGN section 4.
enum class Outcome : int {
  accept,
  skip,
  redo,
  repair,
  wrong_units,
  wrong_sums,
  wrong_parameters,
  damaged_state,
  non_finite
};

struct alignas(64) NodeControl {
  comm::NodeBarrierState barrier;
  balance::UnitQueueState queue;
  alignas(64) std::atomic<int64_t> fold_next{0};
  alignas(64) std::atomic<int64_t> verify_next{0};
  alignas(64) std::atomic<int64_t> update_next{0};
  alignas(64) std::atomic<int64_t> copy_next{0};
  RoundHeader header;
  Outcome outcome = Outcome::accept;
  int64_t blamed_unit = 0;  ///< of Outcome::non_finite
  int blamed_place = 0;     ///< node index, or nodes + tensor
  bool failed = false;      ///< the outcome ends the run: all ranks throw the same error after the loop
  ops::UpdateRule update;
};

/// What the host keeps of the state.
struct StateShape {
  int moments = 0;
  /// 1: both slots are one copy, of a device node, which has the slots on its device.
  int parameter_slots = 2, moment_slots = 2;
};
/// `device`: the node computes on one, and keeps here what goes to the other nodes and to files.
StateShape state_shape(int moments, bool device, int nodes);

/// The state as it lies in memory, behind the head of KeptState.
struct StateViews {
  std::array<std::span<float>, 2> parameters;
  std::array<std::array<std::span<float>, 2>, 2> moments;  ///< [slot][moment]
  std::array<std::span<uint64_t>, 2> parameter_sums, moment_sums;
};
/// Bytes that it takes; fills the views where there is memory.
size_t cut_state(std::byte* memory, int64_t elements, int64_t slice, const StateShape& shape,
                 StateViews& views);

/// Where a node's slice of the state is copied to: the parameters, then the moments that there are.
using StateCopy = std::array<std::span<float>, 3>;

/// Sizes that NodeState is cut for.
struct NodeSizes {
  int64_t max_samples = 0, max_units = 0;  ///< of any round
  int threads = 1;                         ///< of the node
  StateShape state = {};
  int tickets = 4;
  MemoryDomains domains = {};
  std::string kept_name = {};   ///< of the state's file, which stays when the processes die; "": it does not
  size_t kept_small_bytes = 0;  ///< room for run states in it
};

class NodeState {
 public:
  /// **Collective over the node.** slices: element offsets of the nodes' slices; lanes: their shape. Reserves
  /// all shared memory of the training state.
  NodeState(const comm::World& world, const ArenaLayout& layout, const NodeSizes& sizes,
            const exact::Lanes& lanes, std::span<const int64_t> slices, const std::string& shm_directory);

  NodeControl& control() { return *control_; }
  /// The head of the state's file.
  KeptState& kept() { return *kept_; }
  /// The state's file, on the node's leader where there is one that stays.
  const std::string& kept_path() const { return state_memory_.kept_path(); }
  /// Of the barrier: a place for each thread of the node.
  std::span<comm::Attendant> roster() { return roster_; }
  balance::UnitQueue queue() { return {control_->queue, queue_list_}; }
  std::span<float> parameters(int slot) { return parameters_[slot]; }
  /// Moment m of this node's slice: element i is arena element slice_begin() + i.
  std::span<float> moment(int slot, int m) { return moments_[slot][m]; }
  /// Both of them; those that there are not are empty.
  std::span<const std::span<float>> all_moments(int slot) { return moments_[slot]; }
  int moments() const { return moment_count_; }
  /// Whether moment_sums are taken: not where the moments lie on a device, and here is one copy of both
  /// slots.
  bool sums_moments() const { return moment_count_ > 0 && moments_[0][0].data() != moments_[1][0].data(); }
  int64_t slice_begin() const { return slice_begin_; }
  int64_t slice_end() const { return slice_end_; }
  /// The sum, once those of the other domains have been folded into it.
  exact::Accumulator& accumulator() { return accumulators_.front(); }
  /// Where threads of a memory domain add.
  exact::Accumulator& accumulator(int domain) { return accumulators_[domain]; }
  const MemoryDomains& domains() const { return domains_; }
  exact::NodeLanes& lanes() { return *lanes_; }
  std::span<int> scales() { return scales_; }
  std::span<uint32_t> overflow_bits() { return overflow_bits_; }
  /// Of the parameters, by block of the arena.
  std::span<uint64_t> block_hashes(int slot) { return block_hashes_[slot]; }
  /// Sums (ops::state_sum) of the parameters, and of all moments together, by block of the arena; of moments
  /// only those of the slice count.
  std::span<uint64_t> parameter_sums(int slot) { return parameter_sums_[slot]; }
  std::span<uint64_t> moment_sums(int slot) { return moment_sums_[slot]; }
  int64_t units_max() const { return std::ssize(unit_begins_.front()) - 1; }  ///< of any round
  std::span<int64_t> samples(int64_t ticket) { return samples_[ticket % tickets_]; }
  std::span<int64_t> unit_begins(int64_t ticket) { return unit_begins_[ticket % tickets_]; }
  size_t bytes() const {
    return control_memory_.bytes() + state_memory_.bytes() +
           accumulator_memory_.size() * accumulator_memory_.front().bytes();
  }

 private:
  MemoryDomains domains_;
  std::vector<comm::SharedMemory> accumulator_memory_;
  std::vector<exact::Accumulator> accumulators_;  ///< one per memory domain
  comm::SharedMemory control_memory_, state_memory_;
  std::optional<KeptState> kept_;
  NodeControl* control_ = nullptr;
  std::array<std::span<float>, 2> parameters_;
  std::array<std::array<std::span<float>, 2>, 2> moments_;  // [slot][moment]
  std::array<std::span<uint64_t>, 2> block_hashes_, parameter_sums_, moment_sums_;
  std::optional<exact::NodeLanes> lanes_;
  std::span<comm::Attendant> roster_;
  std::span<int32_t> queue_list_;
  std::span<int> scales_;
  std::span<uint32_t> overflow_bits_;
  std::vector<std::span<int64_t>> samples_, unit_begins_;
  int64_t slice_begin_ = 0, slice_end_ = 0;
  int tickets_ = 0, moment_count_ = 0;
};

/// Shared bytes of the training state of one node with `slice` of `elements` and so many memory domains: for
/// `check` and for the test of memory before training.
size_t node_state_bytes(const ArenaLayout& layout, int64_t slice_elements, const StateShape& shape,
                        int domains = 1);

}  // namespace lepton::train
