// SPDX-License-Identifier: Apache-2.0
// For tests of what rank 0 decides: plans, reports and decisions in short.
#pragma once

#include <ostream>
#include <vector>

#include "balance/policy.h"

namespace lepton::balance {

inline NodePlan plan_of(int64_t units, double unit_s, int threads = 1, int node_class = 0) {
  const auto turns = static_cast<double>((units + threads - 1) / threads);
  return {units, threads, node_class, unit_s, turns * unit_s};
}

inline MovePolicy begun(const std::vector<NodePlan>& plans) {
  MovePolicy policy;
  policy.begin(plans);
  return policy;
}

struct Decision {
  int from = 0, to = 0;
  int64_t units = 0;
  bool operator==(const Decision&) const = default;
  friend void PrintTo(const Decision& d, std::ostream* out) {
    *out << d.from << " gives " << d.to << " " << d.units;
  }
};
using Decisions = std::vector<Decision>;

inline Decisions flat(const std::vector<Order>& orders) {
  Decisions all;
  for (const Order& order : orders)
    for (const Move& move : order.give.moves) all.push_back({order.from, move.node, move.units});
  return all;
}

inline std::vector<Order> decide(MovePolicy& policy, double now_s) {
  std::vector<Order> orders;
  policy.decide(now_s, orders);
  return orders;
}

inline Decisions decisions(MovePolicy& policy, double now_s) {
  return flat(decide(policy, now_s));
}

inline Report report(double at_s, int64_t left, double end_s, double unit_s, int64_t gives_seen = 0,
                     int64_t taken = 0) {
  return {at_s, left, end_s, unit_s, gives_seen, taken, {}};
}

inline Report idle(double at_s, double unit_s = 1, int64_t gives_seen = 0, int64_t taken = 0) {
  return report(at_s, 0, at_s, unit_s, gives_seen, taken);
}

}  // namespace lepton::balance
