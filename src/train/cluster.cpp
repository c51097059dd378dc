// SPDX-License-Identifier: Apache-2.0
// The table of keys, and the tree of a cluster file (deck_tree) against it. See the header.
#include "train/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "train/deck_keys.h"
#include "train/deck_tree.h"

namespace lepton::train {

namespace {

/// A key as decks have them, for their checks and messages, and where its value goes.
struct ClusterKey {
  DeckKey key;
  void (*set)(Cluster&, MachineGroup&, const DeckValue&);
};

constexpr double machines_max = 1e5, per_machine_max = 4096;

std::vector<ClusterKey> node_keys() {
  return {
      {{.path = "nodes.count",
        .type = KeyType::integer,
        .standard = "1",
        .sentence = "machines of this kind",
        .range = {.least = 1, .most = machines_max}},
       [](Cluster&, MachineGroup& group, const DeckValue& value) { group.count = value.integer; }},
      {{.path = "nodes.ranks",
        .type = KeyType::integer,
        .standard = "1",
        .sentence = "ranks on each of them; of one with GPUs, one for each GPU",
        .range = {.least = 1, .most = per_machine_max}},
       [](Cluster&, MachineGroup& group, const DeckValue& value) {
         group.ranks = static_cast<int>(value.integer);
       }},
      {{.path = "nodes.threads",
        .type = KeyType::integer,
        .standard = "1",
        .sentence = "compute threads of each rank",
        .range = {.least = 1, .most = per_machine_max}},
       [](Cluster&, MachineGroup& group, const DeckValue& value) {
         group.threads = static_cast<int>(value.integer);
       }},
      {{.path = "nodes.unit_ms",
        .type = KeyType::number,
        .sentence = "milliseconds of one work unit on one thread (of a GPU: on the GPU)",
        .range = above_zero()},
       [](Cluster&, MachineGroup& group, const DeckValue& value) { group.unit_ms = value.number; }},
      {{.path = "nodes.speed",
        .type = KeyType::number,
        .sentence =
            "instead of unit_ms: relative to the first group if that has unit_ms, else to --from; default 1",
        .range = above_zero()},
       [](Cluster&, MachineGroup& group, const DeckValue& value) { group.speed = value.number; }},
      {{.path = "nodes.noise",
        .type = KeyType::number,
        .standard = "0.02",
        .sentence = "standard deviation from unit to unit, relative to their mean time",
        .range = {.least = 0, .most = 1}},
       [](Cluster&, MachineGroup& group, const DeckValue& value) { group.noise = value.number; }},
      {{.path = "nodes.device",
        .type = KeyType::choice,
        .standard = "\"cpu\"",
        .sentence = "what computes; each GPU rank is a node of its own in queue and plan",
        .choices = {"cpu", "gpu"}},
       [](Cluster&, MachineGroup& group, const DeckValue& value) { group.gpu = value.choice == 1; }},
      {{.path = "nodes.memory_gigabytes_per_second",
        .type = KeyType::number,
        .standard = "20",
        .sentence = "of one machine; sums are cleared and parameters updated at this speed",
        .range = above_zero()},
       [](Cluster&, MachineGroup& group, const DeckValue& value) {
         group.memory_bytes_per_s = value.number * 1e9;
       }}};
}

std::vector<ClusterKey> shared_keys() {
  return {
      {{.path = "network.latency_us",
        .type = KeyType::number,
        .standard = "2",
        .sentence = "microseconds of a short message between machines",
        .range = at_least(0)},
       [](Cluster& cluster, MachineGroup&, const DeckValue& value) {
         cluster.latency_s = value.number * 1e-6;
       }},
      {{.path = "network.gigabytes_per_second",
        .type = KeyType::number,
        .standard = "10",
        .sentence = "of one machine's link, each way",
        .range = above_zero()},
       [](Cluster& cluster, MachineGroup&, const DeckValue& value) {
         cluster.network_bytes_per_s = value.number * 1e9;
       }},
      {{.path = "file_system.gigabytes_per_second",
        .type = KeyType::number,
        .standard = "5",
        .sentence = "that a job may write to the run directory",
        .range = above_zero()},
       [](Cluster& cluster, MachineGroup&, const DeckValue& value) {
         cluster.file_system_bytes_per_s = value.number * 1e9;
       }},
      {{.path = "file_system.commit_ms",
        .type = KeyType::number,
        .standard = "50",
        .sentence = "milliseconds of a checkpoint beside its bytes: fsync, manifest, rename",
        .range = at_least(0)},
       [](Cluster& cluster, MachineGroup&, const DeckValue& value) {
         cluster.commit_s = value.number * 1e-3;
       }},
      {{.path = "failures.node_mtbf_hours",
        .type = KeyType::number,
        .standard = "50000",
        .sentence = "mean time between failures of one machine",
        .range = above_zero()},
       [](Cluster& cluster, MachineGroup&, const DeckValue& value) {
         cluster.node_mtbf_s = value.number * 3600;
       }},
      {{.path = "failures.restart_s",
        .type = KeyType::number,
        .standard = "120",
        .sentence = "seconds from a failure to the first step after it",
        .range = at_least(0)},
       [](Cluster& cluster, MachineGroup&, const DeckValue& value) { cluster.restart_s = value.number; }}};
}

std::vector<std::string> tables() {
  return {"nodes", "network", "file_system", "failures"};
}

std::vector<std::string> names_in(const std::string& table, const std::vector<ClusterKey>& keys) {
  std::vector<std::string> names;
  for (const ClusterKey& key : keys)
    if (key.key.table() == table) names.push_back(key.key.name());
  return names;
}

void refuse_unknown_key(const DeckNode& table, const std::string& name, const std::vector<ClusterKey>& keys) {
  const std::vector<std::string> names = names_in(name, keys);
  for (const DeckNode& child : table.children) {
    const bool known = std::find(names.begin(), names.end(), child.key) != names.end();
    const std::string hint = did_you_mean(child.key, names);
    REQUIRE(known, Exit::deck, child.key_position.text(), "unknown key " + name + "." + child.key,
            hint + (hint.empty() ? "" : " ") + "[" + name + "] takes " + choices_text(names) + ".");
  }
}

void refuse_unknown_table(const DeckNode& root) {
  for (const DeckNode& child : root.children) {
    const std::vector<std::string> known = tables();
    const std::string hint = did_you_mean(child.key, known);
    REQUIRE(std::find(known.begin(), known.end(), child.key) != known.end(), Exit::deck,
            child.key_position.text(), "unknown key " + child.key,
            hint + (hint.empty() ? "" : " ") + "A cluster file takes " + choices_text(known) + ".");
  }
}

/// The values of a table's keys, defaults where it does not tell them; `table` may be null.
void read_table(const DeckNode* table, const std::string& name, const std::vector<ClusterKey>& keys,
                Cluster& cluster, MachineGroup& group) {
  if (table != nullptr) {
    REQUIRE(table->kind == DeckNode::Kind::table, Exit::deck, table->position.text(),
            name + " = " + toml_text(*table) + " is not a table",
            "Write it as [" + name + "] with keys below.");
    refuse_unknown_key(*table, name, keys);
  }
  for (const ClusterKey& key : keys) {
    if (key.key.table() != name) continue;
    const DeckNode* node = table == nullptr ? nullptr : table->find(key.key.name());
    if (node == nullptr && key.key.standard.empty()) continue;
    key.set(cluster, group,
            check_value(key.key, node == nullptr ? parse_deck_value(key.key.standard, {}) : *node));
  }
}

MachineGroup read_group(const DeckNode& table, Cluster& cluster) {
  MachineGroup group;
  group.position = table.position;
  read_table(&table, "nodes", node_keys(), cluster, group);
  const DeckNode *speed = table.find("speed"), *threads = table.find("threads");
  REQUIRE(group.unit_ms == 0 || speed == nullptr, Exit::deck, speed->position.text(),
          "nodes.speed = " + toml_text(*speed) + " stands beside nodes.unit_ms",
          "A group tells one of them: how long a unit takes, or how fast its threads are beside others.");
  REQUIRE(!group.gpu || group.threads == 1, Exit::deck, threads->position.text(),
          "nodes.threads = " + toml_text(*threads) + " where nodes.device = \"gpu\"",
          "A rank with a GPU computes on it alone: leave threads out.");
  if (group.unit_ms == 0 && group.speed == 0) group.speed = 1;
  return group;
}

void read_groups(const DeckNode& root, Cluster& cluster) {
  const std::string example =
      "Write each group of equal machines as [[nodes]] with keys below, as in count = 16.";
  const DeckNode* list = root.find("nodes");
  REQUIRE(list != nullptr, Exit::deck, cluster.path, "nodes is missing", example);
  const bool all_tables = list->kind == DeckNode::Kind::list && !list->children.empty() &&
                          std::ranges::all_of(list->children, [](const DeckNode& child) {
                            return child.kind == DeckNode::Kind::table;
                          });
  REQUIRE(all_tables, Exit::deck, list->position.text(), "nodes is not a list of tables", example);
  for (const DeckNode& table : list->children) cluster.groups.push_back(read_group(table, cluster));
  REQUIRE(static_cast<double>(cluster.machines()) <= machines_max, Exit::deck, list->position.text(),
          fmt::format("{} machines are more than can be simulated", cluster.machines()),
          fmt::format("At most {:.0f} in all groups together.", machines_max));
}

std::string reference_of(const std::vector<ClusterKey>& keys) {
  std::string text, table;
  for (const ClusterKey& key : keys) {
    if (key.key.table() != table) {
      table = key.key.table();
      text +=
          table == "nodes" ? "[[nodes]]: a group of equal machines; may be repeated\n" : "[" + table + "]\n";
    }
    text += fmt::format("  {:<29} {}\n{:32}{}{}\n", key.key.name(), expectation(key.key), "",
                        key.key.sentence, key.key.standard.empty() ? "" : "; default " + key.key.standard);
  }
  return text;
}

}  // namespace

int64_t Cluster::machines() const {
  int64_t sum = 0;
  for (const MachineGroup& group : groups) sum += group.count;
  return sum;
}

int64_t Cluster::ranks() const {
  int64_t sum = 0;
  for (const MachineGroup& group : groups) sum += group.count * group.ranks;
  return sum;
}

Cluster parse_cluster(const std::string& path, const std::string& text) {
  const DeckNode root = parse_deck_text(path, text);
  refuse_unknown_table(root);
  Cluster cluster;
  cluster.path = path;
  read_groups(root, cluster);
  for (const std::string& table : tables()) {
    if (table == "nodes") continue;
    MachineGroup none;
    read_table(root.find(table), table, shared_keys(), cluster, none);
    if (root.find(table) == nullptr) cluster.assumed.push_back(table);
  }
  return cluster;
}

// The next machine is of the group g with the least (taken_g + 1/2) / count_g (Sainte-Lague): every prefix is
// as near to proportional as whole machines are.
std::vector<Machine> machines_for(const Cluster& cluster, int64_t ranks) {
  CHECK(ranks >= 1 && ranks <= cluster.ranks(), "a job that the cluster holds");
  std::vector<Machine> machines;
  std::vector<int64_t> taken(cluster.groups.size(), 0);
  while (ranks > 0) {
    size_t next = 0;
    double least = std::numeric_limits<double>::infinity();
    for (size_t g = 0; g < taken.size(); ++g) {
      const double share =
          (static_cast<double>(taken[g]) + 0.5) / static_cast<double>(cluster.groups[g].count);
      if (taken[g] < cluster.groups[g].count && share < least) {
        least = share;
        next = g;
      }
    }
    ++taken[next];
    const auto used = static_cast<int>(std::min<int64_t>(ranks, cluster.groups[next].ranks));
    machines.push_back({next, used});
    ranks -= used;
  }
  return machines;
}

std::vector<double> unit_times_s(const Cluster& cluster, std::optional<double> measured_s) {
  const MachineGroup& first = cluster.groups.front();
  const double reference_s = first.unit_ms > 0 ? first.unit_ms * 1e-3 : measured_s.value_or(0);
  std::vector<double> times;
  for (const MachineGroup& group : cluster.groups) {
    REQUIRE(group.unit_ms > 0 || reference_s > 0, Exit::deck, group.position.text(),
            "nobody says how long a work unit takes on these nodes",
            "Give --from RUN_DIR, a run that has measured it, or unit_ms in the first group [[nodes]].");
    times.push_back(group.unit_ms > 0 ? group.unit_ms * 1e-3 : reference_s / group.speed);
  }
  return times;
}

std::string cluster_reference() {
  return reference_of(node_keys()) + reference_of(shared_keys());
}

}  // namespace lepton::train
