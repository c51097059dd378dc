// SPDX-License-Identifier: Apache-2.0
// See the header. LEPTON_DEBUG_DEVICES and LEPTON_DEBUG_DEVICE_BYTES say how many debug devices a machine
// pretends to have (default 64) and how much memory each (default 4 GiB), for tests.
#include "train/devices.h"

#include <cstdlib>

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
  return {static_cast<int>(number_in("LEPTON_DEBUG_DEVICES", 64)), "LEPTON_DEBUG_DEVICES says 0"};
}

DevicesHere cuda_devices() {
  DevicesHere here;
  here.count = ops::cuda_devices(here.absence);
  return here;
}

}  // namespace

DeviceChoice choose(const DeviceWish& wish, const DevicesHere& here, int host_rank, int host_size,
                    const std::string& place) {
  if (wish.kind == DeviceKind::cpu) return {};
  if (wish.automatic && here.count == 0) return {DeviceKind::cpu, 0, here.absence};
  REQUIRE(here.count > 0, Exit::no_device, place, "no such device: " + here.absence,
          "Set train.device = \"auto\" or \"cpu\", or start on a machine that has one.");
  if (wish.mixed && !wish.share && host_rank >= here.count)
    return {DeviceKind::cpu, 0, "this machine has more ranks than devices"};
  REQUIRE(
      wish.share || wish.mixed || host_size <= here.count, Exit::no_device, place,
      "this machine has " + std::to_string(here.count) + (here.count == 1 ? " device" : " devices") +
          " for " + std::to_string(host_size) + " ranks",
      "Start one rank per device, or set train.share_devices = true; or let the others compute on the CPU: "
      "balance.classes.");
  return {wish.kind, host_rank % here.count, ""};
}

DeviceChoice choose_device(const comm::World& world, const Deck& deck) {
  DeviceChoice choice;
  comm::agree(world, [&] {
    const DeviceWish wish{deck.train.device, deck.train.device_is_automatic, deck.train.share_devices,
                          deck.balance.classes != ClassPolicy::refuse};
    const bool debug = wish.kind == DeviceKind::debug;
    const DevicesHere here = wish.kind == DeviceKind::cpu ? DevicesHere{}
                             : debug                      ? debug_devices()
                                                          : cuda_devices();
    choice = choose(wish, here, world.host_rank(), world.host_size(), deck.place("train.device"));
  });
  return choice;
}

namespace {

/// Why NCCL cannot serve all nodes of this job; "" if it can. **Collective.**
std::string nccl_obstacle(const comm::World& world, const Deck& deck, const DeviceChoice& choice) {
  std::string mine;
  if (choice.kind != DeviceKind::cuda)
    mine = "not every rank computes on a CUDA device";
  else if (deck.train.share_devices && world.host_size() > cuda_devices().count)
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
    const std::string obstacle = nccl_obstacle(world, deck, choice);
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
