// SPDX-License-Identifier: Apache-2.0
// The debug device: host memory and the host's arithmetic behind the Backend interface, so that the path of a
// GPU rank runs, and its mistakes show, on machines without a GPU. What it is strict about: device memory can
// be touched by enqueued work only (else SIGSEGV: it is protected); fresh memory holds NaN; copies take
// device and pinned memory only; work runs late, at a wait, or early, at its enqueuing, by a fixed
// pseudo-random choice, so that a missing wait in either direction gives wrong numbers sooner or later.
// Made by ops/debug_engine; also used directly by tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "tensor/backend.h"

namespace lepton {

class DebugDevice : public Backend {
 public:
  /// `bytes_max`: of device memory. `seed` chooses what runs early.
  explicit DebugDevice(size_t bytes_max, uint64_t seed = 0);
  ~DebugDevice() override;
  DebugDevice(const DebugDevice&) = delete;
  DebugDevice& operator=(const DebugDevice&) = delete;

  std::byte* allocate(size_t bytes, MemoryKind kind) override;
  void release(std::byte* memory, MemoryKind kind) noexcept override;
  std::unique_ptr<Queue> make_queue() override;
  std::unique_ptr<Event> make_event() override;
  std::unique_ptr<Recording> record(Queue& queue, const std::function<void()>& work) override;
  DeviceProperties properties() override;
  void with_memory(Queue& queue, const std::function<void()>& work) override;

  /// Work for a queue of this device, in which device memory is open. Copies what it needs: it runs later.
  void enqueue(Queue& queue, std::function<void()> work);
  /// Do these bytes lie in one device allocation?
  bool holds(const void* memory, size_t bytes) const { return within(device_, memory, bytes); }

 private:
  friend class DebugQueue;
  using Allocations = std::map<const std::byte*, size_t>;  // begin, bytes in whole pages
  static bool within(const Allocations& allocations, const void* memory, size_t bytes);
  /// Runs `work` with the device's memory open; may be nested.
  void run_open(const std::function<void()>& work);
  void protect(bool open) const;
  /// The coin that decides what runs early.
  bool early();

  Allocations device_, pinned_;
  size_t bytes_max_, bytes_used_ = 0;
  int open_ = 0;  ///< run_open's that run
  uint64_t coin_;
};

}  // namespace lepton
