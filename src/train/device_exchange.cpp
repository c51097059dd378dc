// SPDX-License-Identifier: Apache-2.0
// See the header. Called by conductor in the serial sections of a step.
#include "train/device_exchange.h"

#include <algorithm>

#include "base/failpoint.h"

namespace lepton::train {

DeviceExchange::DeviceExchange(DeviceState& state, const exact::Slices& slices, NodeState& node)
    : state_(state),
      slices_(slices),
      node_(node),
      found_(state.engine().device(), node.block_hashes(0).size_bytes(), "hashes of blocks"),
      hashes_(state.engine().device(), 2 * node.block_hashes(0).size_bytes(), "hashes from the device",
              MemoryKind::pinned) {}

void DeviceExchange::reduce_sums(const Poll& poll) {
  const auto reduce = [&](int64_t* sums, std::span<const int64_t> offsets) {
    if (failpoints_armed()) {
      state_.group()->finish(poll);
      Fetched<int64_t> first(state_, sums);
      failpoint("reduce", first.bytes());
    }
    state_.group()->reduce_scatter(sums, offsets, poll);
  };
  reduce(state_.sums().elements, slices_.elements);
  reduce(state_.sums().checksums, slices_.blocks);
  // Here and not where the sums are needed, for here messages move: others may need them to come this far.
  state_.group()->finish(poll);
}

void DeviceExchange::gather_parameters(int slot, const Poll& poll) {
  DeviceGroup& group = *state_.group();
  float* const parameters = state_.parameters(slot);
  group.all_gather(parameters, slices_.elements, sizeof(float), poll);
  group.all_gather(state_.hashes(), slices_.blocks, sizeof(uint64_t), poll);
  group.finish(poll);
  for (size_t owner = 0; failpoints_armed() && owner + 1 < slices_.elements.size(); ++owner) {
    const int64_t begin = slices_.elements[owner], end = slices_.elements[owner + 1];
    if (begin == end || begin == node_.slice_begin()) continue;
    Fetched<float> first(state_, parameters + begin);
    failpoint("gather", first.bytes());
  }
  const std::span<uint64_t> all = node_.block_hashes(slot);
  const auto stated = hashes_.as<uint64_t>().first(all.size()),
             found = hashes_.as<uint64_t>().last(all.size());
  state_.engine().step_math->hash_blocks(parameters, state_.elements(), 0, std::ssize(all),
                                         found_.as<uint64_t>().data());
  Queue& queue = *state_.engine().queue;
  queue.copy(stated.data(), state_.hashes(), stated.size_bytes());
  queue.copy(found.data(), found_.data(), found.size_bytes());
  group.finish(poll);
  for (size_t owner = 0; owner + 1 < slices_.blocks.size(); ++owner)
    for (int64_t b = slices_.blocks[owner]; b < slices_.blocks[owner + 1]; ++b)
      require_gathered(found[static_cast<size_t>(b)] == stated[static_cast<size_t>(b)], b, owner);
  std::copy(stated.begin(), stated.end(), all.begin());
}

}  // namespace lepton::train
