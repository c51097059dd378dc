// SPDX-License-Identifier: Apache-2.0
// Collectives with deadlines over a communicator, and the agreement on errors. Set-up and shut-down only: a
// step's collectives are in reduction.cpp. Called by World and SharedMemory. Invariant: all ranks of a group
// begin the same collectives in the same order, so `calls` numbers them.
#include "comm/group.h"

#include <algorithm>
#include <climits>
#include <new>
#include <numeric>

#include "comm/pack.h"

namespace lepton::comm {

void check_mpi(int status, const char* call) {
  if (status == MPI_SUCCESS) [[likely]]
    return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  fail(Exit::io, call, "MPI failed: " + std::string(text, static_cast<size_t>(length)),
       "See the output of the MPI library above; if it persists, suspect the network or a node.");
}

static void free_communicator(MPI_Comm& comm) {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (comm != MPI_COMM_NULL && !finalized) MPI_Comm_free(&comm);
}

Group::~Group() {
  free_communicator(comm);
  free_communicator(roll);
}

World::Handles::~Handles() {
  free_communicator(messages);
}

void Group::open(MPI_Comm parent, const Deadline& of_waits) {
  check_mpi(MPI_Comm_dup(parent, &comm), "MPI_Comm_dup");
  check_mpi(MPI_Comm_dup(parent, &roll), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(roll, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  deadline = &of_waits;
  heard_.assign(size, 0);
  world_ranks.assign(size, 0);
  int world_rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  MPI_Request request;
  begin();
  check_mpi(MPI_Iallgather(&world_rank, 1, MPI_INT, world_ranks.data(), 1, MPI_INT, comm, &request),
            "MPI_Iallgather");
  wait(request, "set-up of the ranks");
}

void Group::wait(MPI_Request& request, const char* collective, const std::function<void()>* poll) {
  Pace pace;
  for (;;) {
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), collective);
    if (done) return;
    if (poll && *poll) (*poll)();
    pace.step();
    roll_call(pace.waited_s());
    if (pace.waited_s() > deadline_s()) throw DeadlineError(collective, deadline_s(), missing());
  }
}

void Group::roll_call(double waited_s) {
  constexpr double listen_after_s = 0.01;
  if (waited_s < std::min(listen_after_s, deadline_s() / 4)) return;
  const bool heard = heard_announcement();
  if (announced_ < calls && (heard || waited_s > deadline_s() / 2)) announce();
}

bool Group::heard_announcement() {
  for (bool heard = false;; heard = true) {
    int there = 0;
    MPI_Status status;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, 0, roll, &there, &status), "MPI_Iprobe");
    if (!there) return heard;
    int64_t call = 0;
    check_mpi(MPI_Recv(&call, 1, MPI_INT64_T, status.MPI_SOURCE, 0, roll, MPI_STATUS_IGNORE), "MPI_Recv");
    heard_[status.MPI_SOURCE] = std::max(heard_[status.MPI_SOURCE], call);
  }
}

void Group::announce() {
  announced_ = calls;
  for (int other = 0; other < size; ++other) {
    if (other == rank) continue;
    MPI_Request request;  // eight bytes go at once; nobody waits for them
    check_mpi(MPI_Isend(&announced_, 1, MPI_INT64_T, other, 0, roll, &request), "MPI_Isend");
    check_mpi(MPI_Request_free(&request), "MPI_Request_free");
  }
}

std::string Group::missing() const {
  constexpr int names_max = 8;
  std::string names;
  int count = 0;
  for (int other = 0; other < size; ++other) {
    if (other == rank || heard_[other] >= calls) continue;
    if (++count <= names_max) names += (names.empty() ? "" : ", ") + std::to_string(world_ranks[other]);
  }
  if (count == 0) return "all ranks came, but it did not end";
  if (count > names_max) names += " and " + std::to_string(count - names_max) + " more";
  return (count == 1 ? "rank " : "ranks ") + names + " did not come";
}

void Group::barrier(const char* name) {
  MPI_Request request;
  begin();
  check_mpi(MPI_Ibarrier(comm, &request), "MPI_Ibarrier");
  wait(request, name);
}

void Group::broadcast(std::string& bytes) {
  constexpr uint64_t piece_max = uint64_t{1} << 30;
  uint64_t length = bytes.size();
  MPI_Request request;
  begin();
  check_mpi(MPI_Ibcast(&length, 1, MPI_UINT64_T, 0, comm, &request), "MPI_Ibcast");
  wait(request, "broadcast");
  bytes.resize(length);
  for (uint64_t at = 0; at < length; at += piece_max) {
    begin();
    check_mpi(MPI_Ibcast(bytes.data() + at, static_cast<int>(std::min(piece_max, length - at)), MPI_BYTE, 0,
                         comm, &request),
              "MPI_Ibcast");
    wait(request, "broadcast");
  }
}

std::vector<std::string> Group::all_gather(const std::string& bytes) {
  CHECK(bytes.size() <= INT_MAX, "all_gather is for small things");
  int length = static_cast<int>(bytes.size());
  std::vector<int> lengths(size), places(size, 0);
  MPI_Request request;
  begin();
  check_mpi(MPI_Iallgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, comm, &request),
            "MPI_Iallgather");
  wait(request, "gather");
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  CHECK(total <= INT_MAX, "all_gather is for small things");
  std::exclusive_scan(lengths.begin(), lengths.end(), places.begin(), 0);
  std::string together(static_cast<size_t>(total), '\0');
  begin();
  check_mpi(MPI_Iallgatherv(bytes.data(), length, MPI_BYTE, together.data(), lengths.data(), places.data(),
                            MPI_BYTE, comm, &request),
            "MPI_Iallgatherv");
  wait(request, "gather");
  std::vector<std::string> parts(size);
  for (int r = 0; r < size; ++r) parts[r] = together.substr(places[r], lengths[r]);
  return parts;
}

void Group::all_reduce(std::span<int64_t> values, MPI_Op operation) {
  CHECK(values.size() <= INT_MAX, "all_reduce is for small things");
  MPI_Request request;
  begin();
  check_mpi(MPI_Iallreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_INT64_T,
                           operation, comm, &request),
            "MPI_Iallreduce");
  wait(request, "reduction");
}

// ---- Agreement on errors.

namespace {

struct Failure {
  int code = 0;
  std::string where, what, hint;
  template <class Archive>
  void serialize(Archive& archive, unsigned) {
    archive& code& where& what& hint;
  }
};

}  // namespace

/// What `work` threw, if anything. A DeadlineError passes: the others may never come to an agreement.
static Failure failure_of(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const DeadlineError&) {
    throw;
  } catch (const Error& error) {
    return {static_cast<int>(error.code()), error.where(), error.problem(), error.hint()};
  } catch (const std::bad_alloc&) {
    return {static_cast<int>(Exit::memory), "", "out of memory",
            "Give the job more memory, or use fewer ranks."};
  } catch (const std::exception& error) {
    return {static_cast<int>(Exit::software), "", error.what(), "This is a bug in Lepton."};
  } catch (...) {
    return {static_cast<int>(Exit::software), "", "an exception of unknown type", "This is a bug in Lepton."};
  }
}

void Group::agree(const std::function<void()>& work) {
  const Failure mine = failure_of(work);
  int64_t failed = mine.code != 0;
  all_reduce({&failed, 1}, MPI_MAX);
  if (!failed) return;
  for (const std::string& bytes : all_gather(pack(mine))) {
    const Failure first = unpack<Failure>(bytes, "agreement on an error");
    if (first.code != 0)
      throw Error(static_cast<Exit>(first.code), first.where, first.what, first.hint).as_agreed();
  }
}

}  // namespace lepton::comm
