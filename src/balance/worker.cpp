// SPDX-License-Identifier: Apache-2.0
// A node's side of stealing. See the header. Called by train in the leader's main thread, and by the
// simulator.
#include "balance/worker.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/failpoint.h"

namespace lepton::balance {

Worker::Worker(int64_t units_max, UnitQueue queue, Outside& outside)
    : units_max_(units_max), queue_(queue), outside_(outside) {}

void Worker::begin(const Stamp& stamp, const NodePlan& plan, UnitRange units, bool alone) {
  CHECK(lent_.empty(), "a round begins, and units given away in the last one were not started");
  for (const Loan& loan : loans_)
    CHECK(loan.unstarted == 0, "a round begins, and not all units were started");
  loans_.clear();
  arriving_.clear();
  loan_of_unit_.clear();
  stamp_ = stamp;
  alone_ = alone;
  entered_ = false;
  seen_started_ = kept_ = 0;
  moved_ = {};
  policy_.begin(plan);
  queue_.fill(units, !alone);
  if (!alone && plan.unit_s <= 0) queue_.take_singly();  // it may be one that hardly moves
}

Progress Worker::progress() const {
  Progress progress;
  progress.done = queue_.done();  // first: no more are done than are started
  progress.busy_s = static_cast<double>(queue_.busy_ns()) * 1e-9;
  progress.started = queue_.started();
  progress.left = queue_.listed() - progress.started;
  progress.kept = std::clamp<int64_t>(kept_ - progress.started, 0, progress.left);
  for (const int32_t loan : arriving_) progress.coming += std::ssize(loans_[static_cast<size_t>(loan)].units);
  return progress;
}

void Worker::poll(double now_s) {
  if (alone_ || closed()) return;
  take_in();
  note_started();
  const Progress at = progress();
  if (const std::optional<Report> report = policy_.look(now_s, at)) {
    if (policy_.late()) queue_.take_singly();
    failpoint("steal.request");
    outside_.send(0, {stamp_, *report});
  }
  if (!entered_ && at.coming == 0 && lent_.empty() && policy_.ends(at)) {
    entered_ = true;
    kept_ = queue_.listed();
    outside_.enter_barrier();
  }
  if (entered_ && outside_.barrier_complete()) {
    CHECK(lent_.empty() && (queue_.listed() == kept_ || queue_.left() == 0),
          "the round is said to be shared out, and some of it is not");
    queue_.close();
  }
}

/// Units whose rows have come become runnable.
void Worker::take_in() {
  size_t kept = 0;
  for (const int32_t number : arriving_) {
    const Loan& loan = loans_[static_cast<size_t>(number)];
    if (outside_.borrowed(loan.from, loan.number))
      queue_.append(loan.units);
    else
      arriving_[kept++] = number;
  }
  arriving_.resize(kept);
}

/// Tells givers of the units that threads have taken meanwhile.
void Worker::note_started() {
  const int64_t now = queue_.started();
  if (loan_of_unit_.empty()) seen_started_ = now;  // all of them its own
  for (; seen_started_ < now; ++seen_started_)
    started(forget_loan(queue_.list()[static_cast<size_t>(seen_started_)]));
}

int32_t Worker::forget_loan(int32_t unit) {
  const auto found = loan_of_unit_.find(unit);
  if (found == loan_of_unit_.end()) return own;
  const int32_t loan = found->second;
  loan_of_unit_.erase(found);
  return loan;
}

void Worker::started(int32_t loan) {
  if (loan == own) return;
  Loan& from = loans_[static_cast<size_t>(loan)];
  CHECK(from.unstarted > 0, "a unit was started twice");
  if (--from.unstarted == 0) outside_.send(from.from, {stamp_, Started{from.number}});
}

void Worker::receive(double now_s, int from, const Message& message) {
  CHECK(message.stamp == stamp_ && !alone_, "a message of another round");
  if (const auto* give = std::get_if<Give>(&message.body))
    obey(now_s, *give);
  else if (const auto* offer = std::get_if<Offer>(&message.body))
    accept(from, *offer);
  else if (const auto* started = std::get_if<Started>(&message.body))
    settle(started->number);
  else
    CHECK(false, "reports are rank 0's");
}

void Worker::obey(double now_s, const Give& give) {
  std::vector<Move> missing;
  for (const Move& move : give.moves) {
    const std::span<const int32_t> units = queue_.take_back(move.units, kept_);
    if (!units.empty()) offer(move, units);
    if (std::ssize(units) < move.units) missing.push_back({move.node, move.units - std::ssize(units), 0});
  }
  policy_.gave(give.end_s);
  if (missing.empty() || closed()) return;
  Report report = policy_.report(now_s, progress());
  report.missing = std::move(missing);
  outside_.send(0, {stamp_, std::move(report)});
}

void Worker::offer(const Move& move, std::span<const int32_t> units) {
  failpoint("steal.grant");
  Lent& lent = lent_.emplace_back();
  lent.number = offers_++;
  for (const int32_t unit : units) lent.units.push_back({unit, forget_loan(unit)});
  moved_.given += std::ssize(units);
  outside_.send(move.node, {stamp_, Offer{lent.number, {units.begin(), units.end()}, move.end_s}});
  outside_.lend(move.node, lent.number, units);
}

void Worker::accept(int from, const Offer& offer) {
  CHECK(!closed(), "units came to a closed node");
  const auto loan = static_cast<int32_t>(loans_.size());
  loans_.push_back({from, offer.number, std::ssize(offer.units), offer.units});
  arriving_.push_back(loan);
  for (const int32_t unit : offer.units) {
    CHECK(unit >= 0 && unit < units_max_, "no unit of this round: " + std::to_string(unit));
    loan_of_unit_[unit] = loan;
  }
  moved_.taken += std::ssize(offer.units);
  policy_.took(std::ssize(offer.units), offer.end_s);
  outside_.borrow(from, offer.number, offer.units);
}

/// What was given away in this offer has been started: whom this node answered to for it may know.
void Worker::settle(int64_t number) {
  const auto lent =
      std::find_if(lent_.begin(), lent_.end(), [&](const Lent& l) { return l.number == number; });
  CHECK(lent != lent_.end(), "units were started that were not given: offer " + std::to_string(number));
  const std::vector<Answer> units = std::move(lent->units);
  lent_.erase(lent);
  for (const Answer& answer : units) started(answer.loan);
}

}  // namespace lepton::balance
