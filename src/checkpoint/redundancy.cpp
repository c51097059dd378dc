// SPDX-License-Identifier: Apache-2.0
// Stripe by stripe, chunk by chunk, parity block by parity block: each node multiplies its block by its
// coefficient, and an exclusive or over the nodes is the parity. See the header.
#include "checkpoint/redundancy.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace lepton::checkpoint {

namespace {

constexpr int group_max = 32;  // nodes
constexpr int places = 8;      // for chunks under way
constexpr size_t chunk_min = size_t{256} << 10, chunk_max = size_t{1} << 20;
constexpr size_t hashed_bytes = size_t{64} << 20;  // at a time, where that is all there is to do
constexpr size_t started_bytes = size_t{2} << 20;  // at a time: some 0.3 ms of multiplying

size_t whole_words(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

}  // namespace

NodeGroup NodeGroup::of(int node, int nodes) {
  const int64_t groups = (nodes + group_max - 1) / group_max;
  const auto begin = [&](int64_t group) { return static_cast<int>(group * nodes / groups); };
  int64_t group = static_cast<int64_t>(node) * groups / nodes;
  while (begin(group + 1) <= node) ++group;
  return {begin(group), begin(group + 1) - begin(group)};
}

size_t segment_bytes(const Rotation& rotation, size_t largest_part) {
  const auto segments = static_cast<size_t>(rotation.segments());
  return whole_words((largest_part + segments - 1) / segments);
}

uint64_t blocks_hash(std::span<const std::byte> blocks, size_t block_bytes) {
  std::vector<uint64_t> hashes;
  for (size_t at = 0; at < blocks.size(); at += block_bytes)
    hashes.push_back(hash64(blocks.subspan(at, block_bytes)));
  return hash64_of<uint64_t>(hashes);
}

Redundancy::Redundancy(const comm::World& world, const NodeGroup& group, int parity, size_t segment_bytes)
    : rotation_{group.count, parity},
      node_(world.node() - group.first),
      segment_bytes_(segment_bytes),
      chunk_bytes_(std::min(segment_bytes, std::clamp(whole_words(segment_bytes / 8), chunk_min, chunk_max))),
      code_(rotation_.segments(), parity),
      reduction_(world, group.first, group.count, places),
      chunks_(places) {
  CHECK(parity >= 0 && parity < group.count && group.count <= group_max, "fewer parity blocks than nodes");
  if (parity > 0) scratch_.resize(places * chunk_bytes_);
}

/// What is under way is left to MPI, with its memory (comm/xor_reduction.h).
Redundancy::~Redundancy() {
  if (!idle()) static_cast<void>(new std::vector<std::byte>(std::move(scratch_)));
}

void Redundancy::begin(std::span<const std::byte> part, std::span<std::byte> parity,
                       std::span<uint64_t> hashes) {
  CHECK(idle(), "one at a time");
  CHECK(part.size() == segment_bytes_ * static_cast<size_t>(rotation_.segments()) &&
            parity.size() == segment_bytes_ * static_cast<size_t>(rotation_.parity) &&
            std::ssize(hashes) == rotation_.nodes + 1,
        "blocks of one size");
  part_ = part;
  parity_ = parity;
  hashes_ = hashes;
  part_hashes_ = std::make_unique<StreamHash[]>(static_cast<size_t>(rotation_.segments()));
  parity_hashes_ = std::make_unique<StreamHash[]>(static_cast<size_t>(rotation_.parity));
  under_way_ = true;
  gathering_ = false;
  next_ = {};
  started_ = retired_ = 0;
}

void Redundancy::progress() {
  if (!under_way_) return;
  const auto place = [](int64_t chunk) { return static_cast<int>(chunk % places); };
  if (gathering_) {
    under_way_ = !reduction_.test(0);
    return;
  }
  for (; retired_ < started_ && reduction_.test(place(retired_)); ++retired_)
    retire(chunks_[static_cast<size_t>(place(retired_))]);
  const size_t most = rotation_.parity > 0 ? started_bytes : hashed_bytes;
  for (size_t bytes = 0; bytes < most && started_ - retired_ < places && next_.stripe < rotation_.nodes;
       bytes += chunk_bytes_)
    start();
  if (next_.stripe == rotation_.nodes && retired_ == started_) gather();
}

/// The next chunk: what this node adds to it.
void Redundancy::start() {
  next_.bytes = std::min(chunk_bytes_, segment_bytes_ - next_.at);
  const int block = rotation_.wrap(node_ - rotation_.parity - next_.stripe);
  std::span<const std::byte> mine;  // where this node has data in the stripe
  if (block < rotation_.segments())
    mine = part_.subspan(static_cast<size_t>(block) * segment_bytes_ + next_.at, next_.bytes);
  if (next_.to == 0 && !mine.empty()) part_hashes_[static_cast<size_t>(block)].add(mine);
  if (rotation_.parity > 0) {
    const auto place = static_cast<size_t>(started_++ % places);
    const std::span<std::byte> out = std::span(scratch_).subspan(place * chunk_bytes_, next_.bytes);
    std::fill(out.begin(), out.end(), std::byte{0});
    if (!mine.empty()) storage::multiply_add(code_.coefficient(next_.to, block), mine, out);
    reduction_.begin(static_cast<int>(place), out, parity_of(next_),
                     rotation_.parity_node(next_.stripe, next_.to));
    chunks_[place] = next_;
  }
  if (++next_.to < rotation_.parity) return;
  next_.to = 0;
  next_.at += next_.bytes;
  if (next_.at < segment_bytes_) return;
  next_.at = 0;
  ++next_.stripe;
}

/// Where its parity goes; nowhere on other nodes.
std::span<std::byte> Redundancy::parity_of(const Chunk& chunk) const {
  if (rotation_.parity_node(chunk.stripe, chunk.to) != node_) return {};
  return parity_.subspan(static_cast<size_t>(chunk.to) * segment_bytes_ + chunk.at, chunk.bytes);
}

void Redundancy::retire(const Chunk& chunk) {
  parity_hashes_[static_cast<size_t>(chunk.to)].add(parity_of(chunk));
}

void Redundancy::gather() {
  const auto combined = [](const StreamHash* hashes, int count) {
    std::vector<uint64_t> values;
    for (int i = 0; i < count; ++i) values.push_back(hashes[i].value());
    return hash64_of<uint64_t>(values);
  };
  hashes_[static_cast<size_t>(rotation_.nodes)] = combined(parity_hashes_.get(), rotation_.parity);
  reduction_.begin_gather(0, combined(part_hashes_.get(), rotation_.segments()),
                          hashes_.first(static_cast<size_t>(rotation_.nodes)));
  gathering_ = true;
}

}  // namespace lepton::checkpoint
