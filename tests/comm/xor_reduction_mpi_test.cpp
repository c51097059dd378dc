// SPDX-License-Identifier: Apache-2.0
// The exclusive or of a group's arrays comes to the node that it is for, whatever else is under way.
#include "comm/xor_reduction.h"

#include <gtest/gtest.h>

#include "comm/reduction.h"
#include "worlds.h"

namespace lepton::comm {
namespace {

using Words = std::vector<uint64_t>;

Words words_of(int node, int number) {
  Random random(static_cast<uint64_t>(100 * node + number));
  Words words(1000);
  for (uint64_t& word : words) word = random.next();
  return words;
}

void wait(XorReduction& reduction, int place) {
  while (!reduction.test(place)) continue;
}

TEST(XorReduction, GivesTheExclusiveOrOfAGroupToEachOfItsNodes) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    // Two groups, where there are two nodes or more.
    const int half = world.nodes() / 2, first = world.node() < half ? 0 : half,
              count = first == 0 && half > 0 ? half : world.nodes() - half;
    constexpr int places = 3;
    XorReduction reduction(world, first, count, places);
    LeaderReduction other(world);
    std::vector<Words> in, out(places, Words(1000));
    for (int i = 0; i < places; ++i) in.push_back(words_of(world.node(), i));
    for (int i = 0; i < places; ++i)
      reduction.begin(i, std::as_bytes(std::span(in[static_cast<size_t>(i)])),
                      std::as_writable_bytes(std::span(out[static_cast<size_t>(i)])), i % count);
    std::vector<int64_t> lanes{1};
    other.all_reduce(lanes, 1, {});
    EXPECT_EQ(lanes[0], world.nodes());
    for (int i = 0; i < places; ++i) {
      wait(reduction, i);
      Words expected(1000);
      for (int node = first; node < first + count; ++node) {
        const Words words = words_of(node, i);
        for (size_t w = 0; w < words.size(); ++w) expected[w] ^= words[w];
      }
      if (world.node() == first + i % count) {
        EXPECT_EQ(out[static_cast<size_t>(i)], expected);
      } else {
        EXPECT_EQ(out[static_cast<size_t>(i)], Words(1000)) << "it is for another node";
      }
    }
    Words all(static_cast<size_t>(count));
    reduction.begin_gather(1, static_cast<uint64_t>(7 + world.node()), all);
    wait(reduction, 1);
    for (int i = 0; i < count; ++i)
      EXPECT_EQ(all[static_cast<size_t>(i)], static_cast<uint64_t>(7 + first + i));
  });
}

}  // namespace
}  // namespace lepton::comm
