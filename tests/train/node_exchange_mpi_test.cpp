// SPDX-License-Identifier: Apache-2.0
// What leaders exchange: sums reach their owners, parameters reach everybody, and one flipped bit on the way
// of either does not pass. (Flips in whole runs: tests/e2e/flip_fault_test.py.)
#include "train/node_exchange.h"

#include <gtest/gtest.h>

#include "base/failpoint.h"
#include "ops/parameters_hash.h"

namespace lepton::train {
namespace {

class Nodes : public testing::Test {
 protected:
  Nodes() : world_(60, 1) {
    layout_.add("a", {30000}, TensorRole::parameter, true);
    layout_.finish();
    slices_ = exact::cut_arena(layout_, world_.nodes());
    node_.emplace(world_, layout_, NodeSizes{.max_samples = 8, .max_units = 8},
                  exact::Lanes(1, world_.nodes(), 1, 1), slices_.elements, "/dev/shm");
  }
  static float value(int64_t i) { return static_cast<float>(i) * 0.25F; }
  void fill_slice() {
    for (int64_t i = node_->slice_begin(); i < node_->slice_end(); ++i) node_->parameters(1)[i] = value(i);
    for (int64_t b = slices_.blocks[world_.node()]; b < slices_.blocks[world_.node() + 1]; ++b)
      node_->block_hashes(1)[b] = ops::parameters_block_hash(node_->parameters(1), b);
  }

  const comm::World world_;
  ArenaLayout layout_;
  exact::Slices slices_;
  std::optional<NodeState> node_;
};

TEST_F(Nodes, SumsReachTheOwnerOfTheSlice) {
  comm::LeaderReduction reduction(world_);
  exact::Lanes lanes(1, world_.nodes(), 1, 1);
  const std::vector<float> gradient(30000, 0.5F * static_cast<float>(world_.node() + 1));
  node_->accumulator().add(0, 0, gradient, 20, 0x7f800000, 0, 0, 0, lanes);
  reduce_sums(reduction, slices_, *node_, [] {});
  const int64_t all = (int64_t{1} << 19) * world_.nodes() * (world_.nodes() + 1) / 2;
  for (int64_t i = node_->slice_begin(); i < node_->slice_end(); ++i)
    ASSERT_EQ(node_->accumulator().elements()[i], all);
  for (int64_t b = slices_.blocks[world_.node()]; b < slices_.blocks[world_.node() + 1]; ++b)
    EXPECT_TRUE(node_->accumulator().intact(b));
}

TEST_F(Nodes, ParametersReachEverybody) {
  comm::LeaderReduction reduction(world_);
  fill_slice();
  gather_parameters(reduction, slices_, *node_, 1, [] {});
  for (int64_t i = 0; i < 30000; ++i) ASSERT_EQ(node_->parameters(1)[i], value(i));
}

TEST_F(Nodes, AFlippedBitOfTheGatherIsNoticed) {
  comm::LeaderReduction reduction(world_);
  fill_slice();
  arm_failpoints("point=gather,action=flip");
  const bool others = slices_.elements[world_.node()] != 0 || node_->slice_end() != layout_.elements();
  int code = 0;
  try {
    gather_parameters(reduction, slices_, *node_, 1, [] {});
  } catch (const Error& error) {
    code = static_cast<int>(error.code());
  }
  arm_failpoints("");
  world_.barrier();
  EXPECT_EQ(code, others ? 74 : 0);  // alone there is nothing to gather
}

}  // namespace
}  // namespace lepton::train
