// SPDX-License-Identifier: Apache-2.0
// For tests of workers: nodes with an outside that is made by hand, whose messages go when the test says so.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "balance/worker.h"
#include "base/error.h"

namespace lepton::balance {

using Units = std::vector<int32_t>;
constexpr Stamp stamp{5, 0, 3, 1};
constexpr int64_t units_max = 60;

struct Sent {
  int from = 0, to = 0;
  Message message;
};

/// What the nodes have sent, and the barrier that they have entered.
struct Between {
  std::vector<Sent> sent;
  std::set<std::pair<int, int64_t>> rows_here;  // by giver and number
  bool rows_wait = false;
  int entered = 0, nodes = 0;
  bool said_complete = false;  // a barrier that lies
};

class Node : public Outside {
 public:
  Node(Between& between, int number)
      : between_(between), number_(number), list_(units_max), worker(units_max, queue, *this) {}

  void send(int node, const Message& message) override { between_.sent.push_back({number_, node, message}); }
  void lend(int node, int64_t number, std::span<const int32_t> units) override {
    lent.push_back({node, number, {units.begin(), units.end()}});
  }
  void borrow(int node, int64_t number, std::span<const int32_t> units) override {
    borrows.push_back({node, number, {units.begin(), units.end()}});
    if (!between_.rows_wait) between_.rows_here.insert({node, number});
  }
  bool borrowed(int node, int64_t number) override { return between_.rows_here.contains({node, number}); }
  void enter_barrier() override {
    ++entered;
    ++between_.entered;
  }
  bool barrier_complete() override { return between_.said_complete || between_.entered == between_.nodes; }

  /// Takes and does a unit; -1: there is none.
  int32_t compute(double unit_s = 1) {
    const std::span<const int32_t> unit = queue.take();
    if (unit.empty()) return -1;
    queue.count_done(1, static_cast<int64_t>(unit_s * 1e9));
    return unit[0];
  }

 private:
  Between& between_;
  int number_;
  UnitQueueState state_;
  std::vector<int32_t> list_;

 public:
  struct Rows {
    int node;
    int64_t number;
    Units units;
    bool operator==(const Rows&) const = default;
  };
  UnitQueue queue{state_, list_};
  Worker worker;
  std::vector<Rows> lent, borrows;
  int entered = 0;
};

/// Nodes that begin a round of ten units each, of a second if the test does not say otherwise.
struct Job {
  explicit Job(int nodes, bool alone = false, int64_t units_each = 10, double unit_s = 1) {
    between.nodes = nodes;
    for (int n = 0; n < nodes; ++n) {
      all.push_back(std::make_unique<Node>(between, n));
      begin(n, stamp, alone, units_each, unit_s);
    }
  }
  void begin(int n, const Stamp& round, bool alone = false, int64_t units_each = 10, double unit_s = 1) {
    const NodePlan plan{units_each, 1, 0, unit_s, static_cast<double>(units_each) * unit_s};
    worker(n).begin(round, plan, {n * units_each, (n + 1) * units_each}, alone);
  }
  Worker& worker(int n) { return node(n).worker; }
  Node& node(int n) { return *all[static_cast<size_t>(n)]; }
  void give(int from, std::vector<Move> moves, double end_s = 0) {
    worker(from).receive(0, 0, {stamp, Give{std::move(moves), end_s}});
  }
  /// The messages of one kind that nobody has delivered yet.
  template <class Body>
  std::vector<std::pair<int, Body>> waiting() const {
    std::vector<std::pair<int, Body>> found;
    for (const Sent& sent : between.sent)
      if (const Body* body = std::get_if<Body>(&sent.message.body)) found.push_back({sent.to, *body});
    return found;
  }
  /// Delivers what was sent, and what follows; reports go nowhere.
  void deliver(double now_s = 0) {
    while (!between.sent.empty()) {
      const Sent sent = between.sent.front();
      between.sent.erase(between.sent.begin());
      if (!std::holds_alternative<Report>(sent.message.body))
        worker(sent.to).receive(now_s, sent.from, sent.message);
    }
  }
  /// All of a node's units are started and done, as planned.
  void run_dry(int n) {
    while (node(n).compute() >= 0) {
    }
    worker(n).poll(10);
  }

  Between between;
  std::vector<std::unique_ptr<Node>> all;
};

inline void expect_bug(const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::software);
  }
}

}  // namespace lepton::balance
