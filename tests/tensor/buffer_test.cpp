// SPDX-License-Identifier: Apache-2.0
// Buffers: aligned, zeroed, movable; a failed allocation names its purpose and how much was asked for.
#include "tensor/buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "base/error.h"

namespace lepton {
namespace {

constexpr Device host{};

TEST(Buffer, IsAlignedZeroedAndAsLongAsAsked) {
  for (const size_t bytes : {size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{1'000'000}}) {
    const Buffer buffer(host, bytes, "test");
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % Buffer::alignment, 0u);
    EXPECT_TRUE(
        std::all_of(buffer.data(), buffer.data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
  }
}

TEST(Buffer, IsZeroedAlsoInMemoryUsedBefore) {
  for (int trial = 0; trial < 50; ++trial) {
    Buffer buffer(host, 4096, "test");
    for (const uint8_t byte : buffer.as<uint8_t>()) ASSERT_EQ(byte, 0);
    std::fill_n(buffer.as<uint8_t>().begin(), 4096, uint8_t{0xab});
  }
}

TEST(Buffer, OfNoBytesHoldsNothing) {
  const Buffer none, zero(host, 0, "test");
  for (const Buffer* buffer : {&none, &zero}) {
    EXPECT_EQ(buffer->data(), nullptr);
    EXPECT_EQ(buffer->bytes(), 0u);
    EXPECT_TRUE(buffer->as<float>().empty());
  }
}

TEST(Buffer, ViewsCountWholeElements) {
  const Buffer buffer(host, 10, "test");
  EXPECT_EQ(buffer.as<float>().size(), 2u);
  EXPECT_EQ(buffer.as<int64_t>().size(), 1u);
  EXPECT_EQ(buffer.device(), host);
}

TEST(Buffer, MovesWithItsBytes) {
  Buffer first(host, 64, "test");
  first.as<int>()[3] = 42;
  std::byte* const data = first.data();
  Buffer second(std::move(first));
  EXPECT_EQ(second.data(), data);
  EXPECT_EQ(first.bytes(), 0u);  // NOLINT: what is left behind is empty
  Buffer third(host, 128, "test");
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_EQ(third.bytes(), 64u);
  EXPECT_EQ(third.as<int>()[3], 42);
}

TEST(Buffer, TooMuchMemoryIsAnErrorThatNamesPurposeAndSize) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer ends the program where malloc would return null";
#endif
  try {
    const Buffer buffer(host, size_t{1} << 60, "activations of the test");
    ADD_FAILURE() << "a machine with an exbibyte";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::memory);
    EXPECT_EQ(error.where(), "activations of the test");
    EXPECT_NE(error.problem().find(std::to_string(uint64_t{1} << 40)), std::string::npos) << error.problem();
  }
}

}  // namespace
}  // namespace lepton
