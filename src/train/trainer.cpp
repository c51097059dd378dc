// SPDX-License-Identifier: Apache-2.0
// The loop of a run. Called by the command `train`.
#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/stop.h"
#include "ops/table.h"

namespace lepton::train {

Trainer::Trainer(const comm::World& world, const UnitResources& resources, const UnitSizes& sizes,
                 const Ensemble& ensemble, RunState state, int threads, int thread_base, int node_threads,
                 Watchdog* watchdog)
    : world_(world),
      resources_(resources),
      sizes_(sizes),
      ensemble_(ensemble),
      barrier_(resources.node.control().barrier, resources.node.roster(), world.rank(), world.deadline()),
      times_(threads),
      threads_(threads),
      thread_base_(thread_base),
      node_threads_(node_threads),
      watchdog_(watchdog),
      limits_(resources.deck.run) {
  if (world.leads()) conductor_.emplace(ensemble, std::move(state));
  poll_ = [this] {
    if (conductor_) conductor_->poll();
  };
}

Exit Trainer::run() {
  const double begin_s = now_s();
  if (conductor_) conductor_->open();
  world_.node_barrier();
  run_threads();
  throw_failure();
  // From here on others may wait for a disk.
  const Deadline::Lifted lifted(world_.deadline());
  if (conductor_) {
    const Unwatched unwatched;
    conductor_->close();
  }
  total_s_ = now_s() - begin_s;
  std::vector<int64_t> stopped{conductor_ && conductor_->stopped()};
  world_.all_max(stopped);
  return stopped[0] ? Exit::again : Exit::done;
}

void Trainer::run_threads() {
  const RunContext context = run_context();
  ThreadTeam team(threads_);
  try {
    team.run([this, &context](int thread) {
      run_context() = context;
      loop(thread);
    });
  } catch (
      const comm::NodeFailed&) {  // some other thread has the real error: this rank's, or else another rank's
    if (failure_) std::rethrow_exception(failure_);
    throw;
  }
}

void Trainer::loop(int thread) {
  try {
    ops::prepare_compute_thread();
    std::optional<Watchdog::Watch> watch;
    if (watchdog_ && thread > 0)
      watch.emplace(*watchdog_, fmt::format("rank {}, thread {}", world_.rank(), thread));
    const bool conducts = thread == 0 && conductor_;
    const std::unique_ptr<Worker> worker =
        make_worker(resources_, sizes_, thread_base_ + thread, node_threads_, world_.nodes(),
                    conducts ? poll_ : std::function<void()>());
    const NodeControl& control = resources_.node.control();
    for (;;) {
      if (control.header.snapshot || control.header.copy >= 0) snapshot(thread, *worker);
      if (!control.header.run) break;
      run_context().step = control.header.id.step;
      step(thread, *worker);
    }
    times_[thread] = worker->times();
  } catch (const comm::NodeFailed&) {
    throw;
  } catch (...) {
    {
      const std::lock_guard lock(failure_mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
    barrier_.fail();
    throw;
  }
}

void Trainer::step(int thread, Worker& worker) {
  const bool main = thread == 0, conducts = main && conductor_;
  const RoundHeader header = resources_.node.control().header;
  const double begin_s = now_s();
  if (main) set_limits(header.id.kind);
  if (conducts) conductor_->prepare_next();
  worker.run_queue(conducts ? poll_ : nothing_);
  if (main) worker.lanes().stop_votes() += stop_requested();
  if (conducts) conductor_->vote(worker.lanes());
  worker.finish_units(header.id.round);
  if (header.id.kind == exact::RoundKind::train)
    end_step(thread, worker);
  else
    meet(thread, &worker, &Conductor::conclude);
  if (main) limits_.note(header.id.kind, now_s() - begin_s);
  if (conducts) conductor_->after_release();
}

void Trainer::set_limits(exact::RoundKind kind) {
  if (!watchdog_) return;
  watchdog_->set_limit(limits_.silence_s(kind));
  world_.deadline().set(limits_.wait_s(kind));
}

void Trainer::end_step(int thread, Worker& worker) {
  NodeState& node = resources_.node;
  const bool two_passes = ensemble_.two_passes();
  if (node.domains().count() > 1) {
    meet(thread, &worker, nullptr);
    const ScopedTimer timer(worker.times().sum_s);
    fold_blocks(node, resources_.graph.layout);
  }
  meet(thread, &worker, &Conductor::reduce);
  {
    const ScopedTimer timer(worker.times().optimizer_s);
    if (two_passes)
      worker.verify();
    else
      worker.verify_and_update();
    worker.merge_lanes(node.control().header.id.round);
  }
  if (!two_passes) {
    meet(thread, &worker, &Conductor::conclude);
    return;
  }
  meet(thread, &worker, &Conductor::decide);
  {
    const ScopedTimer timer(worker.times().optimizer_s);
    worker.update();
  }
  meet(thread, &worker, &Conductor::advance);
}

void Trainer::snapshot(int thread, Worker& worker) {
  double helpers_s = 0;
  const ScopedTimer timer(thread == 0 ? checkpoint_s_ : helpers_s);
  const RoundHeader& header = resources_.node.control().header;
  if (header.snapshot) {
    worker.copy_state(copy_for(*ensemble_.writer, resources_.node));
    meet(thread, nullptr, &Conductor::begin_checkpoint);
  }
  if (header.copy < 0) return;
  worker.copy_state(ensemble_.redundant->copy(header.copy));
  meet(thread, nullptr, &Conductor::begin_copy);
}

void Trainer::meet(int thread, Worker* worker, void (Conductor::*serial)()) {
  double ignored_s = 0;
  const ScopedTimer timer(worker ? worker->times().wait_s : ignored_s);
  if (thread != 0 || !conductor_) {
    barrier_.wait(thread_base_ + thread);  // main threads that do not lead have no messages to move
    return;
  }
  const auto conduct = [this, serial] {
    if (serial) ((*conductor_).*serial)();
  };
  barrier_.wait_serial(thread_base_ + thread, poll_,
                       std::cref(conduct));  // a reference, which std::function holds without memory
}

void Trainer::throw_failure() const {
  NodeControl& control = resources_.node.control();
  if (!control.failed) return;
  const int64_t step = control.header.id.step;
  const std::string where = fmt::format("step {}", step);
  switch (control.outcome) {
    case Outcome::non_finite: {
      const int nodes = static_cast<int>(resources_.graph.nodes.size()), place = control.blamed_place;
      const std::string what =
          place < nodes
              ? fmt::format("the output of layer {}", resources_.graph.nodes[place].name)
              : fmt::format("the gradient of {}", resources_.graph.layout.tensors()[place - nodes].name);
      throw Error(Exit::diverged, fmt::format("{}, unit {}", where, control.blamed_unit),
                  fmt::format("training diverged: {} is not finite", what),
                  "The last checkpoint is kept. Lower the learning rate, clip gradients, or check the data.")
          .as_agreed();
    }
    case Outcome::wrong_units:
      throw Error(Exit::software, where, "not every unit was added exactly once", "This is a bug in Lepton.")
          .as_agreed();
    case Outcome::wrong_parameters:
      throw Error(Exit::io, where, "the nodes' parameters differ",
                  "Memory is unreliable on some node; run again from the "
                  "last checkpoint, on other nodes if it recurs.")
          .as_agreed();
    case Outcome::damaged_state:
      throw Error(
          Exit::io, where, "parameters or optimizer state changed in memory between two steps",
          "A warning above names the rank. Nothing was trained on them: run again from the last checkpoint, "
          "on other nodes if it recurs.")
          .as_agreed();
    default:
      throw Error(Exit::io, where, "checksums of the sums disagree again and again",
                  "Memory is unreliable on some node; "
                  "run again from the last checkpoint, on other nodes if it recurs.")
          .as_agreed();
  }
}

report::RankTimes Trainer::times() const {
  report::RankTimes sum;
  for (const ThreadTimes& t : times_) {
    sum.data_s += t.data_s / threads_;
    sum.compute_s += t.forward_backward_s / threads_;
    sum.sum_s += t.sum_s / threads_;
    sum.optimizer_s += t.optimizer_s / threads_;
    sum.wait_s += t.wait_s / threads_;
    sum.units += t.units;
  }
  sum.checkpoint_s = checkpoint_s_;
  sum.node = world_.node();
  sum.total_s = total_s_;
  return sum;
}

}  // namespace lepton::train
