// SPDX-License-Identifier: Apache-2.0
// The block loops of a step's end against plain loops over the whole arena: any number of threads gives the
// bits of one, a flipped bit is counted, and nothing outside the slice is touched.
#include "train/phases.h"

#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <thread>

#include "base/exact_sum.h"
#include "exact/slices.h"
#include "ops/parameters_hash.h"
#include "ops/quantise.h"
#include "scratch.h"
#include "train/unit_runner.h"

namespace lepton::train {
namespace {

constexpr int scale = 30;

float value(int stream, int64_t i) {
  return static_cast<float>(std::sin(static_cast<double>(i) * 0.7 + stream));
}

/// A node's state after all units have been added: known sums, parameters and moments in slot 0. Leaders fill
/// it.
class Phases : public ::testing::Test {
 protected:
  Phases() : world_(60, 1), slices_(), optimizer_(spec(), 0.9) {
    layout_.add("a", {70, 70}, TensorRole::parameter, true, 0.01);
    layout_.add("b", {33}, TensorRole::parameter, false);
    layout_.add("c", {9000}, TensorRole::parameter, true);
    layout_.add("mean", {100}, TensorRole::statistic, false);
    layout_.finish();
    slices_ = exact::cut_arena(layout_, world_.nodes());
    node_.emplace(world_, layout_, NodeSizes{.max_samples = 8, .max_units = 8, .state = {.moments = 2}},
                  lanes(), slices_.elements, "/dev/shm");
    fill();
  }
  static optim::OptimizerSpec spec() {
    optim::OptimizerSpec spec;
    spec.clip_norm = 0.5;
    spec.weight_decay = 0.1;
    return spec;
  }
  exact::Lanes lanes() const {
    return {static_cast<int>(layout_.tensors().size()), world_.nodes(), static_cast<int>(Exact::count),
            static_cast<int>(Count::fixed_counts)};
  }
  void fill() {
    std::fill(node_->scales().begin(), node_->scales().end(), scale);
    exact::Lanes mine = lanes();
    for (int t = 0; t < static_cast<int>(layout_.tensors().size()); ++t) {
      const ArenaTensor& tensor = layout_.tensors()[t];
      std::vector<float> gradient(tensor.count);
      for (int64_t i = 0; i < tensor.count; ++i) {
        gradient[i] = value(1, tensor.offset + i);
        node_->parameters(0)[tensor.offset + i] = value(2, tensor.offset + i);
      }
      node_->accumulator().add(t, 0, gradient, scale, 0x7f800000, 0, 0, 0, mine);
    }
    for (int m = 0; m < 2; ++m)
      for (size_t i = 0; i < node_->moment(0, m).size(); ++i)
        node_->moment(0, m)[i] = std::fabs(value(3 + m, node_->slice_begin() + static_cast<int64_t>(i)));
    hash_state(*node_, layout_, 0);
    node_->control().outcome = Outcome::accept;
    node_->control().update = optimizer_.plan(3, 24, 7, 24);
  }
  /// Runs `phase(thread)` on so many threads at once.
  template <class Phase>
  void on_threads(int threads, Phase&& phase) {
    std::vector<std::thread> team;
    for (int t = 0; t < threads; ++t) team.emplace_back(phase, t);
    for (std::thread& thread : team) thread.join();
  }
  exact::Lanes verified(int threads) {
    node_->control().verify_next = 0;
    std::vector<exact::Lanes> each(threads, lanes());
    on_threads(threads, [&](int t) {
      const auto scratch = std::make_unique<BlockScratch>();
      verify_blocks(*node_, layout_, *scratch, each[t]);
    });
    exact::Lanes sum = lanes();
    for (const exact::Lanes& one : each) sum.merge(one);
    return sum;
  }
  exact::Lanes verified_and_updated(int threads) {
    node_->control().update_next = 0;
    std::vector<exact::Lanes> each(threads, lanes());
    on_threads(threads, [&](int t) {
      const auto scratch = std::make_unique<BlockScratch>();
      verify_and_update_blocks(*node_, layout_, *scratch, each[t]);
    });
    exact::Lanes sum = lanes();
    for (const exact::Lanes& one : each) sum.merge(one);
    return sum;
  }
  void update(int threads) {
    node_->control().update_next = 0;
    on_threads(threads, [&](int) {
      const auto scratch = std::make_unique<BlockScratch>();
      update_blocks(*node_, layout_, *scratch);
    });
  }
  bool in_slice(int64_t i) const { return i >= node_->slice_begin() && i < node_->slice_end(); }

  const comm::World world_;
  ArenaLayout layout_;
  exact::Slices slices_;
  const optim::Optimizer optimizer_;
  std::optional<NodeState> node_;
};

TEST_F(Phases, IntactSumsGiveNoFailureAndTheNormOfTheSlice) {
  ExactSum expected;
  for (const Segment& s : layout_.segments()) {
    if (layout_.tensors()[s.tensor].role != TensorRole::parameter) continue;
    for (int64_t i = s.begin; i < s.end; ++i) {
      const double g = value(1, i);
      if (in_slice(i)) expected.add(g * g);
    }
  }
  exact::Lanes one = verified(1), many = verified(5);
  EXPECT_EQ(one.checksum_failures(), 0);
  EXPECT_NEAR(one.exact(static_cast<int>(Exact::norm)).value(), expected.value(), 1e-4);
  EXPECT_EQ(one.exact(static_cast<int>(Exact::norm)).value(),
            many.exact(static_cast<int>(Exact::norm)).value());
  EXPECT_EQ(one.count(static_cast<int>(Count::gradient_checksum)),
            many.count(static_cast<int>(Count::gradient_checksum)));
  const bool empty = node_->slice_begin() == node_->slice_end();  // of more nodes than blocks
  EXPECT_EQ(one.count(static_cast<int>(Count::gradient_checksum)) == 0, empty);
}

TEST_F(Phases, TheGradientsChecksumTellsBlocksAndTheirSumsApartInAnyOrder) {
  const auto checksum_of = [&](const std::vector<std::pair<int64_t, int64_t>>& blocks) {
    exact::Lanes sum = lanes();
    for (const auto& [block, checksum] : blocks) add_block_check(block, checksum, true, sum);
    EXPECT_EQ(sum.checksum_failures(), 0);
    return sum.count(static_cast<int>(Count::gradient_checksum));
  };
  EXPECT_EQ(checksum_of({{0, 5}, {1, -7}, {2, 0}}), checksum_of({{2, 0}, {0, 5}, {1, -7}}));
  EXPECT_NE(checksum_of({{0, 5}, {1, -7}}), checksum_of({{0, -7}, {1, 5}})) << "blocks changed places";
  EXPECT_NE(checksum_of({{0, 5}, {1, -7}}), checksum_of({{0, 6}, {1, -8}})) << "the same total";
  EXPECT_NE(checksum_of({{0, 0}}), checksum_of({})) << "a block of zeros is a block";
  exact::Lanes sum = lanes();
  add_block_check(3, 9, false, sum);
  add_block_check(4, 9, true, sum);
  add_block_check(5, 9, false, sum);
  EXPECT_EQ(sum.checksum_failures(), 2);
  EXPECT_EQ(sum.count(static_cast<int>(Count::gradient_checksum)), checksum_of({{3, 9}, {4, 9}, {5, 9}}));
}

TEST_F(Phases, AnyFlippedBitOfTheSliceIsCounted) {
  for (int64_t i = node_->slice_begin(); i < node_->slice_end(); i += 331)
    for (const int bit : {0, 1, 31, 62, 63}) {
      int64_t& element = node_->accumulator().elements()[i];
      element ^= int64_t{1} << bit;
      ASSERT_EQ(verified(1).checksum_failures(), 1) << "element " << i << ", bit " << bit;
      element ^= int64_t{1} << bit;
    }
  EXPECT_EQ(verified(2).checksum_failures(), 0);
}

TEST_F(Phases, UpdatesTheSliceAsTheOptimizerDoesAndClearsTheSums) {
  const std::vector<float> before(node_->parameters(0).begin(), node_->parameters(0).end());
  std::vector<float> expected(layout_.elements(), 0);
  for (const Segment& s : layout_.segments()) {  // tensor by tensor in blocks, by hand
    const size_t n = s.end - s.begin;
    std::vector<float> gradient(n), m(n), v(n);
    ops::dequantise(node_->accumulator().elements().subspan(s.begin, n), scale, gradient);
    if (!in_slice(s.begin)) continue;
    const auto at = static_cast<size_t>(s.begin - node_->slice_begin());
    ops::SegmentState state{gradient,
                            node_->parameters(0).subspan(s.begin, n),
                            std::span<float>(expected).subspan(s.begin, n),
                            {node_->moment(0, 0).subspan(at, n), node_->moment(0, 1).subspan(at, n)},
                            {m, v}};
    ops::update_segment(node_->control().update, optim::tensor_rule(layout_.tensors()[s.tensor]), state);
  }
  update(4);
  for (int64_t i = 0; i < layout_.elements(); ++i) {
    ASSERT_EQ(node_->parameters(1)[i], expected[i]) << i;  // outside the slice untouched: zero
    ASSERT_EQ(node_->parameters(0)[i], before[i]) << i;
    ASSERT_EQ(node_->accumulator().elements()[i], 0);
  }
  for (int64_t b = 0; b < layout_.blocks(); ++b) {
    EXPECT_EQ(node_->accumulator().checksums()[b], 0);
    const bool mine = in_slice(b * block_elements);
    EXPECT_EQ(node_->block_hashes(1)[b], mine ? ops::parameters_block_hash(node_->parameters(1), b) : 0);
  }
}

TEST(Fold, AddsAllDomainsToTheFirstAndClearsThem) {
  const comm::World world(60, 1);
  ArenaLayout layout;
  layout.add("a", {9000}, TensorRole::parameter, true);
  layout.finish();
  setenv("LEPTON_MEMORY_DOMAINS", "3", 1);
  NodeSizes sizes{.max_samples = 8, .max_units = 8, .domains = MemoryDomains(world)};
  unsetenv("LEPTON_MEMORY_DOMAINS");
  const exact::Slices slices = exact::cut_arena(layout, world.nodes());
  exact::Lanes lanes(1, world.nodes(), 1, 1);
  NodeState node(world, layout, sizes, lanes, slices.elements, "/dev/shm");
  std::vector<float> gradient(9000);
  for (size_t i = 0; i < gradient.size(); ++i) gradient[i] = value(1, static_cast<int64_t>(i));
  for (int domain = 0; domain < 3; ++domain)
    node.accumulator(domain).add(0, 0, gradient, scale, 0x7f800000, 0, 0, 0, lanes);
  std::vector<int64_t> expected(node.accumulator().elements().begin(), node.accumulator().elements().end());
  fold_blocks(node, layout);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(node.accumulator().elements()[i], 3 * expected[i]);
    ASSERT_EQ(node.accumulator(1).elements()[i] | node.accumulator(2).elements()[i], 0);
  }
  for (int64_t b = 0; b < layout.blocks(); ++b) EXPECT_TRUE(node.accumulator().intact(b));
  EXPECT_EQ(
      node_state_bytes(layout, layout.elements(), {}, 3) - node_state_bytes(layout, layout.elements(), {}),
      2 * exact::Accumulator::bytes(layout));
}

TEST_F(Phases, OnePassDoesWhatTwoDo) {
  exact::Lanes checked = verified(1);
  update(1);
  const std::vector<float> parameters(node_->parameters(1).begin(), node_->parameters(1).end());
  const std::vector<float> second(node_->moment(1, 1).begin(), node_->moment(1, 1).end());
  const std::vector<uint64_t> hashes(node_->block_hashes(1).begin(), node_->block_hashes(1).end());
  fill();
  std::fill(node_->parameters(1).begin(), node_->parameters(1).end(), 0.0f);
  node_->control().outcome = Outcome::redo;  // of the attempt before: this one's is not known yet
  exact::Lanes found = verified_and_updated(3);
  EXPECT_EQ(found.checksum_failures(), 0);
  EXPECT_EQ(found.count(static_cast<int>(Count::gradient_checksum)),
            checked.count(static_cast<int>(Count::gradient_checksum)));
  EXPECT_TRUE(std::equal(parameters.begin(), parameters.end(), node_->parameters(1).begin()));
  EXPECT_TRUE(std::equal(second.begin(), second.end(), node_->moment(1, 1).begin()));
  EXPECT_TRUE(std::equal(hashes.begin(), hashes.end(), node_->block_hashes(1).begin()));
  for (const int64_t element : node_->accumulator().elements()) ASSERT_EQ(element, 0);
}

TEST_F(Phases, OnePassCountsAFlippedBitAndClearsIt) {
  if (node_->slice_begin() == node_->slice_end()) return;  // more nodes than blocks
  node_->accumulator().elements()[node_->slice_begin()] ^= 1 << 7;
  EXPECT_EQ(verified_and_updated(2).checksum_failures(), 1);
  for (const int64_t element : node_->accumulator().elements()) ASSERT_EQ(element, 0);
}

TEST_F(Phases, AnAttemptThatIsNotAcceptedOnlyClears) {
  for (const Outcome outcome : {Outcome::redo, Outcome::repair, Outcome::skip, Outcome::non_finite}) {
    fill();
    node_->control().outcome = outcome;
    update(2);
    for (int64_t i = 0; i < layout_.elements(); ++i) {
      ASSERT_EQ(node_->parameters(1)[i], 0);
      ASSERT_EQ(node_->accumulator().elements()[i], 0);
    }
  }
}

TEST_F(Phases, TheSlotThatIsReadIsTheHeaders) {
  std::copy(node_->parameters(0).begin(), node_->parameters(0).end(), node_->parameters(1).begin());
  update(1);
  const std::vector<float> first(node_->parameters(1).begin(), node_->parameters(1).end());
  fill();
  node_->control().header.slot = 1;
  update(1);
  // Slot 0 is written now, from slot 1: a step further on.
  int changed = 0;
  for (int64_t i = node_->slice_begin(); i < node_->slice_end(); ++i)
    changed += node_->parameters(0)[i] != value(2, i) && node_->parameters(0)[i] != first[i];
  if (node_->slice_end() > node_->slice_begin()) {  // more nodes than blocks: some have nothing to update
    EXPECT_GT(changed, (node_->slice_end() - node_->slice_begin()) / 2);
  }
  for (int64_t i = node_->slice_begin(); i < node_->slice_end(); ++i)
    ASSERT_EQ(node_->parameters(1)[i], first[i]);
}

TEST_F(Phases, CopiesTheSliceOfAllArraysForACheckpoint) {
  const auto slice = static_cast<size_t>(node_->slice_end() - node_->slice_begin());
  std::vector<float> memory(3 * slice);
  StateCopy to;
  for (size_t array = 0; array < 3; ++array) to[array] = std::span(memory).subspan(array * slice, slice);
  node_->control().copy_next = 0;
  on_threads(3, [&](int) { copy_state(*node_, to); });
  EXPECT_EQ(std::memcmp(to[0].data(), &node_->parameters(0)[node_->slice_begin()], slice * 4), 0);
  for (int m = 0; m < 2; ++m)
    EXPECT_EQ(std::memcmp(to[1 + static_cast<size_t>(m)].data(), node_->moment(0, m).data(), slice * 4), 0);
}

TEST_F(Phases, HashesOfAllBlocksCombineToTheParametersHash) {
  hash_state(*node_, layout_, 0);
  EXPECT_EQ(ops::combine_block_hashes(node_->block_hashes(0)), ops::parameters_hash(node_->parameters(0)));
}

/// Any single bit: of parameters also where another node updates them, of moments in the slice.
TEST_F(Phases, ABitThatFlippedSinceTheLastStepIsFound) {
  const auto damaged = [&] {
    exact::Lanes found = lanes();
    BlockScratch scratch;
    node_->control().verify_next = 0;
    verify_blocks(*node_, layout_, scratch, found);
    return found.count(static_cast<int>(Count::damaged_blocks));
  };
  const auto flip = [](float& value, int bit) {
    uint32_t bits = std::bit_cast<uint32_t>(value);
    value = std::bit_cast<float>(bits ^ (1u << bit));
  };
  hash_state(*node_, layout_, 0);
  EXPECT_EQ(damaged(), 0);
  const std::span<float> parameters = node_->parameters(0);
  for (size_t i = 0; i < parameters.size(); i += 911) {
    flip(parameters[i], static_cast<int>(i % 32));
    EXPECT_EQ(damaged(), 1) << i;
    flip(parameters[i], static_cast<int>(i % 32));
  }
  for (int m = 0; m < 2; ++m) {
    const std::span<float> moment = node_->moment(0, m);
    for (size_t i = 0; i < moment.size(); i += 1009) {
      flip(moment[i], static_cast<int>(i % 32));
      EXPECT_EQ(damaged(), 1) << m << " " << i;
      flip(moment[i], static_cast<int>(i % 32));
    }
  }
  EXPECT_EQ(damaged(), 0);
}

}  // namespace
}  // namespace lepton::train
