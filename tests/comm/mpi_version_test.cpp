// SPDX-License-Identifier: Apache-2.0
// The version is there before MPI_Init, and is one line.
#include "comm/mpi_version.h"

#include <gtest/gtest.h>

namespace lepton::comm {
namespace {

TEST(MpiVersion, IsOneLineWithANumber) {
  const std::string version = mpi_version();
  EXPECT_NE(version.find_first_of("0123456789"), std::string::npos) << version;
  EXPECT_EQ(version.find('\n'), std::string::npos) << version;
}

}  // namespace
}  // namespace lepton::comm
