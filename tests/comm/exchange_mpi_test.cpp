// SPDX-License-Identifier: Apache-2.0
// The deadline of the pairwise exchange: it names the rank that does not come.
// That it moves the right bytes is tested through its user, reduction_mpi_test.cpp.
#include "comm/exchange.h"

#include <gtest/gtest.h>

namespace lepton::comm {
namespace {

TEST(Exchange, ADeadlineNamesTheMissingRank) {
  const World world(0.4, 1), patient(60, 1);
  if (world.size() == 1) GTEST_SKIP() << "nobody can be missing";
  const int missing = world.size() - 1;
  std::vector<int64_t> words(static_cast<size_t>(world.size()) * 1000);
  HostMemory memory;
  Exchange exchange(world.handles().leaders, 512, memory);
  const Exchange::RangeOf theirs = [](int node) {
    return Exchange::Range{static_cast<size_t>(node) * 8000, static_cast<size_t>(node + 1) * 8000};
  };
  const Exchange::RangeOf mine = [&](int) { return theirs(world.node()); };
  if (world.rank() != missing) {
    try {
      exchange.run(reinterpret_cast<std::byte*>(words.data()), theirs, mine, true, "sum", {});
      ADD_FAILURE() << "it ended without rank " << missing;
    } catch (const DeadlineError& error) {
      EXPECT_NE(error.problem().find(std::to_string(missing)), std::string::npos) << error.problem();
    }
  }
  patient.barrier();
}

}  // namespace
}  // namespace lepton::comm
