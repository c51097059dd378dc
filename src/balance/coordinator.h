// SPDX-License-Identifier: Apache-2.0
// Coordinator: rank 0's side of stealing, beside its own computing: reports come in, orders go out. It holds
// no units and is asked nothing in a balanced step. Called by train in rank 0's main thread, and by the
// simulator.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "balance/policy.h"
#include "balance/protocol.h"
#include "balance/worker.h"

namespace lepton::balance {

class Coordinator {
 public:
  explicit Coordinator(Outside& outside) : outside_(outside) {}
  /// A round begins, with one plan per node.
  void begin(const Stamp& stamp, std::span<const NodePlan> plans);
  /// A report of this round.
  void receive(int from, const Message& message);
  /// Once no more messages are there: what follows from the reports and is due. Deciding on each by itself
  /// would act on what the next one corrects. Whether there were orders.
  bool decide(double now_s);
  /// When to decide next: after a report at once; infinite: not before one.
  double due_s() const { return policy_.due_s(); }

 private:
  Outside& outside_;
  MovePolicy policy_;
  Stamp stamp_;
  std::vector<Order> orders_;
};

}  // namespace lepton::balance
