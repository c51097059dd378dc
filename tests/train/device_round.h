// SPDX-License-Identifier: Apache-2.0
// For tests of device ranks: the same round on the CPU and on the debug device, each rank a node of its own,
// driven by hand from the queue to the update, and what of it must be equal.
#pragma once

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "round.h"
#include "train/worker.h"

namespace lepton::train {

inline std::vector<Override> computing_on(const std::string& device, std::vector<Override> more = {}) {
  more.push_back({"train.device", "\"" + device + "\""});
  more.push_back({"train.device_sums", "host"});  // where the rounds look for what is exchanged
  return more;
}

/// A regression whose units are those of Round.
inline const std::vector<Override> as_round = {{"train.batch_size", "34"}, {"train.unit_size", "12"}};

/// What a device holds, fetched.
template <class T>
std::vector<T> fetched(DeviceState& state, const T* from, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  state.download(from, std::as_writable_bytes(std::span(values)));
  return values;
}

template <class Values>
auto copied(const Values& values) {
  return std::vector<typename Values::value_type>(values.begin(), values.end());
}

/// One node's part of a round, by its Worker.
class DrivenRound {
 public:
  DrivenRound(const SmallRuns& runs, const std::string& device, const std::string& deck,
              exact::RoundKind kind = exact::RoundKind::train, bool confusion = false,
              const std::vector<Override>& more = {})
      : round(runs, 1, deck, kind, confusion, computing_on(device, more)) {
    if (node().parameters(1).data() != node().parameters(0).data())  // scratch of the arithmetic class
      std::fill(node().parameters(1).begin(), node().parameters(1).end(), 0.f);
    for (int m = 0; m < node().moments(); ++m)
      for (size_t i = 0; i < node().moment(0, m).size(); ++i)
        node().moment(0, m)[i] = std::fabs(std::sin(static_cast<float>(i) + 3.f * static_cast<float>(m)));
    hash_state(node(), layout(), 0);
  }

  NodeState& node() { return round.job.node; }
  RoundHeader& header() { return node().control().header; }
  int64_t number() { return header().id.round; }
  const ArenaLayout& layout() const { return round.job.graph.layout; }
  /// The units: as the node has them in a run, queue by queue. What is changed of the state is changed
  /// before.
  void run_units() {
    if (!worker) worker = make_worker(round.resources, round.job.sizes, 0, 1, round.world.nodes(), {});
    const std::vector<int>& mine = round.mine;
    if (mine.empty()) run_queue({0, 0});
    for (size_t i = 0, end; i < mine.size(); i = end) {
      for (end = i + 1; end < mine.size() && mine[end] == mine[end - 1] + 1;) ++end;
      run_queue({mine[i], mine[end - 1] + 1});
    }
    worker->finish_units(number());
  }
  void verify_and_update() {
    prepare_phases();
    worker->verify_and_update();
    worker->merge_lanes(number());
  }
  void verify() {
    prepare_phases();
    worker->verify();
    worker->merge_lanes(number());
  }
  void update(Outcome outcome) {
    node().control().outcome = outcome;
    worker->update();
  }
  /// All that the round's lanes hold, once; without times, and exact sums in one form, in however many pieces
  /// they came.
  exact::Lanes lanes() {
    exact::Lanes lanes = make_lanes(round.job.graph, round.world.nodes(), round.job.tally);
    node().lanes().take(number(), lanes);
    for (int n = 0; n < round.world.nodes(); ++n) lanes.node_busy_ns(n) = 0;
    int64_t* limbs = lanes.counts().data() + lanes.counts().size();  // exact sums lie behind the counts
    for (int i = 0; i < static_cast<int>(Exact::count); ++i) {
      const ExactSum sum = lanes.exact(i);
      limbs = std::copy(sum.limbs().begin(), sum.limbs().end(), limbs);
    }
    return lanes;
  }

  std::vector<int64_t> sums() {
    if (DeviceState* state = round.resources.device)
      return fetched(*state, state->sums().elements, layout().elements());
    return copied(node().accumulator().elements());
  }
  std::vector<int64_t> checksums() {
    if (DeviceState* state = round.resources.device)
      return fetched(*state, state->sums().checksums, layout().blocks());
    return copied(node().accumulator().checksums());
  }
  /// Of the node's slice.
  std::vector<float> parameters(int slot) {
    const int64_t begin = node().slice_begin();
    if (DeviceState* state = round.resources.device)
      return fetched(*state, state->parameters(slot) + begin, slice());
    return copied(node().parameters(slot).subspan(static_cast<size_t>(begin), static_cast<size_t>(slice())));
  }
  std::vector<float> moment(int slot, int m) {
    if (DeviceState* state = round.resources.device) return fetched(*state, state->moment(slot, m), slice());
    return copied(node().moment(slot, m));
  }
  /// Hashes of the slice's blocks in the slot that the update writes.
  std::vector<uint64_t> hashes() {
    const auto blocks = [](int64_t cut) {
      return static_cast<size_t>((cut + block_elements - 1) / block_elements);
    };
    const size_t first = blocks(node().slice_begin()), end = blocks(node().slice_end());
    return copied(node().block_hashes(1 - header().slot).subspan(first, end - first));
  }
  int64_t slice() { return node().slice_end() - node().slice_begin(); }

  Round round;
  std::unique_ptr<Worker> worker;

 private:
  void run_queue(balance::UnitRange units) {
    node().queue().fill(units);
    worker->run_queue({});
  }
  void prepare_phases() {
    node().control().verify_next = 0;
    node().control().update_next = 0;
    node().control().update =
        round.job.optimizer.plan(7, static_cast<double>(round_samples), 0.8, round_samples);
  }
};

/// Both have made the same step.
inline void expect_same_state(DrivenRound& device, DrivenRound& cpu, const std::string& what) {
  for (int slot = 0; slot < 2; ++slot) {
    EXPECT_EQ(device.parameters(slot), cpu.parameters(slot)) << what << ", slot " << slot;
    for (int m = 0; m < cpu.node().moments(); ++m)
      EXPECT_EQ(device.moment(slot, m), cpu.moment(slot, m)) << what << ", slot " << slot << ", moment " << m;
  }
  EXPECT_EQ(device.hashes(), cpu.hashes()) << what;
}

inline void expect_cleared(DrivenRound& round, const std::string& what) {
  EXPECT_EQ(round.sums(), std::vector<int64_t>(static_cast<size_t>(round.layout().elements()), 0)) << what;
  EXPECT_EQ(round.checksums(), std::vector<int64_t>(static_cast<size_t>(round.layout().blocks()), 0)) << what;
}

}  // namespace lepton::train
