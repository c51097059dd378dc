// SPDX-License-Identifier: Apache-2.0
// Nothing is allocated in a step after the first (DESIGN section 3): a training of 60 steps asks for
// memory as often as one of 10. What oneDNN, its OpenMP runtime and MPI allocate inside their calls is
// theirs; messages of stealing, which balanced steps do not send, are made anew.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

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
                                  {"balance.policy", ranks_per_node == 1 ? "\"proportional\"" : "\"steal\""},
                                  {"evaluation.every", "\"end\""},
                                  {"checkpoint.every", "\"1h\""}});
  options.max_steps = steps;
  return allocations_of([&] { runs.train(options, ranks_per_node); });
}

constexpr int64_t steps_more = 50;

/// By how much a training of 60 steps allocates more often than one of 10, less what lines of metrics account
/// for, which rank 0 writes once in a second. (Names of one length: longer strings allocate more.)
int64_t excess(const SmallRuns& runs, const std::string& deck, const std::string& name, int ranks_per_node) {
  const int64_t few = allocations_of_training(runs, deck, name + "-10", 10, ranks_per_node);
  const double begin_s = now_s();
  const int64_t many = allocations_of_training(runs, deck, name + "-60", 60, ranks_per_node);
  EXPECT_GT(few, 100);  // they are counted
  constexpr int64_t of_a_line = 30;
  return many - few - of_a_line * static_cast<int64_t>(now_s() - begin_s);
}

TEST(Step, AllocatesNothingAfterTheFirst) {
  SKIP_WHERE_NOTHING_IS_COUNTED();
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "wide.toml", "conv.toml", "regression.toml"})
    for (const int ranks_per_node : {1000, 1}) {
      // The least of a few tries, for on a slow machine a line may come at any time. All ranks try as often.
      int64_t least = INT64_MAX;
      for (int attempt = 0; attempt < 3; ++attempt) {
        const std::string name = deck + std::to_string(ranks_per_node) + "-" + std::to_string(attempt);
        least = std::min(least, excess(runs, deck, name, ranks_per_node));
        std::vector<int64_t> worst{least};
        comm::World().all_max(worst);
        if (worst[0] < steps_more) break;
      }
      EXPECT_LT(least, steps_more) << deck << ": one per step, or more";
    }
}

}  // namespace
}  // namespace lepton::train
