// SPDX-License-Identifier: Apache-2.0
// NCCL on one device: a group of one member goes through all calls, and exchanges with itself. (Several
// devices: whole runs.)
#include <gtest/gtest.h>

#include <numeric>

#include "ops/device_rig.h"

namespace lepton::ops {
namespace {

using namespace testing;

class NcclGroup : public OnDevice {};
INSTANTIATE_TEST_SUITE_P(Device, NcclGroup, ::testing::Values("cuda"), device_name);

TEST_P(NcclGroup, OfOneMemberExchangesInPlace) {
  std::string absence;
  if (cuda_module()->nccl(absence).empty()) GTEST_SKIP() << "no NCCL: " << absence;
  Rig rig(GetParam());
  const auto group = cuda_module()->join(rig.engine, cuda_module()->group_id(), 0, 1, 60);
  std::vector<int64_t> sums(5001);
  std::iota(sums.begin(), sums.end(), int64_t{-7});
  const std::vector<int64_t> offsets = {0, 5001};
  int polls = 0;
  int64_t* const memory = rig.up(sums);
  for (int round = 0; round < 3; ++round) {
    group->reduce_scatter(memory, offsets, [&] { ++polls; });
    group->all_gather(memory, offsets, sizeof(int64_t), {});
    group->finish([&] { ++polls; });
    EXPECT_EQ(rig.down(memory, 5001), sums);
  }
}

}  // namespace
}  // namespace lepton::ops
