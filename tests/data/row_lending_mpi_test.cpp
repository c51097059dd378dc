// SPDX-License-Identifier: Apache-2.0
// Units that move within a round, at random, on to third nodes and back, several batches between two nodes at
// once and the next round's rows in flight: their rows are with the node that has them now, byte for byte;
// what the thief's machine holds is not sent; what a node has had keeps its place.
#include "data/row_lending.h"

#include "base/waiting.h"
#include "comm/count_messages.h"
#include "comm/worlds.h"
#include "data/planned_rows.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;
using comm::Alone;
using comm::for_each_machines;

struct Move {
  int from = 0, to = 0;
  int64_t number = 0;
  std::vector<int32_t> units;
};
/// Moves that are under way together: each of a unit that its giver had before.
using Wave = std::vector<Move>;

/// The same on every rank. `holders`: the node of each unit, before and after. `numbers`: by giver.
Wave random_wave(std::mt19937& random, std::vector<int>& holders, std::vector<int64_t>& numbers) {
  const auto nodes = static_cast<unsigned>(numbers.size());
  Wave wave;
  std::vector<int> after = holders;
  std::vector<char> moved(holders.size(), 0);
  for (int tries = 0; tries < 8 && nodes > 1; ++tries) {
    Move move;
    move.from = holders[random() % holders.size()];
    move.to = (move.from + 1 + static_cast<int>(random() % (nodes - 1))) % static_cast<int>(nodes);
    if (tries % 2 == 1 && !wave.empty()) {  // a second batch between the same two
      move.from = wave.back().from;
      move.to = wave.back().to;
    }
    for (size_t unit = 0; unit < holders.size() && move.units.size() < 1 + random() % 3; ++unit)
      if (holders[unit] == move.from && !moved[unit]) {
        move.units.insert(move.units.begin(), static_cast<int32_t>(unit));
        moved[unit] = 1;
        after[unit] = move.to;
      }
    if (move.units.empty()) continue;
    move.number = numbers[static_cast<size_t>(move.from)]++;
    wave.push_back(move);
  }
  holders = after;
  return wave;
}

/// **Leaders.** Until this node has the rows of all that moves to it. Batches are borrowed in the opposite
/// order of their numbers.
void follow(const comm::World& world, Rows& setup, int64_t round, const Wave& wave, bool borrow_first) {
  RowLending& lending = setup.exchange.lending();
  const auto lend = [&] {
    for (const Move& move : wave)
      if (move.from == world.node()) lending.lend(round, move.to, move.number, move.units);
  };
  if (!borrow_first) lend();
  for (auto move = wave.rbegin(); move != wave.rend(); ++move)
    if (move->to == world.node()) lending.borrow(round, move->from, move->number, move->units);
  if (borrow_first) lend();
  Pace pace;
  for (const Move& move : wave)
    while (move.to == world.node() && !lending.borrowed(round, move.from, move.number)) {
      setup.exchange.progress();
      pace.step();
      ASSERT_LT(pace.waited_s(), 60) << "batch " << move.number << " of node " << move.from;
    }
}

void check_moved(const comm::World& world, const Rows& setup, const Plan& plan, const Wave& wave) {
  for (const Move& move : wave)
    for (const int32_t unit : move.units)
      if (move.to == world.node()) setup.check_unit(world, plan, unit);
}

/// Adds to `sent` what a wave needs: a message for each batch with rows that the thief's machine lacks.
void expect_sent(const comm::World& world, const Rows& setup, const Plan& plan, const Wave& wave,
                 comm::Sent& sent) {
  for (const Move& move : wave) {
    int64_t rows = 0;
    for (const int32_t unit : move.units) rows += setup.foreign(plan, unit, world.machine_of(move.to));
    sent.messages += rows > 0;
    sent.bytes += rows * row_bytes;
  }
}

/// Random rounds, two of them prepared, with random waves of moves in each; returns what it takes to send.
comm::Sent roam(const comm::World& world, Rows& setup, int64_t first, int64_t rounds) {
  comm::Sent expected;
  std::vector<int64_t> numbers(static_cast<size_t>(world.nodes()),
                               8185);  // their tags wrap around on the way
  const auto begin = [&](int64_t round) {
    Plan plan = random_plan(round, setup.dataset, world.nodes());
    if (world.leads()) setup.exchange.begin(plan.rows());
    return plan;
  };
  Plan plan = begin(first);
  for (int64_t round = first; round < first + rounds; ++round) {
    Plan next = begin(round + 1);
    std::mt19937 random(static_cast<unsigned>(round * 31));
    std::vector<int> holders = plan.nodes;
    std::vector<char> seen(holders.size());  // units that this node has, or had
    if (world.leads()) setup.exchange.finish(round, {});
    for (int turn = 0; turn < 4; ++turn) {
      for (size_t unit = 0; unit < holders.size(); ++unit) seen[unit] |= holders[unit] == world.node();
      const Wave wave = random_wave(random, holders, numbers);
      const bool borrow_first = random() % 2 == 0;  // on all ranks
      expect_sent(world, setup, plan, wave, expected);
      if (world.leads()) follow(world, setup, round, wave, borrow_first);
      world.node_barrier();
      check_moved(world, setup, plan, wave);
    }
    for (size_t unit = 0; unit < holders.size(); ++unit) {
      if (holders[unit] == world.node()) setup.check_unit(world, plan, static_cast<int32_t>(unit));
      if (holders[unit] != world.node() && !seen[unit] && world.node() == 0)
        setup.check_elsewhere(plan, static_cast<int32_t>(unit));
    }
    world.node_barrier();
    if (world.leads()) setup.exchange.end(round);
    plan = next;
  }
  if (world.leads()) setup.exchange.end(first + rounds);
  return expected;
}

TEST(RowLending, RowsFollowUnitsAndWhatTheThiefsMachineHoldsIsNotSent) {
  for_each_machines([](const comm::World& world, int, Alone) {
    Rows setup(world);
    comm::Sent expected;
    const comm::Sent sent =
        comm::sent_in(comm::Channel::lent, [&] { expected = roam(world, setup, 5000, 25); });
    int64_t all[2] = {sent.messages, sent.bytes};
    world.all_sum(all);
    EXPECT_EQ(all[0], expected.messages);
    EXPECT_EQ(all[1], expected.bytes);
    EXPECT_EQ(all[0] > 0, world.machines() > 1);
  });
}

/// A plan of `count` samples, random but for its nodes: all units start on `node`.
Plan plan_on(int node, int64_t round, int64_t count, const Rows& setup) {
  Plan plan = random_plan(round, setup.dataset, 1);
  plan.round = round;
  plan.ids.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    plan.ids[static_cast<size_t>(i)] = i * 17 % setup.dataset.split(plan.split).samples;
  plan.begins = cut_units(count, 10);
  plan.nodes.assign(plan.begins.size() - 1, node);
  return plan;
}

// Of the largest round there is: if rows took a new place whenever they come, the third time had none.
TEST(RowLending, WhatComesBackIsWhereItWas) {
  for_each_machines([](const comm::World& world, int, Alone) {
    if (world.nodes() == 1) return;
    Rows setup(world);
    const Plan plan = plan_on(0, 3, largest, setup);
    std::vector<int32_t> units(plan.nodes.size());
    for (size_t unit = 0; unit < units.size(); ++unit) units[unit] = static_cast<int32_t>(unit);
    if (world.leads()) {
      setup.exchange.begin(plan.rows());
      setup.exchange.finish(3, {});
    }
    std::vector<const std::byte*> places;
    int64_t number = 0;
    for (int lap = 0; lap < 3; ++lap)
      for (int from = 0; from < world.nodes(); ++from) {
        const int to = (from + 1) % world.nodes();
        if (world.leads()) follow(world, setup, 3, {{from, to, number++, units}}, lap == 1);
        world.node_barrier();
        if (world.node() != to) continue;
        check_moved(world, setup, plan, {{from, to, 0, units}});
        for (int64_t p = 0; p < largest; ++p)
          if (lap == 0)
            places.push_back(setup.exchange.row(3, p));
          else
            ASSERT_EQ(setup.exchange.row(3, p), places[static_cast<size_t>(p)]);
      }
    world.node_barrier();
    if (world.leads()) setup.exchange.end(3);
  });
}

// Nobody lends here: the thief needs nobody.
TEST(RowLending, OnOneMachineRowsAreThereAtOnce) {
  const int rank = comm::World().rank();
  for (const Alone who : {Alone::all, Alone::one_of_three}) {
    const comm::World world(60, 1000, stands_alone(rank, who));
    if (world.nodes() == 1) continue;
    Rows setup(world);
    const int other = (world.node() + 1) % world.nodes();
    const Plan plan = plan_on(other, 9, 50, setup);
    const std::vector<int32_t> units{4, 0};
    if (world.leads()) {
      setup.exchange.begin(plan.rows());
      setup.exchange.lending().borrow(9, other, 1, units);
      EXPECT_TRUE(setup.exchange.lending().borrowed(9, other, 1));
    }
    world.node_barrier();
    for (const int32_t unit : units) setup.check_unit(world, plan, unit);
    setup.check_elsewhere(plan, 1);
    world.node_barrier();
    if (world.leads()) setup.exchange.end(9);
  }
}

TEST(RowLending, MisuseIsABug) {
  const comm::World world(60, 1);
  if (world.nodes() == 1) return;
  Rows setup(world);
  RowLending& lending = setup.exchange.lending();
  const std::vector<int32_t> units{2, 3}, beyond{5}, below{-1};
  const Plan plan = plan_on(0, 9, 50, setup);
  if (world.node() == 0) {
    expect_error(Exit::software, "has not begun", [&] { lending.lend(9, 1, 0, units); });
    setup.exchange.begin(plan.rows());
    expect_error(Exit::software, "not here", [&] { lending.lend(9, 1, 0, units); });
    setup.exchange.finish(9, {});
    expect_error(Exit::software, "other nodes", [&] { lending.lend(9, 0, 0, units); });
    expect_error(Exit::software, "unit 5", [&] { lending.lend(9, 1, 0, beyond); });
    expect_error(Exit::software, "unit -1", [&] { lending.lend(9, 1, 0, below); });
    world.barrier();
    lending.lend(9, 1, 0, units);
  } else if (world.node() == 1) {
    expect_error(Exit::software, "has not begun", [&] { lending.borrow(9, 0, 0, units); });
    setup.exchange.begin(plan.rows());
    setup.exchange.finish(9, {});
    expect_error(Exit::software, "to give", [&] { lending.lend(9, 0, 0, units); });
    expect_error(Exit::software, "never asked for", [&] { lending.borrowed(9, 0, 0); });
    lending.borrow(9, 0, 0, units);
    expect_error(Exit::software, "borrowed twice", [&] { lending.borrow(9, 0, 0, units); });
    EXPECT_FALSE(lending.borrowed(9, 0, 0)) << "nothing was lent yet";
    setup.check_elsewhere(plan, 2);
    expect_error(Exit::software, "not borrowed to its end", [&] { setup.exchange.end(9); });
    world.barrier();
    while (!lending.borrowed(9, 0, 0)) setup.exchange.progress();
    for (const int32_t unit : units) setup.check_unit(world, plan, unit);
  } else {
    setup.exchange.begin(plan.rows());
    world.barrier();
  }
  setup.exchange.end(9);
}

}  // namespace
}  // namespace lepton::data
