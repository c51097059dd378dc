// SPDX-License-Identifier: Apache-2.0
// See the header. Sums in double in order of the scores, exponentials from ops/math.h: the same choice on
// every machine.
#include "train/token_choice.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "ops/math.h"

namespace lepton::train {

int64_t TokenChoice::choose(std::span<const float> scores, uint64_t number) const {
  CHECK(!scores.empty(), "a choice among no tokens");
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto at = [&](int64_t i) { return scores[static_cast<size_t>(i)]; };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return at(a) > at(b); });
  if (temperature == 0) return order.front();
  if (top_k > 0 && top_k < std::ssize(order)) order.resize(static_cast<size_t>(top_k));
  std::vector<double> shares;
  double total = 0;
  for (const int64_t i : order) {
    const double distance = static_cast<double>(at(i)) - static_cast<double>(at(order.front()));
    shares.push_back(total +=
                     static_cast<double>(ops::math::exp(static_cast<float>(distance / temperature))));
  }
  const auto bits = philox4x32(stream_key(seed, Purpose::generate, 0),
                               {static_cast<uint32_t>(number), static_cast<uint32_t>(number >> 32), 0, 0});
  const double drawn = static_cast<double>(uniform01(bits[0])) * total;
  const auto found = std::upper_bound(shares.begin(), shares.end(), drawn);
  return order[std::min(static_cast<size_t>(found - shares.begin()), order.size() - 1)];
}

}  // namespace lepton::train
