// SPDX-License-Identifier: Apache-2.0
// Rank 0's side of stealing. See the header.
#include "balance/coordinator.h"

#include "base/error.h"

namespace lepton::balance {

void Coordinator::begin(const Stamp& stamp, std::span<const NodePlan> plans) {
  stamp_ = stamp;
  policy_.begin(plans);
}

void Coordinator::receive(int from, const Message& message) {
  const auto* report = std::get_if<Report>(&message.body);
  CHECK(report && message.stamp == stamp_, "rank 0 hears reports of this round");
  policy_.report(from, *report);
}

bool Coordinator::decide(double now_s) {
  if (now_s < policy_.due_s()) return false;
  policy_.decide(now_s, orders_);
  for (const Order& order : orders_) outside_.send(order.from, {stamp_, order.give});
  return !orders_.empty();
}

}  // namespace lepton::balance
