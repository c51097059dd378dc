// SPDX-License-Identifier: Apache-2.0
// The phases of a step's end that all compute threads of a node share, block by block from a common counter
// (DESIGN section 4.4): verifying the reduced sums, updating the slice, copying the state for a checkpoint.
// Which thread takes which block does not matter to the bits.
#pragma once

#include <array>
#include <functional>
#include <span>
#include <vector>

#include "checkpoint/writer.h"
#include "exact/lanes.h"
#include "optim/optimizer.h"
#include "tensor/arena.h"
#include "train/node_state.h"

namespace lepton::train {

/// Scratch of one thread: one block of floats.
struct BlockScratch {
  alignas(64) std::array<float, block_elements> gradient;
};

/// The block that begins at a cut of the arena; an empty slice at its end begins behind the last block.
int64_t blocks_up_to(int64_t cut);

/// (a), this thread's share: adds the other memory domains' sums to the first one's and clears them.
void fold_blocks(NodeState& node, const ArenaLayout& layout);

/// What the lanes say of a block of the slice: whether its elements gave the checksum that came with them.
void add_block_check(int64_t block, int64_t checksum, bool intact, exact::Lanes& lanes);

/// The phases below verify the state that they read, block by block, against the sums that were taken when it
/// was written, a step ago: Count::damaged_blocks counts what a bit flipped in since.

/// The sum of a block of parameters; of all moments of a block of the slice [slice_begin, slice_end).
uint64_t parameter_sum(std::span<const float> arena, int64_t block);
uint64_t moment_sum(std::span<const std::span<float>> moments, int64_t slice_begin, int64_t slice_end,
                    int64_t block);

/// **The leader's main thread**, before those phases: where a test flips bits of the state.
void pass_state_failpoints(NodeState& node);

/// One pass, this thread's share, where the update needs no norm: counts blocks of the slice whose checksum
/// disagrees, adds their checksums to the gradient's, updates them from header.slot into the other slot,
/// before anybody knows whether that will be the state (if not, nobody looks at it), and hashes them; clears
/// all blocks of the accumulator.
void verify_and_update_blocks(NodeState& node, const ArenaLayout& layout, BlockScratch& scratch,
                              exact::Lanes& lanes);

/// Two passes, where the update needs the norm of the whole gradient. The first, before (c): as above without
/// the update; adds the blocks' sums of squares, from the rounded gradient.
void verify_blocks(NodeState& node, const ArenaLayout& layout, BlockScratch& scratch, exact::Lanes& lanes);
/// The second, after (c): with Outcome::accept updates and hashes the slice; in any case clears all blocks.
void update_blocks(NodeState& node, const ArenaLayout& layout, BlockScratch& scratch);

/// Copies this node's slice of the current slot, this thread's share.
void copy_state(NodeState& node, const StateCopy& to);

/// **One thread of the node.** Hashes and sums of the whole state in a slot: after initialisation and
/// restart.
void hash_state(NodeState& node, const ArenaLayout& layout, int slot);

}  // namespace lepton::train
