// SPDX-License-Identifier: Apache-2.0
// MPI on device memory: the debug device's memory is closed but for its work and for what is allowed to reach
// it. Sums and gathers against ones computed locally; nodes whose arrays lie on the host take part.
#include "comm/mpi_device_group.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "comm/worlds.h"
#include "tensor/debug_device.h"

namespace lepton::comm {
namespace {

int64_t held(int node, int64_t i) {
  return static_cast<int64_t>(mix64(static_cast<uint64_t>(i) * 64 + static_cast<uint64_t>(node)));
}

/// Equal parts, the last ones short or empty.
std::vector<int64_t> equal_parts(int nodes, int64_t count) {
  const int64_t part = (count + nodes - 1) / nodes;
  std::vector<int64_t> offsets;
  for (int64_t n = 0; n <= nodes; ++n) offsets.push_back(std::min(n * part, count));
  return offsets;
}

/// A debug device with an array, and a group on it.
class Member {
 public:
  Member(const World& world, int64_t count, size_t piece_bytes)
      : backend(size_t{64} << 20, static_cast<uint64_t>(world.node())),
        device{DeviceKind::debug, 0, &backend},
        queue(backend.make_queue()),
        array(device, static_cast<size_t>(count + 1) * 8, "an array"),
        group(
            world, device, *queue,
            [this](int64_t* sums, const int64_t* more, int64_t n) {
              backend.enqueue(*queue, [=] {
                for (int64_t i = 0; i < n; ++i)
                  sums[i] =
                      static_cast<int64_t>(static_cast<uint64_t>(sums[i]) + static_cast<uint64_t>(more[i]));
              });
            },
            piece_bytes) {}
  /// Enqueued: the group must wait for it.
  template <class T, class Value>
  void fill(int64_t begin, int64_t end, const Value& value) {
    T* to = array.as<T>().data();
    backend.enqueue(*queue, [=] {
      for (int64_t i = begin; i < end; ++i) to[i] = value(i);
    });
  }
  template <class T>
  std::vector<T> values(int64_t count) {
    std::vector<T> found;
    backend.enqueue(*queue, [&] { found.assign(array.as<T>().data(), array.as<T>().data() + count); });
    group.finish({});
    return found;
  }

  DebugDevice backend;
  Device device;
  std::unique_ptr<Queue> queue;
  Buffer array;
  MpiDeviceGroup group;
};

TEST(MpiDeviceGroup, AddsUpTheNodesArrays) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    for (const size_t piece_bytes : {size_t{8}, size_t{1000}, size_t{512} << 10})
      for (const int64_t count : {1, 5, 300}) {
        const std::vector<int64_t> offsets = equal_parts(world.nodes(), count);
        Member member(world, count, piece_bytes);
        for (int round = 0; round < 2; ++round) {
          member.fill<int64_t>(0, count, [node = world.node()](int64_t i) { return held(node, i); });
          member.group.reduce_scatter(member.array.as<int64_t>().data(), offsets, {});
          const std::vector<int64_t> sums = member.values<int64_t>(count);
          for (int64_t i = offsets[world.node()]; i < offsets[world.node() + 1]; ++i) {
            uint64_t expected = 0;
            for (int node = 0; node < world.nodes(); ++node) expected += static_cast<uint64_t>(held(node, i));
            ASSERT_EQ(static_cast<uint64_t>(sums[static_cast<size_t>(i)]), expected) << "element " << i;
          }
        }
      }
  });
}

TEST(MpiDeviceGroup, GathersAllParts) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    for (const int64_t count : {1, 7, 2000}) {
      const std::vector<int64_t> offsets = equal_parts(world.nodes(), count);
      Member member(world, count, 4096);
      const auto value = [](int64_t i) { return 0.25f * static_cast<float>(i); };
      member.fill<float>(offsets[world.node()], offsets[world.node() + 1], value);
      member.group.all_gather(member.array.data(), offsets, sizeof(float), {});
      const std::vector<float> all = member.values<float>(count);
      for (int64_t i = 0; i < count; ++i) ASSERT_EQ(all[static_cast<size_t>(i)], value(i));
    }
  });
}

// A node on the CPU and one on a device are the same to each other.
TEST(MpiDeviceGroup, NodesOnTheHostTakePart) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    constexpr int64_t count = 500;
    const std::vector<int64_t> offsets = equal_parts(world.nodes(), count);
    std::vector<int64_t> own(count);
    for (int64_t i = 0; i < count; ++i) own[static_cast<size_t>(i)] = held(world.node(), i);
    if (world.node() % 2 == 0) {
      LeaderReduction reduction(world, 256);
      reduction.reduce_scatter(own, offsets, {});
      reduction.all_gather(std::as_writable_bytes(std::span(own)), offsets, sizeof(int64_t), {});
    } else {
      Member member(world, count, 256);
      member.fill<int64_t>(0, count, [&own](int64_t i) { return own[static_cast<size_t>(i)]; });
      member.group.reduce_scatter(member.array.as<int64_t>().data(), offsets, {});
      member.group.all_gather(member.array.data(), offsets, sizeof(int64_t), {});
      own = member.values<int64_t>(count);
    }
    for (int64_t i = 0; i < count; ++i) {
      uint64_t expected = 0;
      for (int node = 0; node < world.nodes(); ++node) expected += static_cast<uint64_t>(held(node, i));
      ASSERT_EQ(static_cast<uint64_t>(own[static_cast<size_t>(i)]), expected) << "element " << i;
    }
  });
}

TEST(MpiDeviceGroup, ReachesTheDebugDevicesMemoryAlways) {
  EXPECT_TRUE(mpi_reaches(DeviceKind::debug));
}

}  // namespace
}  // namespace lepton::comm
