// SPDX-License-Identifier: Apache-2.0
// The pairwise exchange in a window of pieces. Pieces between two ranks keep their order because MPI does not
// let messages of one sender and tag overtake; so no piece carries a number.
#include "comm/exchange.h"

#include <algorithm>
#include <string>

#include "base/simd.h"

namespace lepton::comm {

static constexpr int exchange_tag = 0;

LEPTON_SIMD static void add_words(int64_t* __restrict sums, const int64_t* __restrict more, size_t count) {
  auto* to = reinterpret_cast<uint64_t*>(sums);
  const auto* from = reinterpret_cast<const uint64_t*>(more);
  for (size_t i = 0; i < count; ++i) to[i] += from[i];
}

std::byte* HostMemory::scratch(size_t bytes) {
  if (scratch_.size() * sizeof(int64_t) < bytes) scratch_.resize(bytes / sizeof(int64_t) + 1);
  return reinterpret_cast<std::byte*>(scratch_.data());
}

void HostMemory::add(int64_t* sums, const int64_t* more, size_t count) {
  add_words(sums, more, count);
}

Exchange::Exchange(Group& leaders, size_t piece_bytes, ExchangeMemory& memory)
    : leaders_(leaders), piece_bytes_(std::max(piece_bytes / 8 * 8, size_t{8})), memory_(memory) {
  std::fill(std::begin(requests_), std::end(requests_), MPI_REQUEST_NULL);
}

bool Exchange::next_piece(Cursor& cursor, Slot& piece) const {
  while (cursor.left.begin == cursor.left.end) {
    if (cursor.round + 1 >= leaders_.size) return false;
    ++cursor.round;
    const int n = leaders_.size;
    cursor.peer = ((leaders_.rank + cursor.direction * cursor.round) % n + n) % n;
    cursor.left = (*cursor.range_of)(cursor.peer);
  }
  piece.peer = cursor.peer;
  piece.piece = {cursor.left.begin, std::min(cursor.left.begin + piece_bytes_, cursor.left.end)};
  cursor.left.begin = piece.piece.end;
  return true;
}

/// Fills the free slots.
void Exchange::post(std::byte* array, bool add) {
  for (int s = 0; s < 2 * window; ++s) {
    if (requests_[s] != MPI_REQUEST_NULL) continue;
    const bool receives = s < window;
    Slot& slot = slots_[s];
    if (!next_piece(receives ? in_ : out_, slot)) continue;
    const int bytes = static_cast<int>(slot.piece.end - slot.piece.begin);
    std::byte* place = receives && add ? scratch(s) : array + slot.piece.begin;
    if (receives)
      check_mpi(MPI_Irecv(place, bytes, MPI_BYTE, slot.peer, exchange_tag, leaders_.comm, &requests_[s]),
                "MPI_Irecv");
    else
      check_mpi(MPI_Isend(place, bytes, MPI_BYTE, slot.peer, exchange_tag, leaders_.comm, &requests_[s]),
                "MPI_Isend");
  }
}

void Exchange::finish(int slot, std::byte* array, bool add) {
  if (slot >= window || !add) return;
  const Range& piece = slots_[slot].piece;
  memory_.add(reinterpret_cast<int64_t*>(array + piece.begin),
              reinterpret_cast<const int64_t*>(scratch(slot)), (piece.end - piece.begin) / sizeof(int64_t));
}

/// Takes the receives back, so that nothing is written behind our back, and says who did not come.
void Exchange::give_up(const char* name) {
  std::vector<int> missing;
  for (int s = 0; s < 2 * window; ++s) {
    if (requests_[s] == MPI_REQUEST_NULL) continue;
    missing.push_back(leaders_.world_ranks[slots_[s].peer]);
    if (s < window) MPI_Cancel(&requests_[s]);
    MPI_Request_free(&requests_[s]);
  }
  std::sort(missing.begin(), missing.end());
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  std::string text;
  for (int rank : missing) text += (text.empty() ? "" : ", ") + std::to_string(rank);
  throw DeadlineError(name, leaders_.deadline_s(), "no progress with rank " + text);
}

void Exchange::run(std::byte* array, const RangeOf& outgoing, const RangeOf& incoming, bool add,
                   const char* name, const Poll& poll) {
  if (add) scratch_ = memory_.scratch(window * piece_bytes_);
  in_ = {&incoming, -1, 0, 0, {}};
  out_ = {&outgoing, +1, 0, 0, {}};
  Pace pace;
  for (;;) {
    post(array, add);
    int done = 0, indices[2 * window];
    check_mpi(MPI_Testsome(2 * window, requests_, &done, indices, MPI_STATUSES_IGNORE), name);
    if (done == MPI_UNDEFINED) return;  // nothing is in flight and nothing was left to post
    for (int i = 0; i < done; ++i) finish(indices[i], array, add);
    if (done > 0) {
      pace.restart();
      continue;
    }
    if (poll) poll();
    pace.step();
    if (pace.waited_s() > leaders_.deadline_s()) give_up(name);
  }
}

}  // namespace lepton::comm
