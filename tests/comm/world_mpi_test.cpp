// SPDX-License-Identifier: Apache-2.0
// Machines, nodes, set-up collectives and the agreement on errors, at every number of ranks and ranks per
// machine.
#include "comm/world.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <new>
#include <numeric>
#include <utility>

#include "comm/worlds.h"

namespace lepton::comm {
namespace {

TEST(World, CutsRanksIntoNodes) {
  for (const int each : {1, 2, 3}) {
    const World world(60, each);
    EXPECT_EQ(world.nodes(), (world.size() + each - 1) / each);
    EXPECT_EQ(world.node(), world.rank() / each);
    EXPECT_EQ(world.node_rank(), world.rank() % each);
    EXPECT_EQ(world.node_size(), std::min(each, world.size() - world.node() * each));
    EXPECT_EQ(world.leads(), world.rank() % each == 0);
    for (int node = 0; node < world.nodes(); ++node) EXPECT_EQ(world.leader_of(node), node * each);
  }
  const World one_machine(60, 1000);
  EXPECT_EQ(one_machine.nodes(), 1);
}

TEST(World, RanksThatStandAloneFormNodesOfTheirOwn) {
  for (const int each : {1, 2, 3, 1000}) {
    const World world(60, each, true);
    EXPECT_EQ(world.nodes(), world.size());
    EXPECT_EQ(world.node(), world.rank());
    EXPECT_EQ(world.node_size(), 1);
    EXPECT_TRUE(world.leads());
    for (int node = 0; node < world.nodes(); ++node) EXPECT_EQ(world.leader_of(node), node);
  }
}

// Odd ranks stand alone; the others share nodes with each other only, and nodes are in order of their first
// ranks.
TEST(World, RanksBesideThoseThatStandAloneShareANode) {
  const World world(60, 1000, World().rank() % 2 == 1);
  const int rank = world.rank(), size = world.size(), alone = size / 2;
  EXPECT_EQ(world.nodes(), 1 + alone);
  EXPECT_EQ(world.node_size(), rank % 2 == 1 ? 1 : size - alone);
  EXPECT_EQ(world.node_rank(), rank % 2 == 1 ? 0 : rank / 2);
  EXPECT_EQ(world.node(), rank % 2 == 1 ? (rank + 1) / 2 : 0);
  EXPECT_EQ(world.leader_of(0), 0);
  for (int node = 1; node < world.nodes(); ++node) EXPECT_EQ(world.leader_of(node), 2 * node - 1);
  std::vector<int64_t> leaders{world.leads()};
  world.all_sum(leaders);
  EXPECT_EQ(leaders[0], world.nodes());
}

/// The groups that ranks form, by a key for each: ranks of one key are a group, numbered by their first
/// ranks.
struct Groups {
  explicit Groups(const std::vector<std::pair<int, int>>& keys) {
    std::map<std::pair<int, int>, int> numbers;
    for (size_t rank = 0; rank < keys.size(); ++rank) {
      const auto found = numbers.emplace(keys[rank], static_cast<int>(numbers.size())).first;
      of_rank.push_back(found->second);
      members.resize(numbers.size());
      place.push_back(static_cast<int>(members[static_cast<size_t>(found->second)].size()));
      members[static_cast<size_t>(found->second)].push_back(static_cast<int>(rank));
    }
  }
  std::vector<int> of_rank, place;        // by rank
  std::vector<std::vector<int>> members;  // by group
};

TEST(World, RanksThatStandAloneAreNodesOfTheirMachine) {
  for_each_machines([](const World& world, int each, Alone who) {
    std::vector<std::pair<int, int>> machine_keys, node_keys;
    for (int r = 0; r < world.size(); ++r) {
      machine_keys.emplace_back(r / each, 0);
      node_keys.emplace_back(r / each, stands_alone(r, who) ? 1 + r : 0);
    }
    const Groups machines(machine_keys), nodes(node_keys);
    const auto rank = static_cast<size_t>(world.rank());
    ASSERT_EQ(world.machines(), static_cast<int>(machines.members.size()));
    ASSERT_EQ(world.nodes(), static_cast<int>(nodes.members.size()));
    EXPECT_EQ(world.machine(), machines.of_rank[rank]);
    EXPECT_EQ(world.machine_rank(), machines.place[rank]);
    EXPECT_EQ(world.machine_size(),
              static_cast<int>(machines.members[static_cast<size_t>(world.machine())].size()));
    EXPECT_EQ(world.node(), nodes.of_rank[rank]);
    EXPECT_EQ(world.node_rank(), nodes.place[rank]);
    EXPECT_EQ(world.node_size(), static_cast<int>(nodes.members[static_cast<size_t>(world.node())].size()));
    std::vector<std::vector<int>> nodes_of(machines.members.size());
    for (int node = 0; node < world.nodes(); ++node) {
      const int leader = nodes.members[static_cast<size_t>(node)].front();
      EXPECT_EQ(world.leader_of(node), leader);
      EXPECT_EQ(world.machine_of(node), machines.of_rank[static_cast<size_t>(leader)]);
      nodes_of[static_cast<size_t>(world.machine_of(node))].push_back(node);
    }
    for (int machine = 0; machine < world.machines(); ++machine)
      EXPECT_EQ(world.nodes_of(machine), nodes_of[static_cast<size_t>(machine)]);
    std::vector<int> all(static_cast<size_t>(world.size()));
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(world.host_ranks(), all);  // the tests run on one host
  });
}

TEST(World, ReadsRanksPerNodeFromTheEnvironmentOfRank0) {
  const int rank = World().rank();
  setenv("LEPTON_RANKS_PER_NODE", rank == 0 ? "2" : "1", 1);
  EXPECT_EQ(World().nodes(), (World().size() + 1) / 2);
  setenv("LEPTON_RANKS_PER_NODE", "two", 1);
  try {
    World world;
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::usage);
  }
  unsetenv("LEPTON_RANKS_PER_NODE");
}

TEST(World, BroadcastsAndGathers) {
  for_each_world([](const World& world) {
    std::string bytes = world.rank() == 0 ? std::string("a\0b", 3) : "something longer";
    world.broadcast(bytes);
    EXPECT_EQ(bytes, std::string("a\0b", 3));
    const std::vector<std::string> all =
        world.all_gather(std::string(static_cast<size_t>(world.rank()), 'x'));
    ASSERT_EQ(static_cast<int>(all.size()), world.size());
    for (int r = 0; r < world.size(); ++r) EXPECT_EQ(all[r], std::string(static_cast<size_t>(r), 'x'));
  });
}

TEST(World, SumsAndTakesMaxima) {
  const World world;
  const int64_t n = world.size(), r = world.rank();
  std::vector<int64_t> sums = {r, 1, INT64_MAX}, maxima = {r, -r, 5};
  world.all_sum(sums);
  world.all_max(maxima);
  EXPECT_EQ(sums[0], n * (n - 1) / 2);
  EXPECT_EQ(sums[1], n);
  EXPECT_EQ(maxima, (std::vector<int64_t>{n - 1, 0, 5}));
  world.barrier();
  world.node_barrier();
}

TEST(Agree, NothingHappensWhenAllAreWell) {
  const World world;
  int runs = 0;
  agree(world, [&] { ++runs; });
  EXPECT_EQ(runs, 1);
}

TEST(Agree, TheLowestFailingRankSpeaksForAll) {
  for_each_world([](const World& world) {
    const int first = world.size() / 2;
    try {
      agree(world, [&] {
        if (world.rank() < first) return;
        throw Error(Exit::data, "file " + std::to_string(world.rank()), "bad", "do this");
      });
      ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::data);
      EXPECT_EQ(error.where(), "file " + std::to_string(first));
      EXPECT_EQ(error.problem(), "bad");
      EXPECT_EQ(error.hint(), "do this");
      EXPECT_TRUE(error.agreed());
    }
  });
}

TEST(Agree, ForeignExceptionsGetACode) {
  const World world;
  const auto code_of = [&](const std::function<void()>& work) {
    try {
      agree(world, [&] {
        if (world.rank() == world.size() - 1) work();
      });
    } catch (const Error& error) {
      return error.code();
    }
    return Exit::done;
  };
  EXPECT_EQ(code_of([] { throw std::bad_alloc(); }), Exit::memory);
  EXPECT_EQ(code_of([] { throw std::runtime_error("odd"); }), Exit::software);
  EXPECT_EQ(code_of([] { throw 1; }), Exit::software);
}

TEST(Agree, AnAgreedErrorStaysTheSameThroughNesting) {
  const World world;
  try {
    agree(world, [&] {
      agree(world, [&] {
        if (world.rank() == 0) fail(Exit::deck, "deck", "inner", "");
      });
    });
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    EXPECT_EQ(error.problem(), "inner");
  }
}

}  // namespace
}  // namespace lepton::comm
