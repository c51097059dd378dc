// SPDX-License-Identifier: Apache-2.0
// Batches of nonblocking messages. Size mismatches are errors: a longer message is refused by MPI
// (truncation), a shorter one is found by its count. Tag = channel + 4 * (round mod 8,192) stays below MPI's
// guaranteed 32,767.
#include "comm/messages.h"

#include <mpi.h>

#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include "comm/group.h"

namespace lepton::comm {

struct MessageBatch::State {
  const World* world;
  Channel channel;
  size_t piece_bytes;
  int tag = 0;
  bool given_up = false;
  int exceptions = std::uncaught_exceptions();
  size_t complete = 0;
  // By piece:
  std::vector<MPI_Request> requests;
  std::vector<MPI_Status> statuses;
  std::vector<int> indices;
  std::vector<int> nodes;
  std::vector<int> receive_bytes;  // -1: a send

  void set_round(int64_t round) {
    tag = static_cast<int>(channel) + channels * static_cast<int>(((round % 8192) + 8192) % 8192);
  }
  void add(int node, int bytes, bool receives, MPI_Request request) {
    requests.push_back(request);
    nodes.push_back(node);
    receive_bytes.push_back(receives ? bytes : -1);
  }
  std::string silent() const {
    std::vector<int> ranks;
    for (size_t i = 0; i < requests.size(); ++i)
      if (requests[i] != MPI_REQUEST_NULL) ranks.push_back(world->leader_of(nodes[i]));
    std::sort(ranks.begin(), ranks.end());
    ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
    std::string text;
    for (int rank : ranks) text += (text.empty() ? "" : ", ") + std::to_string(rank);
    return "no message between rank " + std::to_string(world->rank()) + " and rank " + text;
  }
  void give_up() {
    given_up = true;
    for (size_t i = 0; i < requests.size(); ++i) {
      if (requests[i] == MPI_REQUEST_NULL) continue;
      if (receive_bytes[i] >= 0) MPI_Cancel(&requests[i]);
      MPI_Request_free(&requests[i]);
    }
  }
};

MessageBatch::MessageBatch(const World& world, Channel channel, int64_t round, size_t piece_bytes)
    : state_(std::make_unique<State>()) {
  CHECK(piece_bytes > 0 && piece_bytes <= (size_t{1} << 30), "a piece fits MPI's int");
  state_->world = &world;
  state_->channel = channel;
  state_->piece_bytes = piece_bytes;
  state_->set_round(round);
}

MessageBatch::MessageBatch(MessageBatch&&) noexcept = default;

MessageBatch::~MessageBatch() {
  if (!state_ || state_->complete == state_->requests.size() || state_->given_up) return;
  if (std::uncaught_exceptions() > state_->exceptions) {
    state_->give_up();
    return;
  }
  CHECK(false, "messages outstanding");  // noexcept: ends the process, as it must
}

void MessageBatch::restart(int64_t round) {
  CHECK(state_->complete == state_->requests.size() && !state_->given_up, "messages outstanding");
  state_->requests.clear();
  state_->nodes.clear();
  state_->receive_bytes.clear();
  state_->complete = 0;
  state_->set_round(round);
}

void MessageBatch::send(int node, std::span<const std::byte> bytes) {
  CHECK(state_->world->leads(), "messages go between leaders");
  for (size_t at = 0; at < bytes.size(); at += state_->piece_bytes) {
    const int count = static_cast<int>(std::min(state_->piece_bytes, bytes.size() - at));
    MPI_Request request;
    check_mpi(MPI_Isend(bytes.data() + at, count, MPI_BYTE, node, state_->tag,
                        state_->world->handles().messages, &request),
              "MPI_Isend");
    state_->add(node, count, false, request);
  }
}

void MessageBatch::receive(int node, std::span<std::byte> bytes) {
  CHECK(state_->world->leads(), "messages go between leaders");
  for (size_t at = 0; at < bytes.size(); at += state_->piece_bytes) {
    const int count = static_cast<int>(std::min(state_->piece_bytes, bytes.size() - at));
    MPI_Request request;
    check_mpi(MPI_Irecv(bytes.data() + at, count, MPI_BYTE, node, state_->tag,
                        state_->world->handles().messages, &request),
              "MPI_Irecv");
    state_->add(node, count, true, request);
  }
}

bool MessageBatch::test() {
  State& s = *state_;
  if (s.complete == s.requests.size()) return true;
  s.statuses.resize(s.requests.size());
  s.indices.resize(s.requests.size());
  int done = 0;
  const int status = MPI_Testsome(static_cast<int>(s.requests.size()), s.requests.data(), &done,
                                  s.indices.data(), s.statuses.data());
  if (status == MPI_ERR_IN_STATUS)
    for (int i = 0; i < done; ++i) check_mpi(s.statuses[i].MPI_ERROR, "message");
  check_mpi(status, "MPI_Testsome");
  CHECK(done != MPI_UNDEFINED, "complete messages are counted");
  s.complete += static_cast<size_t>(done);
  for (int i = 0; i < done; ++i) {
    const int expected = s.receive_bytes[s.indices[i]];
    if (expected < 0) continue;
    int count = 0;
    MPI_Get_count(&s.statuses[i], MPI_BYTE, &count);
    REQUIRE(count == expected, Exit::io, "message from node " + std::to_string(s.nodes[s.indices[i]]),
            std::to_string(count) + " bytes came instead of " + std::to_string(expected),
            "All ranks must run one program with one deck.");
  }
  return s.complete == s.requests.size();
}

void MessageBatch::wait(const Poll& poll) {
  State& s = *state_;
  Pace pace;
  for (size_t before = s.complete; !test(); before = s.complete) {
    if (s.complete != before) pace.restart();
    if (poll) poll();
    pace.step();
    if (pace.waited_s() <= s.world->deadline_s()) continue;
    const std::string text = s.silent();
    s.give_up();
    throw DeadlineError("messages between nodes", s.world->deadline_s(), text);
  }
}

}  // namespace lepton::comm
