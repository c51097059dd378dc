// SPDX-License-Identifier: Apache-2.0
// Random plans on one to many machines and nodes: every row that a node computes is there with its own bytes,
// in place where its machine holds it, several rounds in flight; between two nodes a round is at most one
// message, and none on one machine; nothing is allocated per round once buffers are large enough.
#include "data/exchange.h"

#include <algorithm>
#include <deque>
#include <set>

#include "allocations.h"
#include "comm/count_messages.h"
#include "comm/worlds.h"
#include "data/planned_rows.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;
using comm::Alone;
using comm::for_each_machines;

/// Every row of this node's units; rows of other nodes are refused.
void check_rows(const Rows& setup, const Plan& plan, const comm::World& world) {
  for (size_t unit = 0; unit < plan.nodes.size(); ++unit) {
    const auto u = static_cast<int32_t>(unit);
    if (plan.nodes[unit] == world.node())
      setup.check_unit(world, plan, u);
    else if (world.node() == 0)
      setup.check_elsewhere(plan, u);
  }
}

/// `rounds` random rounds, `depth` of them in flight.
void fly(const comm::World& world, Rows& setup, int depth, int64_t rounds) {
  std::deque<Plan> flying;
  for (int64_t round = depth * 1000; round < depth * 1000 + rounds || !flying.empty(); ++round) {
    if (round < depth * 1000 + rounds) {
      flying.push_back(random_plan(round, setup.dataset, world.nodes()));
      if (world.leads()) setup.exchange.begin(flying.back().rows());
      if (static_cast<int>(flying.size()) < depth) continue;
    }
    if (world.leads()) {
      setup.exchange.progress();
      setup.exchange.finish(flying.front().round, {});
    }
    world.node_barrier();
    check_rows(setup, flying.front(), world);
    world.node_barrier();
    if (world.leads()) setup.exchange.end(flying.front().round);
    flying.pop_front();
  }
}

TEST(RowExchange, RandomPlansOnAnyNodesOfAnyMachines) {
  for_each_machines([](const comm::World& world, int, Alone) {
    Rows setup(world);
    for (int depth = 1; depth <= RowExchange::slots; ++depth) fly(world, setup, depth, 20);
  });
}

/// The messages of a round: a node gets one from each other machine of which it needs rows.
int64_t messages_of(const Plan& plan, const Rows& setup, const comm::World& world) {
  std::set<std::pair<int, int>> pairs;
  for (size_t unit = 0; unit < plan.nodes.size(); ++unit)
    for (int64_t p = plan.begins[unit]; p < plan.begins[unit + 1]; ++p)
      if (const int owner = setup.owner(plan, p); owner != world.machine_of(plan.nodes[unit]))
        pairs.emplace(plan.nodes[unit], owner);
  return static_cast<int64_t>(pairs.size());
}

TEST(RowExchange, ARoundIsOneMessageFromAMachineToANodeOfAnother) {
  for_each_machines([](const comm::World& world, int, Alone) {
    Rows setup(world);
    int64_t expected = 0;
    for (int64_t round = 2000; round < 2020; ++round)
      expected += messages_of(random_plan(round, setup.dataset, world.nodes()), setup, world);
    int64_t sent[1] = {comm::sent_in(comm::Channel::rows, [&] { fly(world, setup, 2, 20); }).messages};
    world.all_sum(sent);
    EXPECT_EQ(sent[0], expected);
    EXPECT_EQ(expected > 0, world.machines() > 1);
  });
}

TEST(RowExchange, TheNodesOfAMachineTakeTurnsInSending) {
  for_each_machines([](const comm::World& world, int, Alone) {
    std::vector<int> served(static_cast<size_t>(world.nodes()), 0);
    for (int node = 0; node < world.nodes(); ++node) {
      const std::vector<int> senders = row_senders(world, node);
      ASSERT_EQ(static_cast<int>(senders.size()), world.machines());
      for (int machine = 0; machine < world.machines(); ++machine) {
        const int sender = senders[static_cast<size_t>(machine)];
        if (machine == world.machine_of(node)) {
          EXPECT_EQ(sender, -1) << "rows of its own machine a node reads in place";
          continue;
        }
        ASSERT_TRUE(sender >= 0 && sender < world.nodes());
        EXPECT_EQ(world.machine_of(sender), machine);
        ++served[static_cast<size_t>(sender)];
      }
    }
    for (int node = 0; node < world.nodes(); ++node) {
      const std::vector<int>& beside = world.nodes_of(world.machine_of(node));
      const int nodes = static_cast<int>(beside.size()), receivers = world.nodes() - nodes;
      EXPECT_GE(served[static_cast<size_t>(node)], receivers / nodes);
      EXPECT_LE(served[static_cast<size_t>(node)], (receivers + nodes - 1) / nodes);
    }
  });
}

// Each node makes its rounds by itself, one after the other: none needs another.
TEST(RowExchange, OnOneMachineNothingIsSentAndRowsAreResidentOnce) {
  const int rank = comm::World().rank();
  for (const Alone who : {Alone::none, Alone::all, Alone::one_of_three}) {
    const comm::World world(60, 1000, stands_alone(rank, who));
    Rows setup(world);
    EXPECT_EQ(setup.store.resident_bytes(), static_cast<size_t>(samples * row_bytes));
    int64_t resident[1] = {world.machine_rank() == 0 ? static_cast<int64_t>(setup.store.resident_bytes())
                                                     : 0};
    world.all_sum(resident);
    EXPECT_EQ(resident[0], samples * row_bytes);
    for (int node = 0; node < world.nodes(); ++node) {
      world.barrier();
      if (node != world.node()) continue;
      const int64_t sent = comm::sent_in(comm::Channel::rows, [&] { fly(world, setup, 2, 20); }).messages;
      EXPECT_EQ(sent, 0);
    }
    world.barrier();
  }
}

TEST(RowExchange, AllocatesNothingPerRound) {
  for_each_machines([](const comm::World& world, int, Alone) {
    Rows setup(world);
    std::vector<Plan> plans;
    for (int64_t round = 0; round < 60; ++round)
      plans.push_back(random_plan(round, setup.dataset, world.nodes()));
    for (int pass = 0; pass < 2; ++pass) {
      const int64_t count = allocations_of([&] {
        for (Plan& plan : plans) {
          plan.round += 60;
          if (!world.leads()) continue;
          setup.exchange.begin(plan.rows());
          setup.exchange.finish(plan.round, {});
          setup.exchange.end(plan.round);
        }
      });
      if (pass == 1) {
        EXPECT_EQ(count, 0);
      }
    }
  });
}

TEST(RowExchange, MisuseIsABug) {
  const comm::World world(60, 1000);
  Rows setup(world);
  if (!world.leads()) return;
  const Plan plan = random_plan(7, setup.dataset, 1);
  expect_error(Exit::software, "has not begun", [&] { setup.exchange.finish(7, {}); });
  expect_error(Exit::software, "round 7", [&] { setup.exchange.row(7, 0); });
  setup.exchange.begin(plan.rows());
  expect_error(Exit::software, "slot in use",
               [&] { setup.exchange.begin(random_plan(11, setup.dataset, 1).rows()); });
  expect_error(Exit::software, "position", [&] { setup.exchange.row(7, largest); });
  setup.exchange.end(7);
  expect_error(Exit::software, "has not begun", [&] { setup.exchange.end(7); });
}

}  // namespace
}  // namespace lepton::data
