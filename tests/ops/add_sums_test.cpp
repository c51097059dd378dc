// SPDX-License-Identifier: Apache-2.0
// Sums of another node added to a device's: every length about the width of an access, aligned and not.
#include <gtest/gtest.h>

#include "base/philox.h"
#include "ops/device_rig.h"

namespace lepton::ops {
namespace {

using namespace testing;

class AddSums : public OnDevice {};
INSTANTIATE_TEST_SUITE_P(Device, AddSums, every_device(), device_name);

TEST_P(AddSums, OfAnotherNodeModulo2To64) {
  Rig rig(GetParam());
  for (const int64_t count : {0, 1, 2, 255, 4097})
    for (const int64_t shift : {0, 1}) {  // off the alignment of pairs
      std::vector<int64_t> sums, more, want;
      for (int64_t i = 0; i < count + shift; ++i) {
        sums.push_back(static_cast<int64_t>(mix64(static_cast<uint64_t>(i))));
        more.push_back(static_cast<int64_t>(mix64(static_cast<uint64_t>(-i))));
        const uint64_t sum = static_cast<uint64_t>(sums.back()) + static_cast<uint64_t>(more.back());
        want.push_back(i < shift ? sums.back() : static_cast<int64_t>(sum));
      }
      int64_t* to = rig.up(sums);
      rig.engine.step_math->add_sums(to + shift, rig.up(more) + shift, count);
      EXPECT_EQ(rig.down(to, count + shift), want) << count;
    }
}

}  // namespace
}  // namespace lepton::ops
