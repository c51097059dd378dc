// SPDX-License-Identifier: Apache-2.0
// See the header. One period of the sequence is mixed by smooth weighted round-robin: at each place every
// class earns its share, and the richest, who then pays the period, has the place. A round takes the next so
// many places, and its units are handed out class after class, so that a node's units lie together.
#include "balance/class_shares.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace lepton::balance {

ClassShares::ClassShares(std::span<const int64_t> shares) : shares_(shares.begin(), shares.end()) {
  CHECK(!shares_.empty() && std::ranges::all_of(shares_, [](int64_t share) { return share > 0; }),
        "every class has a share");
  period_ = std::accumulate(shares_.begin(), shares_.end(), int64_t{0});
  const size_t classes = shares_.size();
  std::vector<int64_t> wealth(classes, 0);
  before_.assign(static_cast<size_t>(period_ + 1) * classes, 0);
  for (size_t place = 0; place < static_cast<size_t>(period_); ++place) {
    for (size_t c = 0; c < classes; ++c) wealth[c] += shares_[c];
    const auto richest = static_cast<size_t>(std::max_element(wealth.begin(), wealth.end()) - wealth.begin());
    wealth[richest] -= period_;
    for (size_t c = 0; c < classes; ++c)
      before_[(place + 1) * classes + c] = before_[place * classes + c] + (c == richest);
  }
}

int64_t ClassShares::among_first(int64_t count, size_t c) const {
  return count / period_ * shares_[c] + before_[static_cast<size_t>(count % period_) * shares_.size() + c];
}

void ClassShares::cut(int64_t number, int64_t units, std::vector<int64_t>& begins) const {
  begins.assign(shares_.size() + 1, 0);
  const int64_t first = number * units;
  for (size_t c = 0; c < shares_.size(); ++c)
    begins[c + 1] = begins[c] + among_first(first + units, c) - among_first(first, c);
  CHECK(begins.back() == units, "the classes share all units");
}

}  // namespace lepton::balance
