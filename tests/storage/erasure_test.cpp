// SPDX-License-Identifier: Apache-2.0
// Any so many blocks as there are of data give every lost one back; one less is refused.
#include "storage/erasure.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"

namespace lepton::storage {
namespace {

using Blocks = std::vector<std::vector<std::byte>>;

Blocks make_blocks(const Erasure& code, int data, int parity, size_t bytes) {
  Blocks blocks(static_cast<size_t>(data + parity), std::vector<std::byte>(bytes));
  uint64_t count = 0;
  for (int i = 0; i < data; ++i)
    for (std::byte& byte : blocks[static_cast<size_t>(i)]) byte = static_cast<std::byte>(mix64(++count));
  for (int p = 0; p < parity; ++p)
    for (int i = 0; i < data; ++i)
      multiply_add(code.coefficient(p, i), blocks[static_cast<size_t>(i)],
                   blocks[static_cast<size_t>(data + p)]);
  return blocks;
}

TEST(Erasure, AnyLossOfAsManyBlocksAsThereIsParityIsRestored) {
  for (const auto& [data, parity] : {std::pair{1, 1}, {1, 3}, {4, 1}, {5, 2}, {3, 3}, {31, 1}}) {
    const Erasure code(data, parity);
    for (const size_t bytes : {size_t{1}, size_t{100}, size_t{4096}}) {
      const Blocks blocks = make_blocks(code, data, parity, bytes);
      std::vector<char> lost(blocks.size(), 0);
      std::fill_n(lost.begin(), parity, 1);
      std::sort(lost.begin(), lost.end());
      do {
        std::vector<int> left;
        for (size_t i = 0; i < blocks.size(); ++i)
          if (!lost[i]) left.push_back(static_cast<int>(i));
        for (int i = 0; i < data; ++i) {
          if (!lost[static_cast<size_t>(i)]) continue;
          const std::vector<uint8_t> by = code.restoring(i, left);
          std::vector<std::byte> restored(bytes);
          for (size_t b = 0; b < left.size(); ++b)
            multiply_add(by[b], blocks[static_cast<size_t>(left[b])], restored);
          ASSERT_EQ(restored, blocks[static_cast<size_t>(i)]) << data << " + " << parity << ", block " << i;
        }
      } while (std::next_permutation(lost.begin(), lost.end()));
    }
  }
}

TEST(Erasure, RefusesWhatIsNoCode) {
  EXPECT_THROW(Erasure(0, 1), Error);
  EXPECT_THROW(Erasure(254, 2), Error);
  const Erasure code(3, 1);
  const std::vector<int> two = {0, 3};
  EXPECT_THROW(code.restoring(1, two), Error);
  EXPECT_THROW(code.coefficient(1, 0), Error);
  std::vector<std::byte> longer(2);
  EXPECT_THROW(multiply_add(3, std::span(longer).first(1), longer), Error);
}

}  // namespace
}  // namespace lepton::storage
