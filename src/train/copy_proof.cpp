// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/copy_proof.h"

#include <fmt/format.h>

#include "base/error.h"
#include "ops/parameters_hash.h"
#include "train/phases.h"

namespace lepton::train {

namespace {

/// Of all blocks of the arena those of the node's slice, which is cut at blocks.
std::vector<uint64_t> of_slice(NodeState& node, std::span<const uint64_t> of_blocks) {
  return {of_blocks.begin() + blocks_up_to(node.slice_begin()),
          of_blocks.begin() + blocks_up_to(node.slice_end())};
}

}  // namespace

CopyProof::CopyProof(NodeState& node) {
  const int slot = node.control().header.slot;
  parameter_hashes_ = of_slice(node, node.block_hashes(slot));
  if (node.sums_moments()) moment_sums_ = of_slice(node, node.moment_sums(slot));
}

void CopyProof::require(const StateCopy& copy) const {
  const auto slice = std::ssize(copy[0]);
  for (size_t i = 0; i < parameter_hashes_.size(); ++i) {
    const auto block = static_cast<int64_t>(i);
    const bool parameters = ops::parameters_block_hash(copy[0], block) == parameter_hashes_[i];
    const bool moments =
        moment_sums_.empty() ||
        moment_sum(std::span(copy).subspan(1, copy[2].empty() ? 1 : 2), 0, slice, block) == moment_sums_[i];
    REQUIRE(parameters && moments, Exit::io,
            fmt::format("block {} of the copy of the {}", i, parameters ? "optimizer's state" : "parameters"),
            "it is not what the last step left: a bit flipped in this machine's memory",
            "Should that happen again, have the machine's memory tested.");
  }
}

}  // namespace lepton::train
