// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/redundant_state.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/waiting.h"
#include "comm/memory_limits.h"
#include "train/cutter.h"
#include "train/job.h"

namespace lepton::train {

namespace {

/// Copies cost main threads at most this part of their time.
constexpr double share_of_time = 0.01;

/// Parity blocks of a stripe: a machine that is lost takes all its nodes along. No more than leave a node of
/// the smallest group to have data; none where there is but one machine.
int parity_of(const comm::World& world, int machines_lost) {
  int smallest = world.nodes();
  for (int node = 0; node < world.nodes(); ++node)
    smallest = std::min(smallest, checkpoint::NodeGroup::of(node, world.nodes()).count);
  size_t together = 0;
  for (int machine = 0; machine < world.machines(); ++machine)
    together = std::max(together, world.nodes_of(machine).size());
  if (world.machines() == 1) return 0;
  const int wanted = machines_lost * static_cast<int>(together);
  if (wanted >= smallest && world.rank() == 0)
    log_info(
        fmt::format("copies of the state stand the loss of {} of {} nodes, not of {} machines as asked for "
                    "(run.redundancy): there are too few.",
                    smallest - 1, smallest, machines_lost));
  return std::min(wanted, smallest - 1);
}

size_t segment_of(const std::vector<int64_t>& slices, int nodes, int parity, int arrays) {
  size_t bytes = 0;
  for (int node = 0; node < nodes; ++node) {
    const checkpoint::Rotation rotation{checkpoint::NodeGroup::of(node, nodes).count, parity};
    const auto at = static_cast<size_t>(node);
    const auto part = static_cast<size_t>((slices[at + 1] - slices[at]) * arrays) * sizeof(float);
    bytes = std::max(bytes, checkpoint::segment_bytes(rotation, part));
  }
  return bytes;
}

}  // namespace

size_t cut_copies(std::byte* memory, const KeptLabel& label, CopyViews& views) {
  const checkpoint::NodeGroup group = checkpoint::NodeGroup::of(label.node, label.nodes);
  const auto segment = static_cast<size_t>(label.segment_bytes);
  Cutter cutter(memory);
  for (size_t slot = 0; slot < 2; ++slot) {
    views.hashes[slot] = cutter.take<uint64_t>(static_cast<size_t>(group.count) + 1);
    views.part[slot] = cutter.take<std::byte>(segment * static_cast<size_t>(group.count - label.parity));
    views.parity[slot] = cutter.take<std::byte>(segment * static_cast<size_t>(label.parity));
  }
  return cutter.used();
}

RedundantState::RedundantState(const Job& job, const std::string& name, int64_t generation,
                               const checkpoint::Identity& identity, std::function<void()> remove_former)
    : world_(job.world), spec_(job.deck.run), remove_former_(std::move(remove_former)) {
  std::vector<int64_t> devices{job.device.has_value()};
  world_.all_max(devices);
  const bool parts = world_.machines() > 1 && job.node.moments() > 0;  // parameters are whole on each node
  if (name.empty() || !(devices[0] > 0 || (parts && spec_.redundancy > 0))) return;
  every_steps_ =
      spec_.redundancy_epochs > 0 ? spec_.redundancy_epochs * job.steps_per_epoch() : spec_.redundancy_steps;
  label_ = {generation,
            world_.node(),
            world_.nodes(),
            job.node.moments(),
            job.graph.layout.elements(),
            job.node.slice_begin(),
            job.node.slice_end()};
  label_.parity = parity_of(world_, spec_.redundancy);
  label_.segment_bytes = static_cast<int64_t>(
      segment_of(job.slices.elements, world_.nodes(), label_.parity, 1 + job.node.moments()));
  const size_t small_bytes = job.small_state_bytes(), head = KeptState::head_bytes(small_bytes),
               bytes = head + cut_copies(nullptr, label_, views_);
  if (!make_room(job, bytes)) return;
  comm::agree(world_, [&] { memory_ = comm::SharedMemory::kept(world_, spec_.shm_directory, name, bytes); });
  kept_.emplace(memory_.as<std::byte>(), small_bytes);
  cut_copies(memory_.data() + head, label_, views_);
  comm::agree(world_, [&] {
    if (world_.leads()) kept_->begin(label_, identity);
  });
  if (world_.leads())
    redundancy_ = std::make_unique<checkpoint::Redundancy>(
        world_, checkpoint::NodeGroup::of(world_.node(), world_.nodes()), label_.parity,
        static_cast<size_t>(label_.segment_bytes));
}

/// **Collective.** Whether all have room, if need be where former copies are now.
bool RedundantState::make_room(const Job& job, size_t bytes) {
  const auto nodes = static_cast<size_t>(job.share.on_host.nodes);
  // What compute threads have not taken yet; and half of the rest is for others.
  const auto promised = static_cast<size_t>(job.needs.per_thread * job.needs.threads) * nodes;
  const auto lacks = [&] {
    const comm::MemoryLimits limits = comm::memory_limits(spec_.shm_directory);
    const size_t free = limits.available_bytes() - std::min(limits.available_bytes(), promised);
    std::vector<int64_t> lacking{bytes * nodes > std::min(limits.shared_fs_bytes, free / 2)};
    world_.all_max(lacking);
    return lacking[0] > 0;
  };
  if (!lacks()) return true;
  remove_former_();
  world_.barrier();
  if (!lacks()) return true;
  if (world_.rank() == 0)
    log_info(fmt::format(
        "no copies of the state are kept, because memory for them, {} on each node, is lacking on "
        "some: a lost node, or device, costs what came after the last checkpoint.",
        comm::bytes_text(bytes)));
  return false;
}

RedundantState::~RedundantState() {
  if (!begun_) remove();
  // The job has failed, and MPI may still write there.
  if (redundancy_ && !redundancy_->idle()) static_cast<void>(new comm::SharedMemory(std::move(memory_)));
}

void RedundantState::remove() {
  if (!memory_.kept_path().empty()) unlink(memory_.kept_path().c_str());
}

StateCopy RedundantState::copy(int slot) const {
  StateCopy copy;
  auto* values = reinterpret_cast<float*>(views_.part[static_cast<size_t>(slot)].data());
  const auto slice = static_cast<size_t>(label_.slice_end - label_.slice_begin);
  for (int array = 0; array < 1 + label_.moments; ++array)
    copy[static_cast<size_t>(array)] = {values + static_cast<size_t>(array) * slice, slice};
  return copy;
}

bool RedundantState::due(int64_t step) const {
  if (!begun_) return true;
  if (every_steps_ > 0) return step - step_ >= every_steps_;
  return now_s() - begun_s_ >= std::max(spec_.redundancy_s, cost_s_ / share_of_time);
}

void RedundantState::vote(exact::Lanes& lanes, int64_t step) const {
  if (!exists() || given_up_) return;
  if (in_flight_)
    lanes.redundancy_reports() += redundancy_->idle();
  else if (world_.rank() == 0 && step >= 0 && due(step))
    lanes.redundancy_votes() += 1;
}

void RedundantState::observe(exact::Lanes& total, bool sound) {
  due_ = due_ || total.redundancy_votes() > 0;
  count_everywhere_ = counts_;  // this round was begun by all after they had counted it
  if (!in_flight_ || total.redundancy_reports() < world_.nodes()) return;
  in_flight_ = false;
  if (!sound) return;
  given_up_ = !kept_->label() || !kept_->commit(step_, slot_, small_state_);
  if (given_up_)
    return log_warning("the run state is too large to be kept in memory beside copies of the state.");
  counts_ = true;
  const int64_t elements = label_.slice_end - label_.slice_begin;
  copied_ = {step_, now_s() - taken_s_, cost_s_, (1 + label_.moments) * elements * int64_t{sizeof(float)}};
  slot_ = 1 - slot_;
}

int RedundantState::take_due(NodeState& node) {
  if (!std::exchange(due_, false)) return -1;
  CHECK(!in_flight_, "one copy at a time");
  node.control().copy_next.store(0, std::memory_order_relaxed);
  kept_->overwrite(slot_);
  taken_s_ = now_s();
  return slot_;
}

void RedundantState::begin(const RunState& state) {
  const auto slot = static_cast<size_t>(slot_);
  failpoint("redundancy");
  state.encode_onto(state.encode(), state.pending, small_state_);
  step_ = state.step;
  begun_s_ = now_s();
  cost_s_ = begun_s_ - taken_s_;
  begun_ = in_flight_ = true;
  redundancy_->begin(views_.part[slot], views_.parity[slot], views_.hashes[slot]);
}

void RedundantState::progress() {
  if (!redundancy_ || redundancy_->idle()) return;
  const double begin_s = now_s();
  redundancy_->progress();
  cost_s_ += now_s() - begin_s;
}

void RedundantState::after_release() {
  if (count_everywhere_ && remove_former_) std::exchange(remove_former_, nullptr)();
}

void RedundantState::finish() {
  if (!redundancy_) return;
  Pace pace;
  for (int64_t ended = redundancy_->ended(); !redundancy_->idle(); pace.step()) {
    progress();
    if (std::exchange(ended, redundancy_->ended()) != ended) pace.restart();
    if (pace.waited_s() > world_.deadline_s())
      throw DeadlineError("redundancy between nodes", world_.deadline_s(), "some node does not answer");
  }
}

}  // namespace lepton::train
