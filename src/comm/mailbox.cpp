// SPDX-License-Identifier: Apache-2.0
// A message is matched (MPI_Improbe) as soon as it is seen, and received without waiting (MPI_Imrecv): above
// MPI's eager limit its bytes come only when the sender enters MPI again, which may be a work unit later.
// Matched messages queue by sender, which keeps the order of each and lets the others pass. Bytes of messages
// under way lie in list nodes, because they may not move (short strings lie within their objects).
// Drain asks each sender by name for no more than it has sent: who leaves drain() first may begin a new
// mailbox, and its messages must not be taken for the old one's.
#include "comm/mailbox.h"

#include <mpi.h>

#include <algorithm>
#include <climits>
#include <exception>
#include <list>
#include <vector>

#include "base/waiting.h"
#include "comm/group.h"
#include "comm/messages.h"

namespace lepton::comm {

struct Mailbox::State {
  static constexpr int looks = 8;  // at messages under way, per call and direction
  static constexpr int tag = static_cast<int>(Channel::control);
  struct Message {
    int node;
    std::string bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  using Messages = std::list<Message>;

  explicit State(const World& the_world)
      : world(the_world),
        incoming(static_cast<size_t>(the_world.nodes())),
        sent_to(incoming.size()),
        taken_from(incoming.size()),
        sent_here(incoming.size()) {}
  bool idle() const { return outgoing.empty() && senders.empty(); }
  bool test(Message& message);
  void retire();
  bool take(int source);
  std::optional<Letter> arrived();
  std::optional<Letter> own();
  bool take_what_was_sent();
  std::string under_way() const;

  const World& world;
  int exceptions = std::uncaught_exceptions();
  bool draining = false;  // also after a drain that failed
  bool own_first = false;
  Messages outgoing;  // turned round as they are looked at
  Messages inbox;     // from oneself
  // By node:
  std::vector<Messages> incoming;            // matched, in order
  std::vector<int64_t> sent_to, taken_from;  // counts
  std::vector<int64_t> sent_here;            // known while draining
  std::list<int> senders;                    // nodes with incoming messages; turned round
  int64_t sent = 0, received = 0;
};

Mailbox::Mailbox(const World& world) : state_(std::make_unique<State>(world)) {
  CHECK(world.leads(), "messages go between leaders");
}

Mailbox::~Mailbox() {
  if (state_->idle() && !state_->draining) return;
  if (state_->draining || std::uncaught_exceptions() > state_->exceptions) {
    // What is matched or sent cannot be taken back, and MPI_Finalize may still move it.
    static_cast<void>(state_.release());
    return;
  }
  CHECK(false, "messages under way");  // noexcept: ends the process, as it must
}

int64_t Mailbox::sent() const {
  return state_->sent;
}

int64_t Mailbox::received() const {
  return state_->received;
}

bool Mailbox::State::test(Message& message) {
  int done = 0;
  check_mpi(MPI_Test(&message.request, &done, MPI_STATUS_IGNORE), "message between leaders");
  return done != 0;
}

/// Drops messages that are sent.
void Mailbox::State::retire() {
  for (int look = 0; look < looks && !outgoing.empty(); ++look) {
    if (test(outgoing.front()))
      outgoing.pop_front();
    else
      outgoing.splice(outgoing.end(), outgoing, outgoing.begin());
  }
}

/// Matches the next message from `source`, if there is one.
bool Mailbox::State::take(int source) {
  int there = 0, count = 0;
  MPI_Message message;
  MPI_Status status;
  check_mpi(MPI_Improbe(source, tag, world.handles().messages, &there, &message, &status), "MPI_Improbe");
  if (!there) return false;
  check_mpi(MPI_Get_count(&status, MPI_BYTE, &count), "MPI_Get_count");
  const int from = status.MPI_SOURCE;
  if (incoming[from].empty()) senders.push_back(from);
  Message& letter = incoming[from].emplace_back(Message{from, std::string(count, '\0')});
  ++taken_from[from];
  check_mpi(MPI_Imrecv(letter.bytes.data(), count, MPI_BYTE, &message, &letter.request), "MPI_Imrecv");
  return true;
}

/// The next matched message that is here whole.
std::optional<Letter> Mailbox::State::arrived() {
  for (int look = 0; look < looks && !senders.empty(); ++look) {
    Messages& queue = incoming[senders.front()];
    const bool here = test(queue.front());
    std::optional<Letter> letter;
    if (here) {
      letter = Letter{queue.front().node, std::move(queue.front().bytes)};
      queue.pop_front();
      ++received;
    }
    if (queue.empty())
      senders.pop_front();
    else
      senders.splice(senders.end(), senders, senders.begin());
    if (here) return letter;
  }
  return std::nullopt;
}

std::optional<Letter> Mailbox::State::own() {
  if (inbox.empty()) return std::nullopt;
  std::optional<Letter> letter = Letter{inbox.front().node, std::move(inbox.front().bytes)};
  inbox.pop_front();
  ++received;
  return letter;
}

void Mailbox::send(int node, std::string bytes) {
  State& s = *state_;
  CHECK(node >= 0 && node < s.world.nodes(), "no node " + std::to_string(node));
  CHECK(bytes.size() <= INT_MAX, "control messages are small");
  CHECK(!s.draining, "a drain failed");
  ++s.sent;
  ++s.sent_to[node];
  if (node == s.world.node()) {
    s.inbox.push_back({node, std::move(bytes)});
    ++s.taken_from[node];
    return;
  }
  State::Message& message = s.outgoing.emplace_back(State::Message{node, std::move(bytes)});
  check_mpi(MPI_Isend(message.bytes.data(), static_cast<int>(message.bytes.size()), MPI_BYTE, node,
                      State::tag, s.world.handles().messages, &message.request),
            "MPI_Isend");
}

std::optional<Letter> Mailbox::receive() {
  State& s = *state_;
  if (s.world.nodes() == 1) return s.own();
  s.own_first = !s.own_first;  // neither oneself nor the others can keep the other waiting for ever
  if (s.own_first && !s.inbox.empty()) return s.own();
  s.retire();
  // Where nothing is known to be there Open MPI's probe moves messages, but does not look again: what came
  // while nobody called MPI is found by a second one. Else a leader that computes would find it a unit later.
  if (!s.take(MPI_ANY_SOURCE)) s.take(MPI_ANY_SOURCE);
  std::optional<Letter> letter = s.arrived();
  return letter ? std::move(letter) : s.own();
}

// ---- The end.

/// Takes and discards; whether there was any.
bool Mailbox::State::take_what_was_sent() {
  const int64_t before = received;
  bool taken = false;
  for (int node = 0; node < world.nodes(); ++node)
    while (taken_from[node] < sent_here[node] && take(node)) taken = true;
  while (arrived()) continue;
  return taken || received > before;
}

std::string Mailbox::State::under_way() const {
  constexpr int names_max = 8;
  std::vector<int64_t> to(incoming.size());
  for (const Message& message : outgoing) ++to[message.node];
  std::string text;
  int names = 0;
  const auto add = [&](int64_t count, const char* direction, int node) {
    if (count == 0 || ++names > names_max) return;
    text +=
        (names > 1 ? ", " : "") + std::to_string(count) + direction + std::to_string(world.leader_of(node));
  };
  for (int node = 0; node < world.nodes(); ++node)
    add(sent_here[node] - taken_from[node] + static_cast<int64_t>(incoming[node].size()), " from rank ",
        node);
  for (int node = 0; node < world.nodes(); ++node) add(to[node], " to rank ", node);
  return "messages under way: " + text + (names > names_max ? " and more" : "");
}

void Mailbox::drain() {
  State& s = *state_;
  while (s.own()) continue;
  if (s.world.nodes() == 1) return;
  s.draining = true;
  Group& leaders = s.world.handles().leaders;
  MPI_Request request;
  leaders.begin();
  check_mpi(MPI_Ialltoall(s.sent_to.data(), 1, MPI_INT64_T, s.sent_here.data(), 1, MPI_INT64_T, leaders.comm,
                          &request),
            "MPI_Ialltoall");
  leaders.wait(request, "end of messages between nodes");
  Pace pace;
  for (;;) {
    const size_t before = s.outgoing.size();
    s.retire();
    const bool taken = s.take_what_was_sent();
    if (s.idle() && s.taken_from == s.sent_here) break;
    if (taken || s.outgoing.size() < before) pace.restart();
    pace.step();
    if (pace.waited_s() > leaders.deadline_s())
      throw DeadlineError("end of messages between nodes", leaders.deadline_s(), s.under_way());
  }
  s.draining = false;
}

}  // namespace lepton::comm
