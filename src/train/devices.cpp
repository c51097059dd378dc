// SPDX-License-Identifier: Apache-2.0
// See the header. LEPTON_DEBUG_DEVICES and LEPTON_DEBUG_DEVICE_BYTES say how many debug devices a machine
// pretends to have (default 64) and how much memory each (default 4 GiB), for tests.
#include "train/devices.h"

#include <cstdlib>

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

DeviceChoice choose(DeviceKind wanted, bool automatic, bool share, const DevicesHere& here, int machine_rank,
                    int machine_size, const std::string& place) {
  if (wanted == DeviceKind::cpu) return {};
  if (automatic && here.count == 0) return {DeviceKind::cpu, 0, here.absence};
  REQUIRE(here.count > 0, Exit::no_device, place, "no such device: " + here.absence,
          "Set train.device = \"auto\" or \"cpu\", or start on a machine that has one.");
  REQUIRE(share || machine_size <= here.count, Exit::no_device, place,
          "this machine has " + std::to_string(here.count) + (here.count == 1 ? " device" : " devices") +
              " for " + std::to_string(machine_size) + " ranks",
          "Start one rank per device, or set train.share_devices = true.");
  return {wanted, machine_rank % here.count, ""};
}

DeviceChoice choose_device(const comm::World& world, const Deck& deck) {
  DeviceChoice choice;
  comm::agree(world, [&] {
    const bool debug = deck.train.device == DeviceKind::debug;
    const DevicesHere here = deck.train.device == DeviceKind::cpu ? DevicesHere{}
                             : debug                              ? debug_devices()
                                                                  : cuda_devices();
    choice = choose(deck.train.device, deck.train.device_is_automatic, deck.train.share_devices, here,
                    world.host_rank(), world.host_size(), deck.place("train.device"));
  });
  return choice;
}

std::optional<ops::Engine> open_device(const Deck& deck, const DeviceChoice& choice) {
  REQUIRE(choice.kind == DeviceKind::cuda || deck.precision == ops::Precision::fp32, Exit::deck,
          deck.place("model.precision"),
          std::string("this rank multiplies in fp32 only, not in ") + ops::precision_name(deck.precision),
          "Set model.precision = \"fp32\", or train on GPUs (train.device = \"cuda\").");
  if (choice.kind == DeviceKind::cuda) return ops::cuda_module()->open(choice.index, deck.precision);
  if (choice.kind == DeviceKind::cpu) return std::nullopt;
  const int64_t gigabyte = int64_t{1} << 30;
  return ops::open_debug_engine(static_cast<size_t>(number_in("LEPTON_DEBUG_DEVICE_BYTES", 4 * gigabyte)),
                                static_cast<uint64_t>(choice.index));
}

}  // namespace lepton::train
