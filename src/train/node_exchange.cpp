// SPDX-License-Identifier: Apache-2.0
// See the header. Called by conductor in the serial sections of a step.
#include "train/node_exchange.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/failpoint.h"
#include "ops/parameters_hash.h"
#include "train/phases.h"

namespace lepton::train {

void require_gathered(bool equal, int64_t block, size_t owner) {
  REQUIRE(equal, Exit::io, fmt::format("block {}", block),
          fmt::format("the parameters that node {} sent do not give their checksum", owner),
          "Memory or the network is unreliable; run again from the last checkpoint, on other nodes if it "
          "recurs.");
}

void HostExchange::reduce_sums(const Poll& poll) {
  if (slices_.elements.size() == 2) return;  // one node
  const auto reduce = [&](std::span<int64_t> sums, std::span<const int64_t> offsets) {
    failpoint("reduce", std::as_writable_bytes(sums));
    reduction_.reduce_scatter(sums, offsets, poll);
  };
  reduce(node_.accumulator().elements(), slices_.elements);
  reduce(node_.accumulator().checksums(), slices_.blocks);
}

void HostExchange::gather_parameters(int slot, const Poll& poll) {
  if (slices_.elements.size() == 2) return;
  const std::span<float> parameters = node_.parameters(slot);
  const std::span<uint64_t> hashes = node_.block_hashes(slot);
  reduction_.all_gather(std::as_writable_bytes(parameters), slices_.elements, sizeof(float), poll);
  reduction_.all_gather(std::as_writable_bytes(hashes), slices_.blocks, sizeof(uint64_t), poll);
  for (size_t owner = 0; owner + 1 < slices_.elements.size(); ++owner) {
    const int64_t begin = slices_.elements[owner], end = slices_.elements[owner + 1];
    const bool own = begin == node_.slice_begin() && end == node_.slice_end();
    if (begin == end || own) continue;
    failpoint("gather", std::as_writable_bytes(parameters.subspan(static_cast<size_t>(begin), 1)));
    for (int64_t b = slices_.blocks[owner]; b < slices_.blocks[owner + 1]; ++b) {
      require_gathered(ops::parameters_block_hash(parameters, b) == hashes[static_cast<size_t>(b)], b, owner);
      node_.parameter_sums(slot)[static_cast<size_t>(b)] = parameter_sum(parameters, b);
    }
  }
}

}  // namespace lepton::train
