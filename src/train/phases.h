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

/// (c), this thread's share: counts blocks of the slice whose checksum disagrees, adds their checksums to the
/// gradient's, and, with `norms`, their sums of squares from the rounded gradient.
void verify_blocks(NodeState& node, const ArenaLayout& layout, bool norms, BlockScratch& scratch,
                   exact::Lanes& lanes);

/// (d), this thread's share: with Outcome::accept updates the slice from header.slot into the other slot and
/// hashes its blocks; in any case clears all blocks of the accumulator.
void update_blocks(NodeState& node, const ArenaLayout& layout, const optim::Optimizer& optimizer,
                   BlockScratch& scratch);

/// Copies this node's slice of the current slot into the checkpoint's buffers, this thread's share.
void copy_state(NodeState& node, int moments, checkpoint::Writer& writer);

/// Hash of each block of `arena` into `hashes` (all of them): after initialisation and restart.
void hash_blocks(std::span<const float> arena, std::span<uint64_t> hashes);

}  // namespace lepton::train
