// SPDX-License-Identifier: Apache-2.0
// Backend: a device as a place for memory and for work in order, without mathematics (which is ops'). Work is
// enqueued and done later: whoever enqueues a copy keeps both sides as they are until an event says that it
// is done. The words are CUDA's: queue = stream, recording = graph. Two implementations: tensor/debug_device
// and the CUDA module (kernels/). One thread uses a backend and all that it made. Callers: Buffer, ops'
// engines, train's device ranks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace lepton {

/// pinned: host memory that a queue can copy from and to.
enum class MemoryKind { device, pinned };

/// A point in a queue that others can wait for.
class Event {
 public:
  virtual ~Event() = default;
  /// Has the work before its last record() been done? True if it was never recorded.
  virtual bool done() = 0;
};

/// Work for the device, done one after another. Enqueuing allocates nothing on CUDA.
class Queue {
 public:
  virtual ~Queue() = default;
  /// Between device memory and device or pinned memory; the sides do not overlap.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  /// Zeros, in device memory.
  virtual void clear(void* to, size_t bytes) = 0;
  virtual void record(Event& event) = 0;
  /// What is enqueued later waits for `event`, as it was recorded last.
  virtual void wait(Event& event) = 0;
  /// The caller waits until all is done. Throws Error(software) with the device's own text when work failed
  /// (enqueuing may throw it as well).
  virtual void synchronize() = 0;
};

/// Work that was enqueued once and can be enqueued again as a whole.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void launch(Queue& queue) = 0;
};

struct DeviceProperties {
  std::string name;  ///< "NVIDIA H200, compute capability 9.0": part of the arithmetic class
  size_t bytes_total = 0, bytes_free = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  /// Aligned to 256 bytes, contents undefined; null when there is not so much.
  virtual std::byte* allocate(size_t bytes, MemoryKind kind) = 0;
  virtual void release(std::byte* memory, MemoryKind kind) noexcept = 0;
  virtual std::unique_ptr<Queue> make_queue() = 0;
  virtual std::unique_ptr<Event> make_event() = 0;
  /// What `work` enqueues into `queue` is not done but recorded.
  virtual std::unique_ptr<Recording> record(Queue& queue, const std::function<void()>& work) = 0;
  virtual DeviceProperties properties() = 0;
  /// Runs `work` on the host when all of `queue` is done, for libraries that reach device memory themselves.
  virtual void with_memory(Queue& queue, const std::function<void()>& work) = 0;
};

}  // namespace lepton
