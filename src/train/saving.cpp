// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/saving.h"

#include <fmt/format.h>

#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/watchdog.h"
#include "train/copy_proof.h"

namespace lepton::train {

using checkpoint::Writer;

StateCopy copy_for(Writer& writer, const NodeState& node) {
  StateCopy copy;
  for (int array = 0; array < 1 + node.moments(); ++array)
    copy[static_cast<size_t>(array)] = writer.copy_of(array);
  return copy;
}

void Saving::vote(exact::Lanes& lanes, int64_t step) const {
  if (in_flight_) {
    lanes.checkpoint_reports() += writer_->part() == Writer::Part::durable;
    lanes.checkpoint_failures() += writer_->part() == Writer::Part::failed;
  }
  if (!bookkeeper_ || writer_->busy()) return;
  note_committed();
  if (step >= 0) lanes.checkpoint_votes() += bookkeeper_->checkpoint_due(step, writer_->last_duration_s());
}

/// **Rank 0.**
void Saving::note_committed() const {
  if (const std::optional<checkpoint::Committed> committed = writer_->take_committed())
    bookkeeper_->checkpoint_committed(*committed, stood_s_);
}

void Saving::observe(exact::Lanes& total) {
  due_ = due_ || total.checkpoint_votes() > 0;
  const int64_t durable = total.checkpoint_reports(), failed = total.checkpoint_failures();
  if (!in_flight_ || durable + failed < world_.nodes()) return;
  if (failed == 0)
    writer_->commit();
  else
    writer_->abandon();
  in_flight_ = false;
}

void Saving::prepare_copy() {
  node_.control().copy_next.store(0, std::memory_order_relaxed);
  prepared_s_ = now_s();
}

bool Saving::take_due() {
  if (due_) prepare_copy();
  return std::exchange(due_, false);
}

bool Saving::take_last(int64_t step) {
  if (!writer_ || last_step_ == step) return false;
  prepare_copy();
  finish();
  return true;
}

void Saving::begin(const RunState& state) {
  const StateCopy copy = copy_for(*writer_, node_);
  const size_t arrays = 1 + static_cast<size_t>(node_.moments());  // one behind the other
  failpoint("snapshot", std::as_writable_bytes(std::span(copy[0].data(), arrays * copy[0].size())));
  writer_->begin(state.step, state.encode(), identity_,
                 [proof = CopyProof(node_), copy] { proof.require(copy); });
  stood_s_ = now_s() - prepared_s_;
  in_flight_ = true;
  last_step_ = state.step;
  if (bookkeeper_) bookkeeper_->checkpoint_begun();
}

/// Waits for the disk, as long as it takes; so do the other threads of the node, and other nodes.
bool Saving::finish() {
  const Unwatched unwatched;
  const Deadline::Lifted lifted(world_.deadline());
  std::atomic<uint32_t>& patient = node_.control().barrier.patient;
  patient.store(1, std::memory_order_relaxed);
  const bool written = writer_->finish();
  patient.store(0, std::memory_order_relaxed);
  in_flight_ = false;
  if (bookkeeper_) note_committed();
  return written;
}

void Saving::fail() {
  if (writer_) finish();
}

void Saving::close(int64_t step, const std::string& run_directory) {
  if (!writer_) return;
  const bool last = in_flight_, written = finish();
  REQUIRE(!last || written, Exit::io, run_directory,
          fmt::format("the checkpoint of step {} could not be written", step),
          "The checkpoints before it are intact. A warning above tells why; make room where the disk is "
          "full, and "
          "start the run again.");
}

}  // namespace lepton::train
