// SPDX-License-Identifier: Apache-2.0
// See the header. LEPTON_DEBUG_DEVICES and LEPTON_DEBUG_DEVICE_BYTES say how many debug devices a machine
// pretends to have (default 64) and how much memory each (default 4 GiB), for tests.
#include "train/devices.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <sstream>

#include "comm/mpi_device_group.h"
#include "ops/cuda_module.h"
#include "ops/debug_engine.h"

namespace lepton::train {

namespace {

int64_t number_in(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::atoll(text) : otherwise;
}

DevicesHere debug_devices() {
  DevicesHere here{{}, "LEPTON_DEBUG_DEVICES says 0"};
  for (int64_t i = 0; i < number_in("LEPTON_DEBUG_DEVICES", 64); ++i)
    here.ids.push_back("debug-" + std::to_string(i));
  return here;
}

DevicesHere devices_here(DeviceKind kind) {
  DevicesHere here;
  if (kind == DeviceKind::debug) return debug_devices();
  if (kind == DeviceKind::cuda) here.ids = ops::cuda_devices(here.absence);
  return here;
}

/// The ranks' devices of one host as they are taken in turn.
class Taking {
 public:
  /// The index of a device for a rank that sees these; -1: none is left. `share`: then one that has fewest.
  int take(const std::vector<std::string>& ids, bool share) {
    int best = -1;
    for (int i = 0; i < std::ssize(ids); ++i)
      if (best < 0 || ranks_[ids[i]] < ranks_[ids[best]]) best = i;
    if (best < 0 || (ranks_[ids[best]] > 0 && !share)) return -1;
    ++ranks_[ids[best]];
    return best;
  }
  int ranks(const std::string& id) { return ranks_[id]; }
  size_t devices() const { return ranks_.size(); }

 private:
  std::map<std::string, int> ranks_;  ///< by device
};

std::string joined(const std::vector<std::string>& ids) {
  std::string text;
  for (const std::string& id : ids) text += id + "\n";
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace

DeviceChoice choose(const DeviceWish& wish, std::span<const DevicesHere> of_host, size_t host_rank,
                    const std::string& place) {
  const DevicesHere& here = of_host[host_rank];
  if (wish.kind == DeviceKind::cpu) return {};
  if (wish.automatic && here.ids.empty()) return {.note = here.absence};
  REQUIRE(!here.ids.empty(), Exit::no_device, place, "no such device: " + here.absence,
          "Set train.device = \"auto\" or \"cpu\", or start on a machine that has one.");
  Taking taking;
  int mine = -1;
  for (size_t rank = 0; rank < of_host.size(); ++rank) {
    const int index = taking.take(of_host[rank].ids, wish.share);
    if (rank == host_rank) mine = index;
  }
  if (mine < 0 && wish.mixed) return {.note = "this machine has more ranks than devices"};
  REQUIRE(
      mine >= 0, Exit::no_device, place,
      "this machine has " + std::to_string(taking.devices()) +
          (taking.devices() == 1 ? " device" : " devices") + " for " + std::to_string(of_host.size()) +
          " ranks",
      "Start one rank per device, or set train.share_devices = true; or let the others compute on the CPU: "
      "balance.classes.");
  return {wish.kind, mine, taking.ranks(here.ids[static_cast<size_t>(mine)]) > 1, ""};
}

DeviceChoice choose_device(const comm::World& world, const Deck& deck) {
  const DeviceWish wish{deck.train.device, deck.train.device_is_automatic, deck.train.share_devices,
                        deck.balance.classes != ClassPolicy::refuse};
  DevicesHere here;
  comm::agree(world, [&] { here = devices_here(wish.kind); });
  const std::vector<std::string> all = world.all_gather(joined(here.ids));
  std::vector<DevicesHere> of_host;
  for (const int rank : world.host_ranks())
    of_host.push_back({lines_of(all[static_cast<size_t>(rank)]), here.absence});
  const auto host_rank = static_cast<size_t>(std::ranges::lower_bound(world.host_ranks(), world.rank()) -
                                             world.host_ranks().begin());
  DeviceChoice choice;
  comm::agree(world, [&] { choice = choose(wish, of_host, host_rank, deck.place("train.device")); });
  return choice;
}

namespace {

/// Why NCCL cannot serve all nodes of this job; "" if it can. **Collective.**
std::string nccl_obstacle(const comm::World& world, const DeviceChoice& choice) {
  std::string mine;
  if (choice.kind != DeviceKind::cuda)
    mine = "not every rank computes on a CUDA device";
  else if (choice.shared)
    mine = "ranks share a device";
  else
    ops::cuda_module()->nccl(mine);
  for (const std::string& obstacle : world.all_gather(mine))
    if (!obstacle.empty()) return obstacle;
  return "";
}

std::unique_ptr<DeviceGroup> join_by_nccl(const comm::World& world, ops::Engine& engine) {
  std::string id;
  comm::agree(world, [&] {
    if (world.rank() == 0) id = ops::cuda_module()->group_id();
  });
  world.broadcast(id);
  return ops::cuda_module()->join(engine, id, world.node(), world.nodes(), world.deadline_s());
}

}  // namespace

std::unique_ptr<DeviceGroup> join_devices(const comm::World& world, const Deck& deck,
                                          const DeviceChoice& choice, std::optional<ops::Engine>& engine) {
  const DeviceSums wanted = deck.train.device_sums;
  std::vector<int64_t> devices{engine.has_value()};
  world.all_max(devices);
  if (devices[0] == 0 || world.nodes() == 1 || wanted == DeviceSums::host) return nullptr;
  const std::string place = deck.place("train.device_sums");
  if (wanted != DeviceSums::mpi) {
    const std::string obstacle = nccl_obstacle(world, choice);
    if (obstacle.empty()) return join_by_nccl(world, *engine);
    comm::agree(world, [&] {
      REQUIRE(wanted != DeviceSums::nccl, Exit::no_device, place, "NCCL cannot be used: " + obstacle,
              "Set train.device_sums = \"auto\".");
    });
  }
  const bool reached = engine && comm::mpi_reaches(choice.kind);
  comm::agree(world, [&] {
    REQUIRE(wanted != DeviceSums::mpi || !engine || reached, Exit::no_device, place,
            "this MPI does not reach the memory of devices", "Set train.device_sums = \"auto\".");
  });
  if (!reached) return nullptr;
  const auto add = [math = engine->step_math.get()](int64_t* sums, const int64_t* more, int64_t count) {
    math->add_sums(sums, more, count);
  };
  return std::make_unique<comm::MpiDeviceGroup>(world, engine->device(), *engine->queue, add);
}

std::optional<ops::Engine> open_device(const Deck& deck, const DeviceChoice& choice, ops::Precision host) {
  if (choice.kind == DeviceKind::cuda) return ops::cuda_module()->open(choice.index, deck.precision);
  if (choice.kind == DeviceKind::cpu) return std::nullopt;
  const int64_t gigabyte = int64_t{1} << 30;
  return ops::open_debug_engine(static_cast<size_t>(number_in("LEPTON_DEBUG_DEVICE_BYTES", 4 * gigabyte)),
                                static_cast<uint64_t>(choice.index), host);
}

}  // namespace lepton::train
