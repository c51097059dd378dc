// SPDX-License-Identifier: Apache-2.0
// DeviceState: what a node that computes on a device keeps there: two slots of parameters and of its slice's
// moments, the int64 accumulator, the reports of units, and the arena's layout. The host's NodeState of such
// a node has the round's header, lanes and rows as ever, but of the state only what goes to or comes from
// other nodes and files (state_shape). Invariants: slot `header.slot` on the device is the state; the host's
// copy is made equal by refresh_host() before anybody reads it. Main thread only. Made by job, used by
// device_runner, device_exchange and fingerprint.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "exact/slices.h"
#include "ops/engine.h"
#include "tensor/buffer.h"
#include "tensor/device_group.h"
#include "train/node_state.h"

namespace lepton::train {

class DeviceState {
 public:
  /// Takes all memory of the state on the device. `group`: by which it exchanges with other nodes; null where
  /// there are none, or the host does. Throws Error(memory).
  DeviceState(ops::Engine& engine, const ArenaLayout& layout, NodeState& node, const exact::Slices& slices,
              int64_t units_max, DeviceGroup* group = nullptr);
  DeviceState(const DeviceState&) = delete;
  DeviceState& operator=(const DeviceState&) = delete;

  /// Device bytes that it takes.
  static int64_t bytes(const ArenaLayout& layout, const exact::Slices& slices, int64_t slice_elements,
                       int moments, int64_t units_max);

  ops::Engine& engine() const { return engine_; }
  DeviceGroup* group() const { return group_; }
  float* parameters(int slot) const { return parameters_[slot].as<float>().data(); }
  float* moment(int slot, int m) const { return moments_[slot][m].as<float>().data(); }
  ops::DeviceSums sums() const;
  ops::BlockTable table() const;
  ops::UnitReport* reports() const { return reports_.as<ops::UnitReport>().data(); }
  ops::BlockCheck* checks() const { return checks_.as<ops::BlockCheck>().data(); }
  uint64_t* hashes() const { return hashes_.as<uint64_t>().data(); }
  int64_t first_block() const { return first_block_; }  ///< of the node's slice
  int64_t end_block() const { return end_block_; }
  int64_t elements() const { return elements_; }

  /// Waits for all that was enqueued.
  void finish() { group_ ? group_->finish({}) : engine_.queue->synchronize(); }
  /// Copies that are through when they return; `host` may be any memory.
  void upload(std::span<const std::byte> host, void* device);
  void download(const void* device, std::span<std::byte> host);

  /// Parameters and moments of the host's copy become slot `slot`.
  void upload_state(int slot);
  /// The node's parameters come from all nodes: those of the host's copy become slot `slot`.
  void upload_parameters(int slot);
  /// The slot's parameters become the host's copy.
  void refresh_host(int slot);

 private:
  ops::Engine& engine_;
  NodeState& node_;
  DeviceGroup* group_;
  int64_t elements_, first_block_, end_block_;
  std::array<Buffer, 2> parameters_;
  std::array<std::array<Buffer, 2>, 2> moments_;  // [slot][moment]
  Buffer elements_sum_, checksums_, magnitudes_, scales_, reports_, checks_, hashes_;
  Buffer segments_, segment_begin_, rules_;
  Buffer bounce_;  // pinned
};

/// One value of device memory for a fault to change: fetched, and put back in the end.
template <class Value>
class Fetched {
 public:
  Fetched(DeviceState& state, Value* from) : state_(state), from_(from) { state.download(from, bytes()); }
  ~Fetched() noexcept(false) { state_.upload(bytes(), from_); }
  Fetched(const Fetched&) = delete;
  Fetched& operator=(const Fetched&) = delete;
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(&value_, 1)); }

 private:
  DeviceState& state_;
  Value* from_;
  Value value_{};
};

}  // namespace lepton::train
