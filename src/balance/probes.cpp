// SPDX-License-Identifier: Apache-2.0
// When a node without units is probed. A round with probes lasts as long as the slowest of them, however many
// they are: since all that are due wait for the same time without probes to pass, they go together and cost
// what the slowest costs.
#include "balance/probes.h"

#include <algorithm>

#include "base/error.h"

namespace lepton::balance {
namespace {

/// The time of a plan made now is known when the second plan after it is made.
constexpr int64_t plans_until_known = 2;
constexpr int64_t interval_max = 4096;
/// The time without probes after one, in times of the probe. Not cut at interval_max: that would let a node a
/// thousand times slower than a round take a fifth of the run.
constexpr double rest = 32;
constexpr double rest_max = 1e12;  // in plans: as good as for ever, and an integer

}  // namespace

Probes::Probes(std::vector<int> class_of_node)
    : class_of_node_(std::move(class_of_node)), idle_(class_of_node_.size()), chosen_(class_of_node_.size()) {
  if (!class_of_node_.empty())
    room_.resize(*std::max_element(class_of_node_.begin(), class_of_node_.end()) + 1);
}

bool Probes::repeats(const Idle& idle, bool quickened) const {
  return quickened && idle.may_repeat && plan_ - idle.since >= plans_until_known;
}

// The first probe waits for nothing else: a node that was slow for two rounds is back soon.
bool Probes::due(const Idle& idle) const {
  return plan_ - idle.since >= idle.interval && (idle.interval == plans_until_known || plan_ >= paid_until_);
}

std::span<const uint8_t> Probes::choose(std::span<const UnitRange> ordinary,
                                        std::span<const double> unit_ends, std::span<const uint8_t> quickened,
                                        std::span<const int64_t> class_begins) {
  CHECK(class_begins.size() == room_.size() + 1, "every class has nodes");
  ++plan_;
  std::fill(chosen_.begin(), chosen_.end(), 0);
  for (size_t c = 0; c < room_.size(); ++c) {
    const int64_t units = class_begins[c + 1] - class_begins[c];
    room_[c] = std::max(std::min<int64_t>(units, 1), units / 2);
  }
  double slowest = 0;
  bool any = false;
  for (size_t n = 0; n < idle_.size(); ++n) {
    Idle& idle = idle_[n];
    const size_t c = class_of_node_[n];
    if (class_begins[c] == class_begins[c + 1]) continue;  // that its class has no units tells nothing of it
    if (!ordinary[n].empty()) {
      idle = {};
      continue;
    }
    if (idle.interval == 0) idle = {.interval = plans_until_known, .since = plan_};
    const bool repeated = repeats(idle, quickened[n]);
    if (room_[c] == 0 || !(repeated || due(idle))) continue;
    chosen_[n] = 1;
    any = true;
    --room_[c];
    slowest = std::max(slowest, unit_ends[n]);
    // Repeated once, and not doubled by that: a noisy node must not be probed without end.
    idle = {repeated ? idle.interval : std::min(2 * idle.interval, interval_max), plan_, !repeated};
  }
  if (slowest > 1)
    paid_until_ = std::max(paid_until_, plan_) + static_cast<int64_t>(std::min(rest * slowest, rest_max));
  return any ? std::span<const uint8_t>(chosen_) : std::span<const uint8_t>();
}

}  // namespace lepton::balance
