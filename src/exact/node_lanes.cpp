// SPDX-License-Identifier: Apache-2.0
// Two banks of lanes in node-shared memory. Zeroed memory is not cleared lanes (their identities are not all
// zero), so each bank says whether it is used, and the first to add overwrites it.
#include "exact/node_lanes.h"

#include <algorithm>

#include "base/error.h"
#include "exact/lock_word.h"

namespace lepton::exact {

static constexpr size_t head_bytes = 64;

static size_t bank_words(const Lanes& shape) {
  return (shape.values().size() + 7) / 8 * 8;
}

size_t NodeLanes::bytes(const Lanes& shape) {
  return head_bytes + 2 * bank_words(shape) * sizeof(int64_t);
}

NodeLanes::NodeLanes(const Lanes& shape, std::span<std::byte> memory)
    : head_(*reinterpret_cast<Head*>(memory.data())),
      lanes_(shape.values().size()),
      sum_count_(shape.sum_count()),
      tallies_(shape.tally_count()) {
  static_assert(sizeof(Head) <= head_bytes);
  CHECK(memory.size() >= bytes(shape), "room for two banks");
  words_ = {reinterpret_cast<int64_t*>(memory.data() + head_bytes), 2 * bank_words(shape)};
}

std::span<int64_t> NodeLanes::bank(int64_t round) const {
  return words_.subspan(static_cast<size_t>(round & 1) * words_.size() / 2, lanes_);
}

void NodeLanes::add(int64_t round, const Lanes& mine) {
  CHECK(mine.values().size() == lanes_, "lanes of one shape");
  LockWord lock(head_.lock);
  lock.lock("lanes of the node");
  const std::span<int64_t> to = bank(round);
  uint32_t &used = head_.used[round & 1], &tallied = head_.tallied[round & 1];
  if (!used) tallied = 0;
  const auto merge = [&](bool onto, size_t begin, size_t end, size_t sums) {
    const auto from = mine.values().subspan(begin, end - begin);
    if (onto)
      merge_words(to.subspan(begin, end - begin), from, sums - begin);
    else
      std::copy(from.begin(), from.end(), to.begin() + static_cast<ptrdiff_t>(begin));
  };
  merge(used != 0, tallies_, lanes_, sum_count_);
  if (mine.tallied()) {
    merge(tallied != 0, 0, tallies_, tallies_);
    tallied = 1;
  }
  used = 1;
  lock.unlock();
}

void NodeLanes::take(int64_t round, Lanes& out) {
  CHECK(out.values().size() == lanes_, "lanes of one shape");
  LockWord lock(head_.lock);
  lock.lock("lanes of the node");
  const std::span<int64_t> from = bank(round);
  out.clear();
  if (head_.used[round & 1]) {
    std::copy(from.begin() + static_cast<ptrdiff_t>(tallies_), from.end(),
              out.values().begin() + static_cast<ptrdiff_t>(tallies_));
    if (head_.tallied[round & 1]) std::copy_n(from.begin(), tallies_, out.tallies().begin());
  }
  head_.used[round & 1] = head_.tallied[round & 1] = 0;
  lock.unlock();
}

}  // namespace lepton::exact
