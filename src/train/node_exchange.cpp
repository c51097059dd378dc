// SPDX-License-Identifier: Apache-2.0
// See the header. Called by conductor in the serial sections of a step.
#include "train/node_exchange.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/failpoint.h"
#include "ops/parameters_hash.h"

namespace lepton::train {

void reduce_sums(comm::LeaderReduction& reduction, const exact::Slices& slices, NodeState& node,
                 const std::function<void()>& poll) {
  if (slices.elements.size() == 2) return;  // one node
  reduction.reduce_scatter(node.accumulator().elements(), slices.elements, poll);
  reduction.reduce_scatter(node.accumulator().checksums(), slices.blocks, poll);
}

static void verify_slice(std::span<const float> parameters, std::span<const uint64_t> hashes,
                         int64_t first_block, int64_t end_block, size_t owner) {
  for (int64_t b = first_block; b < end_block; ++b)
    REQUIRE(ops::parameters_block_hash(parameters, b) == hashes[b], Exit::io, fmt::format("block {}", b),
            fmt::format("the parameters that node {} sent do not give their checksum", owner),
            "Memory or the network is unreliable; run again from the last checkpoint, on other nodes if it "
            "recurs.");
}

void gather_parameters(comm::LeaderReduction& reduction, const exact::Slices& slices, NodeState& node,
                       int slot, const std::function<void()>& poll) {
  if (slices.elements.size() == 2) return;
  const std::span<float> parameters = node.parameters(slot);
  const std::span<uint64_t> hashes = node.block_hashes(slot);
  reduction.all_gather(std::as_writable_bytes(parameters), slices.elements, sizeof(float), poll);
  reduction.all_gather(std::as_writable_bytes(hashes), slices.blocks, sizeof(uint64_t), poll);
  for (size_t owner = 0; owner + 1 < slices.elements.size(); ++owner) {
    const int64_t begin = slices.elements[owner], end = slices.elements[owner + 1];
    const bool own = begin == node.slice_begin() && end == node.slice_end();
    if (begin == end || own) continue;
    failpoint("gather", std::as_writable_bytes(parameters.subspan(static_cast<size_t>(begin), 1)));
    verify_slice(parameters, hashes, slices.blocks[owner], slices.blocks[owner + 1], owner);
  }
}

}  // namespace lepton::train
