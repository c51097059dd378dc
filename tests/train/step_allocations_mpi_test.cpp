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

struct Subject {
  std::string deck;
  std::vector<Override> overrides = {};
};

/// Several inputs, transforms of all kinds, and rows with lengths of their own (the labels are from 0 to 3).
Subject many_inputs() {
  return {
      "dense.toml",
      {{"data.train.inputs", "{ image = \"train/images\", hot = \"train/one_hot\" }"},
       {"data.train.lengths", "{ hot = \"train/labels\" }"},
       {"data.test.inputs", "{ image = \"test/images\", hot = \"test/one_hot\" }"},
       {"data.test.lengths", "{ hot = \"test/labels\" }"},
       {"data.inputs.image.transforms",
        "[{ type = \"clip\", low = 0, high = 200 }, { type = \"log1p\" }, { type = \"scale\", factor = 2 }, "
        "{ type = \"random_flip\" }, { type = \"random_crop\", padding = 1 }]"}}};
}

int64_t allocations_of_training(const SmallRuns& runs, const Subject& subject, const std::string& run,
                                int64_t steps, int ranks_per_node) {
  std::vector<Override> overrides = {
      {"train.batch_size", "2"},  // one epoch: its end is worth a line
      {"train.unit_size", "1"},
      {"balance.policy", ranks_per_node == 1 ? "\"proportional\"" : "\"steal\""},
      {"evaluation.every", "\"end\""},
      {"checkpoint.every", "\"1h\""}};
  overrides.insert(overrides.end(), subject.overrides.begin(), subject.overrides.end());
  Options options = runs.options(subject.deck, run, overrides);
  options.max_steps = steps;
  return allocations_of([&] { runs.train(options, ranks_per_node); });
}

constexpr int64_t steps_more = 50;

/// By how much a training of 60 steps allocates more often than one of 10, less what lines of metrics account
/// for, which rank 0 writes once in a second. (Names of one length: longer strings allocate more.)
int64_t excess(const SmallRuns& runs, const Subject& deck, const std::string& name, int ranks_per_node) {
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
  for (const Subject& deck : {Subject{"dense.toml"}, Subject{"wide.toml"}, Subject{"conv.toml"},
                              Subject{"regression.toml"}, Subject{"several.toml"}, many_inputs()})
    for (const int ranks_per_node : {1000, 1}) {
      // The least of some tries, for on a slow machine lines and warnings may come at any time. All ranks try
      // as often.
      int64_t least = INT64_MAX;
      for (int attempt = 0; attempt < 10; ++attempt) {
        const std::string name = deck.deck + std::to_string(deck.overrides.size()) + "-" +
                                 std::to_string(ranks_per_node) + "-" + std::to_string(attempt);
        least = std::min(least, excess(runs, deck, name, ranks_per_node));
        std::vector<int64_t> worst{least};
        comm::World().all_max(worst);
        if (worst[0] < steps_more) break;
      }
      EXPECT_LT(least, steps_more) << deck.deck << ": one per step, or more";
    }
}

}  // namespace
}  // namespace lepton::train
