// SPDX-License-Identifier: Apache-2.0
// Job: all that a run stands on, made in the order in which it can fail: deck, threads, what files are, the
// graph, their rows, whether memory suffices, node-shared memory. The commands train and evaluate add what is
// theirs. Everything is collective and agreed.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/assembler.h"
#include "data/exchange.h"
#include "data/store.h"
#include "exact/slices.h"
#include "ops/loss.h"
#include "optim/optimizer.h"
#include "train/classes.h"
#include "train/conductor.h"
#include "train/device_state.h"
#include "train/devices.h"
#include "train/host_math.h"
#include "train/memory_needs.h"
#include "train/node_state.h"
#include "train/setup.h"
#include "train/threads.h"
#include "train/trainer.h"

namespace lepton::train {

class Job {
 public:
  /// **Collective.** Reads all data of the deck's splits; statistics come from `known` if given, else from
  /// the train split. `training`: with moments. Slot 0 of the node's state is left zero. Throws, the same on
  /// all ranks, Error(deck, no_input, data), and Error(memory) before anything but the rows takes memory.
  /// `kept`: the name of files in which the nodes' states outlive the processes, "" for none.
  Job(const comm::World& world, const Deck& deck, const data::Statistics* known, bool training, bool table,
      const std::string& kept = "");

  /// **Collective.** Runs rounds until the schedule ends. Pointers may be null.
  /// `first_note`: of the first ledger line.
  Trainer& start(const Schedule& schedule, checkpoint::Writer* writer, const checkpoint::Identity& identity,
                 Bookkeeper* bookkeeper, RunState state, Watchdog* watchdog = nullptr,
                 const std::string& first_note = "", RedundantState* redundant = nullptr);

  /// The node's parameters, for who reads them on the host: a device's copy is fetched first. Main threads of
  /// leaders.
  std::span<const float> current_parameters();
  int64_t steps_per_epoch() const;
  size_t small_state_bytes() const;              ///< room for run states that are kept in memory
  int64_t parts_of(data::SplitKind kind) const;  ///< evaluation rounds of a split

  const comm::World& world;
  const Deck& deck;
  DeviceChoice device_choice;
  HostMath host;
  std::optional<ops::Engine> engine;  ///< of a rank that computes on a device
  ThreadShare share;
  std::vector<int> threads_per_node;
  data::Dataset dataset;
  model::Graph graph;  ///< before the store: a network that does not fit shall not cost the reading of rows
  data::SampleStore store;
  UnitSizes sizes;
  ops::Loss loss;
  std::vector<LossPart> parts;  ///< several losses
  optim::Optimizer optimizer;
  exact::Slices slices;
  ops::TallySpec tally;
  MemoryNeeds needs;  ///< of what follows; there is that much
  std::vector<std::unique_ptr<data::Assembler>> assemblers;
  NodeState node;
  std::unique_ptr<DeviceGroup> group;  ///< of devices that exchange without the host
  std::optional<DeviceState> device;
  std::unique_ptr<NodeExchange> between;  ///< how this node exchanges sums and parameters with the others
  data::RowExchange exchange;
  Classes classes;

 private:
  /// Tests the device's memory, joins it with those of other nodes, and takes the memory.
  void make_device_state(bool training);
  void make_exchange();
  void report_units() const;
  std::optional<Schedule> schedule_;
  std::optional<checkpoint::Identity> identity_;
  std::optional<Trainer> trainer_;
};

/// Classes up to which evaluate keeps a whole confusion matrix.
constexpr int64_t confusion_classes_max = 1024;

}  // namespace lepton::train
