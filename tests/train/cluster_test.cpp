// SPDX-License-Identifier: Apache-2.0
// Cluster files: every key and its default, every error with its place and the nearest name, the machines of
// jobs of any size, and whose speed is relative to what.
#include "train/cluster.h"

#include <gtest/gtest.h>

#include "errors.h"

namespace lepton::train {
namespace {

Cluster parse_lines(const std::string& text) {
  return parse_cluster("c.toml", text);
}

void expect_wrong(const std::string& text, const std::string& where, const std::vector<std::string>& parts) {
  const auto error = expect_error_of([&] { parse_lines(text); }, Exit::deck, parts);
  EXPECT_EQ(error ? error->where() : where, where) << text;
}

TEST(Cluster, EveryKeyArrives) {
  const Cluster cluster = parse_lines(
      "[[nodes]]\ncount = 3\nranks = 4\nthreads = 5\nunit_ms = 12.5\nnoise = 0.1\n"
      "memory_gigabytes_per_second = 40\n[[nodes]]\nranks = 2\nspeed = 0.5\ndevice = \"gpu\"\n[network]\n"
      "latency_us = 3\ngigabytes_per_second = 4\n[file_system]\ngigabytes_per_second = 6\ncommit_ms = 7\n"
      "[failures]\nnode_mtbf_hours = 8\nrestart_s = 9\n");
  ASSERT_EQ(cluster.groups.size(), 2u);
  const MachineGroup &first = cluster.groups[0], &second = cluster.groups[1];
  EXPECT_EQ(first.count, 3);
  EXPECT_EQ(first.ranks, 4);
  EXPECT_EQ(first.threads, 5);
  EXPECT_EQ(first.unit_ms, 12.5);
  EXPECT_EQ(first.noise, 0.1);
  EXPECT_EQ(first.memory_bytes_per_s, 40e9);
  EXPECT_FALSE(first.gpu);
  EXPECT_EQ(first.nodes_of(4), 1);
  EXPECT_EQ(second.speed, 0.5);
  EXPECT_TRUE(second.gpu);
  EXPECT_EQ(second.nodes_of(2), 2);
  EXPECT_DOUBLE_EQ(cluster.latency_s, 3e-6);
  EXPECT_EQ(cluster.network_bytes_per_s, 4e9);
  EXPECT_EQ(cluster.file_system_bytes_per_s, 6e9);
  EXPECT_DOUBLE_EQ(cluster.commit_s, 7e-3);
  EXPECT_EQ(cluster.node_mtbf_s, 8 * 3600);
  EXPECT_EQ(cluster.restart_s, 9);
  EXPECT_TRUE(cluster.assumed.empty());
  EXPECT_EQ(cluster.machines(), 4);
  EXPECT_EQ(cluster.ranks(), 14);
}

TEST(Cluster, DefaultsAreAssumedAndSaid) {
  const Cluster cluster = parse_lines("[[nodes]]\n");
  EXPECT_EQ(cluster.ranks(), 1);
  EXPECT_EQ(cluster.groups[0].threads, 1);
  EXPECT_EQ(cluster.groups[0].speed, 1);
  EXPECT_EQ(cluster.groups[0].noise, 0.02);
  EXPECT_DOUBLE_EQ(cluster.latency_s, 2e-6);
  EXPECT_EQ(cluster.network_bytes_per_s, 10e9);
  EXPECT_EQ(cluster.node_mtbf_s, 50000.0 * 3600);
  EXPECT_EQ(cluster.assumed, (std::vector<std::string>{"network", "file_system", "failures"}));
}

TEST(Cluster, UnknownNamesAreNamedWithTheNearest) {
  expect_wrong("[[nodes]]\nrank = 4\n", "c.toml:2:1", {"unknown key nodes.rank", "\"ranks\""});
  expect_wrong("[[nodes]]\n[netwrok]\n", "c.toml:2:2", {"unknown key netwrok", "\"network\""});
  expect_wrong("[[nodes]]\n[network]\nlatency = 4\n", "c.toml:3:1",
               {"unknown key network.latency", "\"latency_us\" or \"gigabytes_per_second\""});
  expect_wrong("count = 4\n[[nodes]]\n", "c.toml:1:1", {"unknown key count", "A cluster file takes"});
}

TEST(Cluster, WrongTypesAndImpossibleValuesNameTheirPlace) {
  expect_wrong("[[nodes]]\ncount = 0\n", "c.toml:2:9",
               {"nodes.count = 0 is not an integer from 1 to 100000"});
  expect_wrong("[[nodes]]\ncount = 2.5\n", "c.toml:2:9", {"nodes.count = 2.5"});
  expect_wrong("[[nodes]]\nranks = \"8\"\n", "c.toml:2:9", {"nodes.ranks = \"8\" is not an integer"});
  expect_wrong("[[nodes]]\nthreads = -1\n", "c.toml:2:11", {"nodes.threads = -1"});
  expect_wrong("[[nodes]]\nunit_ms = 0\n", "c.toml:2:11", {"nodes.unit_ms = 0 is not a number above 0"});
  expect_wrong("[[nodes]]\nspeed = -0.5\n", "c.toml:2:9", {"nodes.speed = -0.5"});
  expect_wrong("[[nodes]]\nnoise = 1.5\n", "c.toml:2:9", {"nodes.noise = 1.5 is not a number from 0 to 1"});
  expect_wrong("[[nodes]]\ndevice = \"cuda\"\n", "c.toml:2:10", {"nodes.device", "\"cpu\" or \"gpu\""});
  expect_wrong("[[nodes]]\nmemory_gigabytes_per_second = 0\n", "c.toml:2:31", {"above 0"});
  expect_wrong("[[nodes]]\n[network]\nlatency_us = -1\n", "c.toml:3:14", {"from 0 up"});
  expect_wrong("[[nodes]]\n[network]\ngigabytes_per_second = nan\n", "c.toml:3:24", {"nan"});
  expect_wrong("[[nodes]]\n[file_system]\ngigabytes_per_second = 0\n", "c.toml:3:24", {"file_system"});
  expect_wrong("[[nodes]]\n[file_system]\ncommit_ms = -1\n", "c.toml:3:13", {"commit_ms"});
  expect_wrong("[[nodes]]\n[failures]\nnode_mtbf_hours = 0\n", "c.toml:3:19", {"above 0"});
  expect_wrong("[[nodes]]\n[failures]\nrestart_s = \"2min\"\n", "c.toml:3:13", {"restart_s"});
}

TEST(Cluster, GroupsAreTablesAndSectionsAreTables) {
  expect_wrong("[network]\n", "c.toml", {"nodes is missing", "[[nodes]]"});
  expect_wrong("nodes = []\n", "c.toml:1:9", {"nodes is not a list of tables"});
  expect_wrong("nodes = [1]\n", "c.toml:1:9", {"nodes is not a list of tables"});
  expect_wrong("[nodes]\ncount = 1\n", "c.toml:1:1", {"nodes is not a list of tables", "[[nodes]]"});
  expect_wrong("network = 3\n[[nodes]]\n", "c.toml:1:11", {"network = 3 is not a table"});
  expect_wrong("[[nodes]]\ncount = 60000\n[[nodes]]\ncount = 60000\n", "c.toml:1:1", {"120000 machines"});
  EXPECT_THROW(parse_lines("[[nodes]\n"), Error);
}

TEST(Cluster, KeysOfAGroupThatExcludeEachOther) {
  expect_wrong("[[nodes]]\nunit_ms = 3\nspeed = 2\n", "c.toml:3:9", {"nodes.speed = 2", "unit_ms"});
  expect_wrong("[[nodes]]\ndevice = \"gpu\"\nthreads = 2\n", "c.toml:3:11", {"nodes.threads = 2", "gpu"});
}

TEST(Cluster, SpeedsAreRelativeToTheFirstGroupOrToTheMeasurement) {
  const Cluster told =
      parse_lines("[[nodes]]\nunit_ms = 10\n[[nodes]]\nspeed = 0.5\n[[nodes]]\nunit_ms = 3\n");
  EXPECT_EQ(unit_times_s(told, std::nullopt), (std::vector<double>{0.01, 0.02, 0.003}));
  EXPECT_EQ(unit_times_s(told, 1.0), (std::vector<double>{0.01, 0.02, 0.003})) << "the file is believed";
  const Cluster measured = parse_lines("[[nodes]]\n[[nodes]]\nspeed = 0.25\n");
  EXPECT_EQ(unit_times_s(measured, 1.0), (std::vector<double>{1, 4}));
}

TEST(Cluster, WithoutAnyTimeOfAUnitNothingCanBeSaid) {
  for (const char* text : {"[[nodes]]\n", "[[nodes]]\n[[nodes]]\nunit_ms = 3\n"}) {
    const auto error = expect_error_of([&] { unit_times_s(parse_lines(text), std::nullopt); }, Exit::deck,
                                       {"--from RUN_DIR", "unit_ms"});
    EXPECT_TRUE(error && error->where().starts_with("c.toml:1:")) << text;
  }
}

TEST(Cluster, JobsTakeTheGroupsInProportion) {
  const Cluster cluster = parse_lines("[[nodes]]\ncount = 19\nranks = 8\n[[nodes]]\nranks = 4\n");
  const std::vector<Machine> all = machines_for(cluster, cluster.ranks());
  ASSERT_EQ(all.size(), 20u);
  EXPECT_EQ(all[0].group, 0u);
  size_t slow = 0, at = 0;
  for (size_t m = 0; m < all.size(); ++m)
    if (all[m].group == 1) {
      ++slow;
      at = m;
    }
  EXPECT_EQ(slow, 1u);
  EXPECT_EQ(at, 10u) << "in the middle, as one of twenty";
  const std::vector<Machine> some = machines_for(cluster, 83);
  ASSERT_EQ(some.size(), 11u);
  for (size_t m = 0; m < some.size(); ++m) EXPECT_EQ(some[m].group, all[m].group) << m;
  EXPECT_EQ(some[9].ranks, 8);
  EXPECT_EQ(some[10].ranks, 3) << "what is left";
  EXPECT_EQ(machines_for(cluster, 1).front().ranks, 1);
  EXPECT_THROW(machines_for(cluster, cluster.ranks() + 1), Error);
}

TEST(Cluster, TheReferenceNamesEveryKey) {
  const std::string text = cluster_reference();
  for (const char* key : {"[[nodes]]", "count", "ranks", "threads", "unit_ms", "speed", "noise", "device",
                          "memory_gigabytes_per_second", "[network]", "latency_us", "[file_system]",
                          "gigabytes_per_second", "commit_ms", "[failures]", "node_mtbf_hours", "restart_s"})
    EXPECT_NE(text.find(key), std::string::npos) << key;
  EXPECT_NE(text.find("default 0.02"), std::string::npos);
}

}  // namespace
}  // namespace lepton::train
