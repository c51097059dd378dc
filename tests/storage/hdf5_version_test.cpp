// SPDX-License-Identifier: Apache-2.0
// The version has three numbers, and is one that Lepton is made for.
#include "storage/hdf5_version.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace lepton::storage {
namespace {

TEST(Hdf5Version, IsRecentEnough) {
  int major = 0, minor = 0, release = -1;
  ASSERT_EQ(std::sscanf(hdf5_version().c_str(), "%d.%d.%d", &major, &minor, &release), 3);
  EXPECT_GE(major * 1000 + minor, 1010);
}

}  // namespace
}  // namespace lepton::storage
