// SPDX-License-Identifier: Apache-2.0
// Nothing is allocated in a step after the first (DESIGN section 3): a training of 60 steps asks for
// memory as often as one of 10. What oneDNN, its OpenMP runtime and MPI allocate inside their calls is
// theirs.
#include <gtest/gtest.h>

#include "allocations.h"
#include "base/clock.h"
#include "small_runs.h"

namespace lepton::train {
namespace {

int64_t allocations_of_training(const SmallRuns& runs, const std::string& deck, const std::string& run,
                                int64_t steps, int ranks_per_node) {
  Options options = runs.options(deck, run,
                                 {{"train.batch_size", "2"},  // one epoch: its end is worth a line
                                  {"train.unit_size", "1"},
                                  {"evaluation.every", "\"end\""},
                                  {"checkpoint.every", "\"1h\""}});
  options.max_steps = steps;
  return allocations_of([&] { runs.train(options, ranks_per_node); });
}

TEST(Step, AllocatesNothingAfterTheFirst) {
  SKIP_WHERE_NOTHING_IS_COUNTED();
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "wide.toml", "conv.toml", "regression.toml"})
    for (const int ranks_per_node : {1000, 1}) {
      const std::string name = deck + std::to_string(ranks_per_node);
      const int64_t few = allocations_of_training(runs, deck, name + "few", 10, ranks_per_node);
      const double begin_s = now_s();
      const int64_t many = allocations_of_training(runs, deck, name + "many", 60, ranks_per_node);
      EXPECT_GT(few, 100);  // they are counted
      // On rank 0 a line of metrics, once in a second, may come between; the machine may be slow.
      const auto lines = static_cast<int64_t>(now_s() - begin_s);
      EXPECT_LT(many - few, 40 + 30 * lines)
          << name << ": " << static_cast<double>(many - few) / 50 << " per step";
    }
}

}  // namespace
}  // namespace lepton::train
