// SPDX-License-Identifier: Apache-2.0
// Who sends what to whom follows from layout and slices alone, so no message carries a header: both ends post
// the same spans in the same order (by array, for each pair of nodes).
#include "checkpoint/shard_exchange.h"

#include <algorithm>

#include "base/error.h"

namespace lepton::checkpoint {

ShardExchange::ShardExchange(const comm::World& world, const StateLayout& layout, std::vector<int64_t> slices,
                             std::span<const float> copy)
    : world_(world), layout_(layout), slices_(std::move(slices)), copy_(copy) {
  CHECK(static_cast<int>(slices_.size()) == world.nodes() + 1 && slices_.front() == 0 &&
            slices_.back() == layout.elements && std::is_sorted(slices_.begin(), slices_.end()),
        "slices do not cut the state");
}

int64_t ShardExchange::rounds() const {
  return (layout_.shards() + world_.nodes() - 1) / world_.nodes();
}

std::optional<int64_t> ShardExchange::shard_of(int64_t round) const {
  const int64_t shard = round * world_.nodes() + world_.node();
  return shard < layout_.shards() ? std::optional(shard) : std::nullopt;
}

bool ShardExchange::lies_here(int64_t shard) const {
  const size_t node = static_cast<size_t>(world_.node());
  return slices_[node] <= layout_.shard_begin(shard) && layout_.shard_end(shard) <= slices_[node + 1];
}

std::span<const float> ShardExchange::of_copy(size_t array, int64_t begin, int64_t end) const {
  const size_t node = static_cast<size_t>(world_.node());
  const int64_t slice = slices_[node + 1] - slices_[node];
  return copy_.subspan(array * static_cast<size_t>(slice) + static_cast<size_t>(begin - slices_[node]),
                       static_cast<size_t>(end - begin));
}

void ShardExchange::post_receives(int64_t shard) {
  const int64_t begin = layout_.shard_begin(shard), end = layout_.shard_end(shard);
  foreign_.resize(layout_.arrays.size() * static_cast<size_t>(end - begin));
  for (size_t a = 0; a < layout_.arrays.size(); ++a)
    for (int node = 0; node < world_.nodes(); ++node) {
      const int64_t from = std::max(begin, slices_[static_cast<size_t>(node)]);
      const int64_t to = std::min(end, slices_[static_cast<size_t>(node) + 1]);
      if (node == world_.node() || from >= to) continue;
      const size_t offset = a * static_cast<size_t>(end - begin) + static_cast<size_t>(from - begin);
      batch_->receive(
          node, std::as_writable_bytes(std::span(foreign_).subspan(offset, static_cast<size_t>(to - from))));
    }
}

void ShardExchange::post_sends(int64_t round) {
  const size_t here = static_cast<size_t>(world_.node());
  for (int node = 0; node < world_.nodes(); ++node) {
    const int64_t shard = round * world_.nodes() + node;
    if (node == world_.node() || shard >= layout_.shards()) continue;
    const int64_t from = std::max(layout_.shard_begin(shard), slices_[here]);
    const int64_t to = std::min(layout_.shard_end(shard), slices_[here + 1]);
    if (from >= to) continue;
    for (size_t a = 0; a < layout_.arrays.size(); ++a)
      batch_->send(node, std::as_bytes(of_copy(a, from, to)));
  }
}

void ShardExchange::post(int64_t round) {
  CHECK(!batch_, "a round is still under way");
  if (world_.nodes() == 1) return;
  batch_ = std::make_unique<comm::MessageBatch>(world_, comm::Channel::shards, posted_++);
  const std::optional<int64_t> shard = shard_of(round);
  if (shard && !lies_here(*shard)) post_receives(*shard);
  post_sends(round);
}

bool ShardExchange::test() {
  if (batch_ && !batch_->test()) return false;
  batch_.reset();
  return true;
}

void ShardExchange::wait() {
  if (batch_) batch_->wait();
  batch_.reset();
}

std::vector<std::span<const float>> ShardExchange::arrays(int64_t shard) {
  const int64_t begin = layout_.shard_begin(shard), end = layout_.shard_end(shard);
  const size_t count = static_cast<size_t>(end - begin), here = static_cast<size_t>(world_.node());
  const int64_t from = std::max(begin, slices_[here]), to = std::min(end, slices_[here + 1]);
  std::vector<std::span<const float>> arrays;
  for (size_t a = 0; a < layout_.arrays.size(); ++a) {
    if (lies_here(shard)) {
      arrays.push_back(of_copy(a, begin, end));
      continue;
    }
    const std::span<float> whole = std::span(foreign_).subspan(a * count, count);
    if (from < to) std::ranges::copy(of_copy(a, from, to), whole.begin() + (from - begin));
    arrays.push_back(whole);
  }
  return arrays;
}

void ShardExchange::release() {
  foreign_ = {};
}

}  // namespace lepton::checkpoint
