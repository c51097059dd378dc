// SPDX-License-Identifier: Apache-2.0
// The tables of rows: what the leader places every rank of the node reads, in each slot by itself; a slot
// serves one round; more rows than the round has are not staged.
#include "data/row_tables.h"

#include <cstring>

#include "comm/worlds.h"
#include "data/planned_rows.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

/// Where the rows of round `round` are staged, and what marks them.
std::byte mark(int64_t round, int64_t place) {
  return static_cast<std::byte>(round * 40 + place);
}

// Nothing is sent here: the leader writes the rows itself, into places in opposite order.
TEST(RowTables, WhatTheLeaderPlacesItsNodeReads) {
  comm::for_each_world([](const comm::World& world) {
    Rows setup(world);
    RowTables tables(world, setup.dataset, setup.store, 30, shm);
    std::vector<Plan> plans;
    for (int64_t round = 6; round < 6 + RowTables::slots; ++round) {
      Plan plan;
      plan.round = round;
      for (int64_t i = 0; i < 30; ++i) plan.ids.push_back((i * 11 + round) % 300);
      plan.begins = {0, 20, 30};
      plan.nodes = {world.node(), (world.node() + 1) % world.nodes()};
      plans.push_back(plan);
      if (!world.leads()) continue;
      const RowTables::Round& known = tables.open(plan.rows());
      for (int64_t p = 0; p < 30; ++p) {
        const bool own = p < 20 || world.nodes() == 1;
        EXPECT_EQ(tables.placed(round, p), own && tables.resident(known, p));
        EXPECT_EQ(tables.resident(known, p), setup.owner(plan, p) == world.machine());
        if (p < 25 && tables.resident(known, p)) tables.place_resident(round, p);
        if (p < 25 && !tables.resident(known, p))
          std::memset(tables.place_staged(round, p, 29 - p), static_cast<int>(mark(round, p)), row_bytes);
      }
      tables.publish(round);
    }
    world.node_barrier();
    for (const Plan& plan : plans)
      for (int64_t p = 0; p < 30; ++p) {
        const bool resident = setup.owner(plan, p) == world.machine();
        if (p >= 25 && world.nodes() > 1) {
          expect_error(Exit::software, "another node", [&] { tables.row(plan.round, p); });
        } else if (resident) {
          EXPECT_EQ(tables.row(plan.round, p),
                    setup.store.row(setup.dataset.split(plan.split).source, setup.row_of(plan, p)));
        } else {
          for (int64_t i = 0; i < row_bytes; ++i)
            ASSERT_EQ(tables.row(plan.round, p)[i], mark(plan.round, p)) << plan.round << ", " << p;
        }
      }
    world.node_barrier();
  });
}

TEST(RowTables, MisuseIsABug) {
  const comm::World world(60, 1000);
  Rows setup(world);
  RowTables tables(world, setup.dataset, setup.store, largest, shm);
  if (!world.leads()) return;
  Plan plan = random_plan(7, setup.dataset, 1);
  expect_error(Exit::software, "has not begun", [&] { tables.round(7); });
  tables.open(plan.rows());
  expect_error(Exit::software, "has not begun", [&] { tables.round(7); });
  expect_error(Exit::software, "round 7", [&] { tables.row(7, 0); });
  tables.publish(7);
  EXPECT_EQ(tables.round(7).unit_begins, plan.begins);
  expect_error(Exit::software, "slot in use", [&] { tables.open(random_plan(11, setup.dataset, 1).rows()); });
  expect_error(Exit::software, "staged once",
               [&] { tables.place_staged(7, 0, static_cast<int64_t>(plan.ids.size())); });
  tables.close(7);
  expect_error(Exit::software, "round 7", [&] { tables.row(7, 0); });
  plan.begins.back() += 1;
  expect_error(Exit::software, "units cover", [&] { tables.open(plan.rows()); });
}

}  // namespace
}  // namespace lepton::data
