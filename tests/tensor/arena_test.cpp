// SPDX-License-Identifier: Apache-2.0
// The arena's layout: aligned tensors in order, statistics last, and segments that cover each tensor exactly
// once and never cross a block.
#include "tensor/arena.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "base/philox.h"

namespace lepton {
namespace {

constexpr TensorRole parameter = TensorRole::parameter, statistic = TensorRole::statistic;

ArenaLayout layout_of(const std::vector<Shape>& shapes) {
  ArenaLayout layout;
  for (const Shape& shape : shapes) layout.add("t", shape, parameter, true);
  layout.finish();
  return layout;
}

/// Every rule that the header states about segments.
void expect_segments_cover(const ArenaLayout& layout) {
  std::vector<int> covered(static_cast<size_t>(layout.elements()), 0);
  int64_t previous_end = 0;
  for (const Segment& s : layout.segments()) {
    ASSERT_LT(s.begin, s.end);
    ASSERT_GE(s.begin, previous_end);
    previous_end = s.end;
    ASSERT_EQ(s.begin / block_elements, (s.end - 1) / block_elements);
    const ArenaTensor& t = layout.tensors()[s.tensor];
    ASSERT_GE(s.begin, t.offset);
    ASSERT_LE(s.end, t.offset + t.count);
    for (int64_t i = s.begin; i < s.end; ++i) ++covered[i];
  }
  for (const ArenaTensor& t : layout.tensors())
    for (int64_t i = t.offset; i < t.offset + t.count; ++i) ASSERT_EQ(covered[i], 1);
  int64_t total = 0;
  for (const int count : covered) total += count;
  int64_t elements = 0;
  for (const ArenaTensor& t : layout.tensors()) elements += t.count;
  EXPECT_EQ(total, elements);  // padding belongs to no segment
  ASSERT_EQ(layout.segment_begin(0), 0);
  ASSERT_EQ(layout.segment_begin(layout.blocks()), static_cast<int64_t>(layout.segments().size()));
  for (int64_t b = 0; b < layout.blocks(); ++b)
    for (int64_t s = layout.segment_begin(b); s < layout.segment_begin(b + 1); ++s)
      ASSERT_EQ(layout.segments()[s].begin / block_elements, b);
}

TEST(Arena, TensorsStandInOrderAtMultiplesOf16) {
  ArenaLayout layout;
  EXPECT_EQ(layout.add("a.weight", {3, 7}, parameter, true, 0.5), 0);
  EXPECT_EQ(layout.add("a.bias", {7}, parameter, false), 1);
  EXPECT_EQ(layout.add("b.weight", {16}, parameter, true), 2);
  EXPECT_EQ(layout.add("b.mean", {1}, statistic, false), 3);
  layout.finish();
  const std::vector<ArenaTensor>& t = layout.tensors();
  EXPECT_EQ(t[0].offset, 0);
  EXPECT_EQ(t[1].offset, 32);
  EXPECT_EQ(t[2].offset, 48);
  EXPECT_EQ(t[3].offset, 64);
  EXPECT_EQ(layout.elements(), 80);
  EXPECT_EQ(t[0].count, 21);
  EXPECT_EQ(t[0].name, "a.weight");
  EXPECT_EQ(t[0].shape, (Shape{3, 7}));
  EXPECT_TRUE(t[0].decays);
  EXPECT_EQ(t[0].l2, 0.5);
  EXPECT_FALSE(t[1].decays);
  EXPECT_EQ(t[3].role, statistic);
}

TEST(Arena, ParametersAreCountedWithoutPaddingAndStatistics) {
  ArenaLayout layout;
  layout.add("w", {3, 7}, parameter, true);
  layout.add("b", {7}, parameter, false);
  layout.add("mean", {100}, statistic, false);
  layout.finish();
  EXPECT_EQ(layout.parameter_count(), 28);
}

TEST(Arena, BlocksAndSegmentsOfKnownCuts) {
  // A tensor of a block and a half, then two small ones in the second block, then one over three blocks.
  const ArenaLayout layout = layout_of({{6144}, {10}, {100}, {3, 4096}});
  const int64_t last = 6144 + 16 + 112;
  EXPECT_EQ(layout.elements(), last + 3 * 4096);
  EXPECT_EQ(layout.blocks(), 5);
  expect_segments_cover(layout);
  ASSERT_EQ(layout.segments().size(), 8u);
  EXPECT_EQ(layout.segments()[0].end, 4096);
  EXPECT_EQ(layout.segments()[1].begin, 4096);
  EXPECT_EQ(layout.segments()[1].end, 6144);
  EXPECT_EQ(layout.segments()[2].end, 6154);  // not into the padding
  EXPECT_EQ(layout.segments()[4].begin, last);
  EXPECT_EQ(layout.segments()[4].end, 8192);
  EXPECT_EQ(layout.segment_begin(1), 1);
  EXPECT_EQ(layout.segment_begin(2), 5);
}

TEST(Arena, TensorsThatEndWithABlock) {
  const ArenaLayout layout = layout_of({{4096}, {8192}, {16}});
  EXPECT_EQ(layout.blocks(), 4);
  EXPECT_EQ(layout.segments().size(), 4u);
  expect_segments_cover(layout);
}

TEST(Arena, ScalarsAndManySmallTensorsInOneBlock) {
  expect_segments_cover(layout_of({{}, {1}, {1, 1, 1}, {17}}));
  expect_segments_cover(layout_of(std::vector<Shape>(1000, Shape{5})));
}

TEST(Arena, AnyShapesAreCovered) {
  uint64_t random = 7;
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<Shape> shapes;
    for (int i = 0; i < 12; ++i) {
      random = mix64(random);
      shapes.push_back(
          {1 + static_cast<int64_t>(random % 5), 1 + static_cast<int64_t>((random >> 20) % 3000)});
    }
    expect_segments_cover(layout_of(shapes));
  }
}

TEST(Arena, AnEmptyLayoutHasNothing) {
  const ArenaLayout layout = layout_of({});
  EXPECT_EQ(layout.elements(), 0);
  EXPECT_EQ(layout.blocks(), 0);
  EXPECT_TRUE(layout.segments().empty());
}

TEST(Arena, RulesAreChecked) {
  ArenaLayout late;
  late.add("mean", {4}, statistic, false);
  EXPECT_THROW(late.add("w", {4}, parameter, true), Error);  // statistics stand behind
  EXPECT_NO_THROW(late.add("var", {4}, statistic, false));
  late.finish();
  EXPECT_THROW(late.add("var", {4}, statistic, false), Error);  // finished
}

}  // namespace
}  // namespace lepton
