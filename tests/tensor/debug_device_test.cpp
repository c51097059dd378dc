// SPDX-License-Identifier: Apache-2.0
// The debug device: memory that only its work may touch, poisoned and bounded; Buffers on it; queues, events
// and recordings; and that a missing wait, in either direction, gives wrong numbers.
#include "tensor/debug_device.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "tensor/buffer.h"

namespace lepton {
namespace {

constexpr size_t mib = size_t{1} << 20;
constexpr uint64_t seeds = 20;

Device on(DebugDevice& device) {
  return {DeviceKind::debug, 0, &device};
}

size_t page() {
  return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

/// The bytes of device memory, by way of the queue.
std::vector<uint8_t> bytes_of(DebugDevice& device, Queue& queue, const std::byte* memory, size_t bytes) {
  std::vector<uint8_t> copy(bytes);
  device.enqueue(queue, [&copy, memory] { std::memcpy(copy.data(), memory, copy.size()); });
  queue.synchronize();
  return copy;
}

TEST(DebugDevice, FreshMemoryIsPoisonedAndAligned) {
  DebugDevice device(mib);
  const auto queue = device.make_queue();
  for (const size_t bytes : {size_t{1}, size_t{256}, page() + 1}) {
    const std::vector<uint8_t> poison(bytes, 0xff);
    for (int trial = 0; trial < 3; ++trial) {
      std::byte* const memory = device.allocate(bytes, MemoryKind::device);
      std::byte* const pinned = device.allocate(bytes, MemoryKind::pinned);
      ASSERT_TRUE(memory && pinned);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 256, 0u);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(pinned) % 256, 0u);
      EXPECT_EQ(bytes_of(device, *queue, memory, bytes), poison);
      EXPECT_EQ(std::memcmp(pinned, poison.data(), bytes), 0);
      std::memset(pinned, 1, bytes);
      queue->clear(memory, bytes);
      EXPECT_EQ(bytes_of(device, *queue, memory, bytes), std::vector<uint8_t>(bytes));
      device.release(memory, MemoryKind::device);
      device.release(pinned, MemoryKind::pinned);
    }
  }
}

TEST(DebugDevice, MemoryIsBoundedAndComesBack) {
  DebugDevice device(3 * page());
  const DeviceProperties fresh = device.properties();
  EXPECT_NE(fresh.name.find("debug device"), std::string::npos);
  EXPECT_EQ(fresh.bytes_total, 3 * page());
  EXPECT_EQ(fresh.bytes_free, 3 * page());
  std::byte* const first = device.allocate(page(), MemoryKind::device);
  std::byte* const second = device.allocate(2 * page(), MemoryKind::device);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(device.properties().bytes_total, 3 * page());
  EXPECT_EQ(device.properties().bytes_free, 0u);
  EXPECT_EQ(device.allocate(1, MemoryKind::device), nullptr);
  EXPECT_NE(device.allocate(8 * page(), MemoryKind::pinned), nullptr);  // is the host's, and does not count
  device.release(second, MemoryKind::device);
  EXPECT_EQ(device.properties().bytes_free, 2 * page());
  EXPECT_EQ(device.allocate(2 * page() + 1, MemoryKind::device), nullptr);
  EXPECT_NE(device.allocate(2 * page(), MemoryKind::device), nullptr);
}

TEST(DebugDevice, BuffersTakeItAndGiveItBack) {
  DebugDevice device(mib);
  const auto queue = device.make_queue();
  {
    const Buffer outer(on(device), 100, "test");
    Buffer inner(on(device), mib / 2, "test");
    EXPECT_EQ(inner.bytes(), mib / 2);
    EXPECT_EQ(inner.device(), on(device));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(inner.data()) % Buffer::alignment, 0u);
    EXPECT_EQ(bytes_of(device, *queue, outer.data(), 100), std::vector<uint8_t>(100, 0xff));
    Buffer pinned(on(device), 2 * mib, "test", MemoryKind::pinned);
    EXPECT_FALSE(device.holds(pinned.data(), 1));
    pinned.as<int>()[0] = 42;
    inner = std::move(pinned);  // the kind moves too, or neither would be released
    EXPECT_EQ(inner.as<int>()[0], 42);
    EXPECT_TRUE(device.holds(outer.data(), 100));
    EXPECT_EQ(device.properties().bytes_free, mib / 2 - page());
  }
  EXPECT_EQ(device.properties().bytes_free, mib);
}

TEST(DebugDevice, ABufferThatDoesNotFitNamesPurposeAndDeviceMemory) {
  DebugDevice device(mib);
  try {
    const Buffer buffer(on(device), 5 * mib, "activations of the test");
    ADD_FAILURE() << "5 MiB of 1";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::memory);
    EXPECT_EQ(error.where(), "activations of the test");
    EXPECT_NE(error.problem().find("5 MiB of device memory"), std::string::npos) << error.problem();
  }
  EXPECT_EQ(device.properties().bytes_free, mib);
}

TEST(DebugDevice, HoldsWhatLiesInOneAllocation) {
  DebugDevice device(mib);
  std::byte* const memory = device.allocate(2 * page(), MemoryKind::device);
  EXPECT_TRUE(device.holds(memory, 0));
  EXPECT_TRUE(device.holds(memory, 2 * page()));
  EXPECT_TRUE(device.holds(memory + page(), page()));
  EXPECT_FALSE(device.holds(memory, 2 * page() + 1));
  EXPECT_FALSE(device.holds(memory - 1, 1));
  EXPECT_FALSE(device.holds(memory + 2 * page(), 1));
  EXPECT_FALSE(device.holds(&device, 1));
  EXPECT_FALSE(device.holds(device.allocate(page(), MemoryKind::pinned), 1));
  device.release(memory, MemoryKind::device);
  EXPECT_FALSE(device.holds(memory, 1));
}

int load(const volatile std::byte* memory) {
  return static_cast<int>(*memory);
}
void store(volatile std::byte* memory) {
  *memory = std::byte{1};
}

TEST(DebugDeviceDeath, NobodyTouchesDeviceMemoryOutsideWork) {
  DebugDevice device(mib);
  const auto queue = device.make_queue();
  std::byte* const memory = device.allocate(2 * page(), MemoryKind::device);
  EXPECT_DEATH(load(memory), "");
  EXPECT_DEATH(store(memory + 2 * page() - 1), "");
  int found = 0;
  device.enqueue(*queue, [&found, memory] {
    store(memory);
    found = load(memory);
  });
  queue->synchronize();
  EXPECT_EQ(found, 1);
  EXPECT_DEATH(load(memory), "");  // closed again
}

TEST(DebugDeviceDeath, PagesAroundAnAllocationAreNeverOpen) {
  DebugDevice device(mib);
  const auto queue = device.make_queue();
  for (const MemoryKind kind : {MemoryKind::device, MemoryKind::pinned}) {
    std::byte* const memory = device.allocate(page(), kind);
    for (std::byte* const outside : {memory - 1, memory + page()})
      EXPECT_DEATH(
          {
            device.enqueue(*queue, [outside] { store(outside); });
            queue->synchronize();
          },
          "");
  }
}

TEST(DebugDeviceDeath, IsClosedAlsoAfterWorkThatFailed) {
  DebugDevice device(mib);
  const auto queue = device.make_queue();
  std::byte* const memory = device.allocate(page(), MemoryKind::device);
  const auto fail_on_device = [&] {
    device.enqueue(*queue, [] { fail(Exit::software, "", "of the test", ""); });
    queue->synchronize();
  };
  EXPECT_THROW(fail_on_device(), Error);
  EXPECT_DEATH(load(memory), "");
  EXPECT_EQ(bytes_of(device, *queue, memory, 3), std::vector<uint8_t>(3, 0xff));  // the queue goes on
}

TEST(DebugDevice, CopiesAreBetweenDeviceAndPinnedMemoryOnly) {
  DebugDevice device(mib);
  const auto queue = device.make_queue();
  std::byte *const a = device.allocate(page(), MemoryKind::device),
                   *const b = device.allocate(page(), MemoryKind::device),
                   *const in = device.allocate(page(), MemoryKind::pinned),
                   *const out = device.allocate(page(), MemoryKind::pinned);
  std::vector<std::byte> host(page());
  std::memset(in, 7, page());
  EXPECT_THROW(queue->copy(a, host.data(), 8), Error);
  EXPECT_THROW(queue->copy(host.data(), a, 8), Error);
  EXPECT_THROW(queue->copy(host.data(), in, 8), Error);
  EXPECT_THROW(queue->copy(a, in + page() - 7, 8), Error);
  EXPECT_THROW(queue->copy(a + page() - 7, in, 8), Error);
  EXPECT_THROW(queue->clear(host.data(), 8), Error);
  EXPECT_THROW(queue->clear(in, 8), Error);
  queue->copy(a, in, page());
  queue->copy(b, a, page());
  queue->clear(b + 1, 2);
  queue->copy(out, b, 4);
  queue->copy(host.data(), host.data(), 0);  // nothing is from anywhere
  queue->synchronize();
  EXPECT_EQ(std::vector<uint8_t>(reinterpret_cast<uint8_t*>(out), reinterpret_cast<uint8_t*>(out) + 5),
            (std::vector<uint8_t>{7, 0, 0, 7, 0xff}));
}

TEST(DebugDevice, AQueueWorksInOrder) {
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    DebugDevice device(mib, seed);
    const auto queue = device.make_queue();
    std::vector<int> done, want(50);
    std::iota(want.begin(), want.end(), 0);
    for (const int i : want) device.enqueue(*queue, [&done, i] { done.push_back(i); });
    queue->synchronize();
    ASSERT_EQ(done, want);
  }
}

TEST(DebugDevice, WorkRunsLateOrEarlyByTheSeed) {
  bool late = false, early = false;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    int done[2] = {};
    for (int& found : done) {
      DebugDevice device(mib, seed);
      const auto queue = device.make_queue();
      device.enqueue(*queue, [&found] { found = 1; });
    }
    EXPECT_EQ(done[0], done[1]);
    (done[0] ? early : late) = true;
  }
  EXPECT_TRUE(late && early);
}

TEST(DebugDevice, EventsAreDoneWhenWhatIsBeforeThemIs) {
  bool pending = false;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    DebugDevice device(mib, seed);
    const auto queue = device.make_queue(), other = device.make_queue();
    const auto event = device.make_event();
    EXPECT_TRUE(event->done());  // never recorded
    other->wait(*event);
    other->synchronize();
    int count = 0;
    for (int round = 1; round <= 3; ++round) {
      for (int i = 0; i < 40; ++i) device.enqueue(*queue, [&count] { ++count; });
      queue->record(*event);
      while (!event->done()) pending = true;  // who asks lets time pass
      ASSERT_GE(count, 40 * round);
    }
  }
  EXPECT_TRUE(pending);
}

TEST(DebugDevice, AQueueWaitsForAnotherWhicheverIsAskedFirst) {
  for (uint64_t seed = 0; seed < seeds; ++seed)
    for (const bool waiting_first : {false, true}) {
      DebugDevice device(mib, seed);
      const auto queue = device.make_queue(), other = device.make_queue();
      const auto event = device.make_event();
      std::string done;
      device.enqueue(*queue, [&done] { done += 'a'; });
      queue->record(*event);
      other->wait(*event);
      device.enqueue(*other, [&done] { done += 'b'; });
      (waiting_first ? other : queue)->synchronize();
      ASSERT_NE(done.find('a'), std::string::npos);
      (waiting_first ? queue : other)->synchronize();
      ASSERT_EQ(done, "ab") << "seed " << seed;
    }
}

TEST(DebugDevice, AnEventBelongsToOneQueueUntilItIsDone) {
  bool refused = false;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    DebugDevice device(mib, seed);
    const auto queue = device.make_queue(), other = device.make_queue();
    const auto event = device.make_event();
    queue->record(*event);
    try {
      other->record(*event);
    } catch (const Error&) {
      refused = true;
    }
    queue->synchronize();
    EXPECT_NO_THROW(other->record(*event));
    other->synchronize();
  }
  EXPECT_TRUE(refused);
}

TEST(DebugDevice, RecordingsRunWhenTheyAreLaunched) {
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    DebugDevice device(mib, seed);
    const auto queue = device.make_queue();
    const Buffer memory(on(device), 4, "test"), out(on(device), 4, "test", MemoryKind::pinned);
    int* const number = memory.as<int>().data();
    queue->clear(memory.data(), 4);
    const auto recording = device.record(*queue, [&] {
      device.enqueue(*queue, [number] { ++*number; });
      queue->copy(out.data(), memory.data(), 4);
    });
    queue->synchronize();
    EXPECT_EQ(out.as<int>()[0], -1);  // recorded, not done
    for (int launches = 1; launches <= 3; ++launches) {
      recording->launch(*queue);
      queue->synchronize();
      ASSERT_EQ(out.as<int>()[0], launches);
    }
    recording->launch(*queue);
    recording->launch(*queue);
    queue->synchronize();
    ASSERT_EQ(out.as<int>()[0], 5);
  }
}

TEST(DebugDevice, RecordingsHoldNeitherEventsNorWaits) {
  DebugDevice device(mib);
  const auto queue = device.make_queue();
  const auto event = device.make_event();
  const std::function<void()> refused[] = {[&] { queue->record(*event); }, [&] { queue->wait(*event); },
                                           [&] { queue->synchronize(); },
                                           [&] { device.record(*queue, [] {}); }};
  for (const auto& work : refused) EXPECT_THROW(device.record(*queue, work), Error);
  int done = 0;  // and a refusal does not leave the queue recording
  device.enqueue(*queue, [&done] { ++done; });
  queue->synchronize();
  EXPECT_EQ(done, 1);
  EXPECT_THROW(device.record(*queue, [] { throw std::runtime_error("of the caller"); }), std::runtime_error);
  EXPECT_NO_THROW(queue->synchronize());
}

/// A producer that writes one number after another into one place, and a consumer that reads each, on two
/// queues: how many of the numbers arrive wrong.
int wrong_numbers(uint64_t seed, bool consumer_waits, bool producer_waits) {
  constexpr int trials = 10;
  DebugDevice device(mib, seed);
  const auto producer = device.make_queue(), consumer = device.make_queue();
  const auto written = device.make_event(), read = device.make_event();
  const Buffer in(on(device), trials * 4, "test", MemoryKind::pinned),
      out(on(device), trials * 4, "test", MemoryKind::pinned), place(on(device), 4, "test");
  for (int i = 0; i < trials; ++i) {
    in.as<int>()[static_cast<size_t>(i)] = i;
    if (producer_waits) producer->wait(*read);
    producer->copy(place.data(), in.data() + 4 * i, 4);
    producer->record(*written);
    if (consumer_waits) consumer->wait(*written);
    consumer->copy(out.data() + 4 * i, place.data(), 4);
    consumer->record(*read);
  }
  consumer->synchronize();
  producer->synchronize();
  const std::span<const int> got = out.as<int>();
  int wrong = 0;
  for (int i = 0; i < trials; ++i) wrong += got[static_cast<size_t>(i)] != i;
  return wrong;
}

TEST(DebugDevice, AMissingWaitShows) {
  int both = 0, early_reader = 0, early_writer = 0;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    both += wrong_numbers(seed, true, true);
    early_reader += wrong_numbers(seed, false, true) > 0;
    early_writer += wrong_numbers(seed, true, false) > 0;
  }
  EXPECT_EQ(both, 0);
  EXPECT_GT(early_reader, 10);  // of 20 seeds
  EXPECT_GT(early_writer, 10);
}

}  // namespace
}  // namespace lepton
