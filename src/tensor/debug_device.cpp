// SPDX-License-Identifier: Apache-2.0
// The debug device (see the header): every allocation is a mapping of its own between pages that are never
// open, queues are lists of closures. Called through Backend by ops and train.
#include "tensor/debug_device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/philox.h"

namespace lepton {

namespace {

size_t page_bytes() {
  static const auto bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

size_t whole_pages(size_t bytes) {
  return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

}  // namespace

class DebugQueue;

class DebugEvent : public Event {
 public:
  bool done() override;

  DebugQueue* queue = nullptr;         ///< where it was recorded last
  uint64_t recorded = 0, reached = 0;  ///< numbers of records: enqueued; done
};

class DebugQueue : public Queue {
 public:
  struct Task {
    std::function<void()> work;
    DebugEvent* awaited = nullptr;  ///< instead of work
    uint64_t ticket = 0;
  };

  explicit DebugQueue(DebugDevice& device) : device_(device) {}
  ~DebugQueue() override = default;  // what nobody waited for is not done

  void copy(void* to, const void* from, size_t bytes) override {
    if (bytes == 0) return;
    CHECK(device_.holds(to, bytes) || device_.within(device_.pinned_, to, bytes),
          "a copy into memory that is neither the device's nor pinned");
    CHECK(device_.holds(from, bytes) || device_.within(device_.pinned_, from, bytes),
          "a copy from memory that is neither the device's nor pinned");
    enqueue({[=] { std::memcpy(to, from, bytes); }});
  }
  void clear(void* to, size_t bytes) override {
    CHECK(bytes == 0 || device_.holds(to, bytes), "clear is for device memory");
    enqueue({[=] { std::memset(to, 0, bytes); }});
  }
  void record(Event& event) override {
    CHECK(!recording_, "events are not part of recordings");
    auto& own = dynamic_cast<DebugEvent&>(event);
    CHECK(own.reached == own.recorded || own.queue == this, "an event belongs to one queue at a time");
    own.queue = this;
    const uint64_t ticket = ++own.recorded;
    enqueue({[&own, ticket] { own.reached = ticket; }});
  }
  void wait(Event& event) override {
    CHECK(!recording_, "events are not part of recordings");
    auto& awaited = dynamic_cast<DebugEvent&>(event);
    enqueue({{}, &awaited, awaited.recorded});
  }
  void synchronize() override {
    CHECK(!recording_, "nothing is done while recording");
    run_while([&] { return !tasks_.empty(); });
  }

  void enqueue(Task task) {
    if (recording_) {
      recording_->push_back(std::move(task));
      return;
    }
    tasks_.push_back(std::move(task));
    if (device_.early()) run_while([&] { return !tasks_.empty() && runnable(tasks_.front()); });
  }
  void start_recording(std::vector<Task>& tasks) {
    CHECK(!recording_, "one recording at a time");
    recording_ = &tasks;
  }
  void end_recording() { recording_ = nullptr; }

  /// The first task; other queues' first where it waits for them.
  void run_one() {
    CHECK(!tasks_.empty(), "a wait for an event that nobody records");
    CHECK(!running_, "queues wait for each other");
    const Task task = std::move(tasks_.front());
    tasks_.pop_front();
    running_ = true;
    try {
      if (task.awaited)
        while (task.awaited->reached < task.ticket) task.awaited->queue->run_one();
      else
        device_.run_open(task.work);
    } catch (...) {
      running_ = false;
      throw;
    }
    running_ = false;
  }
  /// A few of the first tasks, or all.
  void run_some() {
    int left = 16;
    run_while([&] { return left-- > 0 && !tasks_.empty(); });
  }

 private:
  /// Memory is opened once for all of them: each time costs a system call for every allocation.
  template <class More>
  void run_while(const More& more) {
    if (!more()) return;
    device_.run_open([&] {
      while (more()) run_one();
    });
  }
  static bool runnable(const Task& task) { return !task.awaited || task.awaited->reached >= task.ticket; }

  DebugDevice& device_;
  std::deque<Task> tasks_;
  std::vector<Task>* recording_ = nullptr;
  bool running_ = false;
};

bool DebugEvent::done() {
  if (reached == recorded) return true;
  queue->run_some();  // who asks lets time pass
  return reached == recorded;
}

namespace {

class DebugRecording : public Recording {
 public:
  void launch(Queue& queue) override {
    for (const DebugQueue::Task& task : tasks) dynamic_cast<DebugQueue&>(queue).enqueue(task);
  }
  std::vector<DebugQueue::Task> tasks;
};

}  // namespace

DebugDevice::DebugDevice(size_t bytes_max, uint64_t seed) : bytes_max_(bytes_max), coin_(mix64(seed)) {}

DebugDevice::~DebugDevice() {
  while (!device_.empty()) release(const_cast<std::byte*>(device_.begin()->first), MemoryKind::device);
  while (!pinned_.empty()) release(const_cast<std::byte*>(pinned_.begin()->first), MemoryKind::pinned);
}

std::byte* DebugDevice::allocate(size_t bytes, MemoryKind kind) {
  const size_t size = whole_pages(bytes);
  if (kind == MemoryKind::device && bytes_used_ + size > bytes_max_) return nullptr;
  void* mapped =
      mmap(nullptr, size + 2 * page_bytes(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  std::byte* memory = static_cast<std::byte*>(mapped) + page_bytes();
  CHECK(mprotect(memory, size, PROT_READ | PROT_WRITE) == 0, "opening fresh memory");
  std::memset(memory, 0xff, size);
  if (kind == MemoryKind::pinned) {
    pinned_[memory] = size;
    return memory;
  }
  CHECK(open_ > 0 || mprotect(memory, size, PROT_NONE) == 0, "closing fresh memory");
  device_[memory] = size;
  bytes_used_ += size;
  return memory;
}

void DebugDevice::release(std::byte* memory, MemoryKind kind) noexcept {
  Allocations& allocations = kind == MemoryKind::device ? device_ : pinned_;
  const auto found = allocations.find(memory);
  if (found == allocations.end()) return;
  munmap(memory - page_bytes(), found->second + 2 * page_bytes());
  if (kind == MemoryKind::device) bytes_used_ -= found->second;
  allocations.erase(found);
}

bool DebugDevice::within(const Allocations& allocations, const void* memory, size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(memory);
  auto next = allocations.upper_bound(begin);
  if (next == allocations.begin()) return false;
  const auto& [start, size] = *--next;
  return begin + bytes <= start + size;
}

void DebugDevice::protect(bool open) const {
  for (const auto& [begin, size] : device_)
    CHECK(mprotect(const_cast<std::byte*>(begin), size, open ? PROT_READ | PROT_WRITE : PROT_NONE) == 0,
          "protecting device memory");
}

void DebugDevice::run_open(const std::function<void()>& work) {
  if (open_++ == 0) protect(true);
  try {
    work();
  } catch (...) {
    if (--open_ == 0) protect(false);
    throw;
  }
  if (--open_ == 0) protect(false);
}

void DebugDevice::with_memory(Queue& queue, const std::function<void()>& work) {
  queue.synchronize();
  run_open(work);
}

// Half of the time nothing runs early for 256 tasks on end, so that what is enqueued piles up; else what is
// there runs at a quarter of the tasks.
bool DebugDevice::early() {
  const uint64_t toss = coin_++;
  return (mix64(toss >> 8) & 1) != 0 && (mix64(toss) & 3) == 0;
}

std::unique_ptr<Queue> DebugDevice::make_queue() {
  return std::make_unique<DebugQueue>(*this);
}

std::unique_ptr<Event> DebugDevice::make_event() {
  return std::make_unique<DebugEvent>();
}

std::unique_ptr<Recording> DebugDevice::record(Queue& queue, const std::function<void()>& work) {
  auto recording = std::make_unique<DebugRecording>();
  auto& own = dynamic_cast<DebugQueue&>(queue);
  own.start_recording(recording->tasks);
  try {
    work();
  } catch (...) {
    own.end_recording();
    throw;
  }
  own.end_recording();
  return recording;
}

DeviceProperties DebugDevice::properties() {
  return {"debug device (host memory)", bytes_max_, bytes_max_ - bytes_used_};
}

void DebugDevice::enqueue(Queue& queue, std::function<void()> work) {
  dynamic_cast<DebugQueue&>(queue).enqueue({std::move(work)});
}

}  // namespace lepton
