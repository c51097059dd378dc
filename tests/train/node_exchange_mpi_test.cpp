// SPDX-License-Identifier: Apache-2.0
// What leaders exchange, on the host and in the memory of devices: sums reach their owners, parameters reach
// everybody, and one flipped bit on the way of either does not pass. (Flips in whole runs:
// tests/e2e/flip_fault_test.py, debug_device_test.py.)
#include "train/node_exchange.h"

#include <gtest/gtest.h>

#include "base/failpoint.h"
#include "comm/mpi_device_group.h"
#include "ops/debug_engine.h"
#include "ops/parameters_hash.h"
#include "ops/quantise.h"
#include "train/device_exchange.h"

namespace lepton::train {
namespace {

constexpr int64_t elements = 30000;

struct Case {
  bool device = false;          ///< arrays lie on a debug device
  bool flips_checksum = false;  ///< or else an element
};

/// One rank per node.
class Nodes : public ::testing::TestWithParam<Case> {
 protected:
  Nodes() : world_(60, 1) {
    layout_.add("a", {elements}, TensorRole::parameter, true);
    layout_.finish();
    slices_ = exact::cut_arena(layout_, world_.nodes());
    node_.emplace(world_, layout_, NodeSizes{.max_samples = 8, .max_units = 8},
                  exact::Lanes(1, world_.nodes(), 1, 1), slices_.elements, "/dev/shm");
    if (!GetParam().device) {
      exchange_ = std::make_unique<HostExchange>(world_, slices_, *node_);
      return;
    }
    engine_ = ops::open_debug_engine(size_t{16} << 20, static_cast<uint64_t>(world_.node()));
    const auto add = [this](int64_t* sums, const int64_t* more, int64_t count) {
      engine_->step_math->add_sums(sums, more, count);
    };
    group_ = std::make_unique<comm::MpiDeviceGroup>(world_, engine_->device(), *engine_->queue, add);
    state_.emplace(*engine_, layout_, *node_, slices_, 8, group_.get());
    exchange_ = std::make_unique<DeviceExchange>(*state_, slices_, *node_);
  }

  static float value(int64_t i) { return static_cast<float>(i) * 0.25F; }

  /// This node's sums: on the device, what the host's accumulator has.
  void add(const std::vector<float>& gradient) {
    exact::Lanes lanes(1, world_.nodes(), 1, 1);
    node_->accumulator().add(0, 0, gradient, 20, 0x7f800000, 0, 0, 0, lanes);
    if (!state_) return;
    state_->upload(std::as_bytes(node_->accumulator().elements()), state_->sums().elements);
    state_->upload(std::as_bytes(node_->accumulator().checksums()), state_->sums().checksums);
  }
  void fetch_sums() {
    if (!state_) return;
    state_->download(state_->sums().elements, std::as_writable_bytes(node_->accumulator().elements()));
    state_->download(state_->sums().checksums, std::as_writable_bytes(node_->accumulator().checksums()));
  }
  /// This node's part of the new parameters, with their hashes.
  void fill_slice() {
    for (int64_t i = node_->slice_begin(); i < node_->slice_end(); ++i) node_->parameters(1)[i] = value(i);
    const int64_t first = slices_.blocks[world_.node()], end = slices_.blocks[world_.node() + 1];
    for (int64_t b = first; b < end; ++b)
      node_->block_hashes(1)[b] = ops::parameters_block_hash(node_->parameters(1), b);
    if (!state_) return;
    const auto count = static_cast<size_t>(node_->slice_end() - node_->slice_begin());
    const auto begin = static_cast<size_t>(node_->slice_begin());
    state_->upload(std::as_bytes(node_->parameters(1).subspan(begin, count)), state_->parameters(1) + begin);
    const auto hashes =
        node_->block_hashes(1).subspan(static_cast<size_t>(first), static_cast<size_t>(end - first));
    state_->upload(std::as_bytes(hashes), state_->hashes() + first);
    std::fill(node_->parameters(1).begin(), node_->parameters(1).end(), -1.F);
    std::fill(node_->block_hashes(1).begin(), node_->block_hashes(1).end(), 0);
  }
  std::span<const float> gathered() {
    if (state_) state_->refresh_host(1);
    return node_->parameters(1);
  }
  bool alone() const {
    return slices_.elements[world_.node()] == 0 && node_->slice_end() == layout_.elements();
  }

  /// The exit code of an exchange through which `fault` has gone; 0: none.
  template <class Work>
  int code_under(const std::string& fault, const Work& work) {
    arm_failpoints(fault);
    int code = 0;
    try {
      work();
    } catch (const Error& error) {
      code = static_cast<int>(error.code());
    }
    arm_failpoints("");
    world_.barrier();
    return code;
  }

  const comm::World world_;
  ArenaLayout layout_;
  exact::Slices slices_;
  std::optional<NodeState> node_;
  std::optional<ops::Engine> engine_;
  std::unique_ptr<DeviceGroup> group_;
  std::optional<DeviceState> state_;
  std::unique_ptr<NodeExchange> exchange_;
};

TEST_P(Nodes, SumsReachTheOwnerOfTheSlice) {
  add(std::vector<float>(elements, 0.5F * static_cast<float>(world_.node() + 1)));
  exchange_->reduce_sums({});
  fetch_sums();
  const int64_t all = (int64_t{1} << 19) * world_.nodes() * (world_.nodes() + 1) / 2;
  for (int64_t i = node_->slice_begin(); i < node_->slice_end(); ++i)
    ASSERT_EQ(node_->accumulator().elements()[i], all);
  for (int64_t b = slices_.blocks[world_.node()]; b < slices_.blocks[world_.node() + 1]; ++b)
    EXPECT_TRUE(node_->accumulator().intact(b));
}

TEST_P(Nodes, AFlippedBitOfASumIsNoticedByItsOwner) {
  add(std::vector<float>(elements, 0.5F));
  if (world_.nodes() == 1 && !state_) GTEST_SKIP() << "nothing is exchanged";
  const std::string fault =
      std::string("point=reduce,action=flip") + (GetParam().flips_checksum ? ",count=2" : "");
  EXPECT_EQ(code_under(fault, [&] { exchange_->reduce_sums({}); }), 0);
  fetch_sums();
  int64_t broken = 0;
  for (int64_t b = slices_.blocks[world_.node()]; b < slices_.blocks[world_.node() + 1]; ++b)
    broken += !node_->accumulator().intact(b);
  std::vector<int64_t> all{broken};
  world_.all_sum(all);
  EXPECT_GE(all[0], 1);
}

TEST_P(Nodes, ParametersReachEverybody) {
  fill_slice();
  exchange_->gather_parameters(1, {});
  const std::span<const float> all = gathered();
  for (int64_t i = 0; i < elements; ++i) ASSERT_EQ(all[i], value(i));
  for (int64_t b = 0; b < layout_.blocks(); ++b)
    EXPECT_EQ(node_->block_hashes(1)[b], ops::parameters_block_hash(all, b));
}

TEST_P(Nodes, AFlippedBitOfTheGatherIsNoticed) {
  fill_slice();
  const int code = code_under("point=gather,action=flip", [&] { exchange_->gather_parameters(1, {}); });
  EXPECT_EQ(code, alone() ? 0 : 74);  // alone there is nothing to gather
}

INSTANTIATE_TEST_SUITE_P(On, Nodes,
                         ::testing::Values(Case{false, false}, Case{false, true}, Case{true, false},
                                           Case{true, true}),
                         [](const auto& test) {
                           return std::string(test.param.device ? "Device" : "Host") +
                                  (test.param.flips_checksum ? "Checksum" : "Element");
                         });

}  // namespace
}  // namespace lepton::train
