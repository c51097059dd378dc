// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/begin_state.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/hash.h"
#include "base/log.h"
#include "ops/parameters_hash.h"
#include "train/initial_weights.h"

namespace lepton::train {

namespace {

/// **Collective.** Initial values, and over them what the deck's file has.
void begin_anew(Job& job) {
  const WeightsSpec& spec = job.deck.weights;
  initialise_state(job.world, job.graph, job.deck.run.seed, job.node);
  job.graph.given.clear();
  if (spec.file.empty()) return;
  job.world.node_barrier();
  comm::agree(job.world, [&] {
    if (!job.world.leads()) return;
    const PlacedWeights placed = place_weights(spec, job.graph, job.node.parameters(0), weights_hint);
    if (job.world.rank() == 0)
      log_info(fmt::format("starting from the weights of {}: {}.", spec.file, placed.text()));
  });
}

/// **Collective.** Of a run that has no state yet: what it begins with is what it began with, if it did.
void settle_weights(Job& job, Beginning& beginning) {
  std::vector<int64_t> hash{0};
  if (job.world.rank() == 0)
    hash[0] = static_cast<int64_t>(ops::combine_block_hashes(job.node.block_hashes(0)));
  job.world.all_sum(hash);
  const std::string& file = job.deck.weights.file;
  const InitialWeights now = file.empty() ? InitialWeights{}
                                          : InitialWeights{std::filesystem::absolute(file).string(),
                                                           hex64(static_cast<uint64_t>(hash[0]))};
  comm::agree(job.world, [&] {
    if (!beginning.kept) return;
    const auto told = [](const InitialWeights& weights) {
      return weights.path.empty() ? "initial values"
                                  : fmt::format("the weights of {} (parameters_hash {})", weights.path,
                                                weights.parameters_hash);
    };
    REQUIRE(
        beginning.kept->weights.parameters_hash == now.parameters_hash, Exit::data,
        job.deck.place("model.weights"),
        fmt::format("the run in {} was begun with {} and has no state of its own yet; this would begin it "
                    "with {}",
                    job.deck.run.directory, told(beginning.kept->weights), told(now)),
        "Put the file back, or begin anew with --fresh, which moves the old run aside.");
  });
  beginning.weights = now;
}

}  // namespace

RunState begin_state(Job& job, Beginning& beginning) {
  const auto& [saved, in_memory, kept, parent, origin, weights] = beginning;
  RunState state;
  if (in_memory) {
    load_kept(job.world, *in_memory, job.node);
    state = in_memory->state;
  } else if (saved) {
    load_state(job.world, *saved, job.optimizer.moments(), job.node, true);
    state = saved->state;
  } else if (parent) {
    load_state(job.world, *parent, {}, job.node, false);
  } else {
    begin_anew(job);
  }
  job.world.node_barrier();
  if (job.world.leads()) hash_state(job.node, job.graph.layout, 0);
  if (!in_memory && !saved && !parent) settle_weights(job, beginning);
  if (in_memory) require_parameters_of(job.world, in_memory->told(), state, job.node);
  state.statistics = job.store.statistics();
  job.world.node_barrier();
  if (job.world.rank() == 0 && in_memory)
    log_info(fmt::format("continuing from {}.", in_memory->told()));
  else if (job.world.rank() == 0 && saved)
    log_info(fmt::format("continuing from {}.", saved->path));
  else if (job.world.rank() == 0 && parent)
    log_info(fmt::format("starting from the parameters of {}{}.", parent->path,
                         job.deck.weights.file.empty() ? "" : "; model.weights is not read"));
  state.schedule_steps = job.deck.optimizer.schedule.steps;
  return state;
}

}  // namespace lepton::train
