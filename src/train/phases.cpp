// SPDX-License-Identifier: Apache-2.0
// Block loops of the end of a step. Called by trainer in every compute thread, between the node's barriers.
#include "train/phases.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/failpoint.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/philox.h"
#include "ops/parameters_hash.h"
#include "ops/quantise.h"
#include "train/unit.h"

namespace lepton::train {

namespace {

constexpr int64_t grain_blocks = 2;

/// Calls work(block) for the blocks of [first, last) that this thread draws from `counter`.
template <class Work>
void for_drawn_blocks(std::atomic<int64_t>& counter, int64_t first, int64_t last, Work&& work) {
  for (;;) {
    const int64_t begin = first + counter.fetch_add(grain_blocks, std::memory_order_relaxed);
    if (begin >= last) return;
    for (int64_t b = begin; b < std::min(begin + grain_blocks, last); ++b) work(b);
  }
}

/// Rounded gradient of one segment, from the sums.
std::span<float> rounded(NodeState& node, const Segment& segment, BlockScratch& scratch) {
  const std::span<const int64_t> sums =
      node.accumulator().elements().subspan(segment.begin, segment.end - segment.begin);
  const std::span<float> gradient(scratch.gradient.data(), sums.size());
  ops::dequantise(sums, node.scales()[segment.tensor], gradient);
  return gradient;
}

double block_norm(NodeState& node, const ArenaLayout& layout, int64_t block, BlockScratch& scratch) {
  double sum = 0;
  for (int64_t s = layout.segment_begin(block); s < layout.segment_begin(block + 1); ++s) {
    const Segment& segment = layout.segments()[s];
    if (layout.tensors()[segment.tensor].role == TensorRole::parameter)
      sum += ops::sum_of_squares(rounded(node, segment, scratch));
  }
  return sum;
}

void update_segment(NodeState& node, const ArenaLayout& layout, const Segment& segment,
                    BlockScratch& scratch) {
  const int from = node.control().header.slot, to = 1 - from;
  const int64_t begin = segment.begin, count = segment.end - segment.begin,
                in_slice = begin - node.slice_begin();
  ops::SegmentState state;
  state.gradient = rounded(node, segment, scratch);
  state.parameters = node.parameters(from).subspan(begin, count);
  state.parameters_new = node.parameters(to).subspan(begin, count);
  for (int m = 0; m < 2; ++m) {
    if (node.moment(from, m).empty()) continue;
    state.moments[m] = node.moment(from, m).subspan(in_slice, count);
    state.moments_new[m] = node.moment(to, m).subspan(in_slice, count);
  }
  ops::update_segment(node.control().update, optim::tensor_rule(layout.tensors()[segment.tensor]), state);
}

std::span<const std::span<float>> moments_of(NodeState& node, int slot) {
  return node.all_moments(slot).first(static_cast<size_t>(node.moments()));
}

void update_block(NodeState& node, const ArenaLayout& layout, int64_t block, BlockScratch& scratch) {
  const int to = 1 - node.control().header.slot;
  for (int64_t s = layout.segment_begin(block); s < layout.segment_begin(block + 1); ++s)
    update_segment(node, layout, layout.segments()[s], scratch);
  node.block_hashes(to)[block] = ops::parameters_block_hash(node.parameters(to), block);
  node.parameter_sums(to)[block] = parameter_sum(node.parameters(to), block);
  node.moment_sums(to)[block] = moment_sum(moments_of(node, to), node.slice_begin(), node.slice_end(), block);
}

/// What lies in memory since the last step is what was written then.
void verify_state(NodeState& node, int64_t block, bool own, exact::Lanes& lanes) {
  const int slot = node.control().header.slot;
  const bool parameters = parameter_sum(node.parameters(slot), block) == node.parameter_sums(slot)[block];
  const bool moments = !own || moment_sum(moments_of(node, slot), node.slice_begin(), node.slice_end(),
                                          block) == node.moment_sums(slot)[block];
  if (parameters && moments) [[likely]]
    return;
  ++lanes.count(static_cast<int>(Count::damaged_blocks));
  log_warning(
      fmt::format("block {} of the {} is not what it was a step ago: a bit flipped in this machine's memory.",
                  block, parameters ? "optimizer's state" : "parameters"));
}

void verify_block(NodeState& node, int64_t block, exact::Lanes& lanes) {
  add_block_check(block, node.accumulator().checksums()[block], node.accumulator().intact(block), lanes);
}

bool in_slice(const NodeState& node, int64_t block) {
  return block * block_elements >= node.slice_begin() && block * block_elements < node.slice_end();
}

}  // namespace

int64_t blocks_up_to(int64_t cut) {
  return (cut + block_elements - 1) / block_elements;
}

uint64_t parameter_sum(std::span<const float> arena, int64_t block) {
  const size_t begin = static_cast<size_t>(block * block_elements);
  return ops::state_sum(arena.subspan(begin, std::min<size_t>(block_elements, arena.size() - begin)));
}

uint64_t moment_sum(std::span<const std::span<float>> moments, int64_t slice_begin, int64_t slice_end,
                    int64_t block) {
  const int64_t first = std::max(block * block_elements, slice_begin),
                last = std::min((block + 1) * block_elements, slice_end);
  uint64_t sum = 0;
  for (const std::span<float> moment : moments)
    sum += ops::state_sum(
        moment.subspan(static_cast<size_t>(first - slice_begin), static_cast<size_t>(last - first)));
  return sum;
}

void add_block_check(int64_t block, int64_t checksum, bool intact, exact::Lanes& lanes) {
  if (!intact) ++lanes.checksum_failures();
  int64_t& gradient = lanes.count(static_cast<int>(Count::gradient_checksum));
  gradient =
      static_cast<int64_t>(static_cast<uint64_t>(gradient) +
                           mix64(mix64(static_cast<uint64_t>(block)) ^ static_cast<uint64_t>(checksum)));
}

void pass_state_failpoints(NodeState& node) {
  if (!failpoints_armed()) return;
  const int slot = node.control().header.slot;
  failpoint("state.parameters", std::as_writable_bytes(node.parameters(slot)));
  for (int m = 0; m < node.moments(); ++m)
    failpoint("state.moments", std::as_writable_bytes(node.moment(slot, m)));
}

void fold_blocks(NodeState& node, const ArenaLayout& layout) {
  for_drawn_blocks(node.control().fold_next, 0, layout.blocks(), [&](int64_t b) {
    for (int domain = 1; domain < node.domains().count(); ++domain) {
      node.accumulator().fold(b, node.accumulator(domain));
      node.accumulator(domain).clear(b);
    }
  });
}

void verify_blocks(NodeState& node, const ArenaLayout& layout, BlockScratch& scratch, exact::Lanes& lanes) {
  failpoint("check");
  ExactSum norm;
  for_drawn_blocks(node.control().verify_next, 0, layout.blocks(), [&](int64_t b) {
    const bool own = in_slice(node, b);
    verify_state(node, b, own, lanes);
    if (!own) return;
    verify_block(node, b, lanes);
    norm.add(block_norm(node, layout, b, scratch));
  });
  lanes.add_exact(static_cast<int>(Exact::norm), norm);
}

void update_blocks(NodeState& node, const ArenaLayout& layout, BlockScratch& scratch) {
  const bool accept = node.control().outcome == Outcome::accept;
  if (accept) failpoint("optimizer");
  for_drawn_blocks(node.control().update_next, 0, layout.blocks(), [&](int64_t b) {
    if (accept && in_slice(node, b)) update_block(node, layout, b, scratch);
    node.accumulator().clear(b);
  });
}

void verify_and_update_blocks(NodeState& node, const ArenaLayout& layout, BlockScratch& scratch,
                              exact::Lanes& lanes) {
  failpoint("check");
  failpoint("optimizer");
  for_drawn_blocks(node.control().update_next, 0, layout.blocks(), [&](int64_t b) {
    const bool own = in_slice(node, b);
    verify_state(node, b, own, lanes);
    if (own) {
      verify_block(node, b, lanes);
      update_block(node, layout, b, scratch);
    }
    node.accumulator().clear(b);
  });
}

void copy_state(NodeState& node, const StateCopy& to) {
  const int slot = node.control().header.slot;
  const int64_t begin = node.slice_begin(), end = node.slice_end();
  for_drawn_blocks(node.control().copy_next, blocks_up_to(begin), blocks_up_to(end), [&](int64_t b) {
    const int64_t first = b * block_elements - begin;
    const int64_t count = std::min(block_elements, end - begin - first);
    const auto copy = [&](std::span<const float> from, size_t array) {
      std::copy_n(from.begin() + first, count, to[array].begin() + first);
    };
    copy(node.parameters(slot).subspan(begin, end - begin), 0);
    for (int m = 0; m < node.moments(); ++m) copy(node.moment(slot, m), 1 + static_cast<size_t>(m));
  });
}

void hash_state(NodeState& node, const ArenaLayout& layout, int slot) {
  for (int64_t b = 0; b < layout.blocks(); ++b) {
    node.block_hashes(slot)[b] = ops::parameters_block_hash(node.parameters(slot), b);
    node.parameter_sums(slot)[b] = parameter_sum(node.parameters(slot), b);
    if (in_slice(node, b))
      node.moment_sums(slot)[b] = moment_sum(moments_of(node, slot), node.slice_begin(), node.slice_end(), b);
  }
}

}  // namespace lepton::train
