// SPDX-License-Identifier: Apache-2.0
// For tests of who sends what: counts what this rank sends to other nodes on one channel, by standing
// before MPI_Isend as MPI's profiling interface allows. The symbol is weak, so that several files of a test
// program may include this.
#pragma once

#include <mpi.h>

#include <cstdint>

#include "comm/messages.h"

namespace lepton::comm {

struct Sent {
  int64_t messages = 0, bytes = 0;
};

inline int counted_channel = -1;
inline Sent counted;

/// What this rank sends on `channel` in `work`.
template <class Work>
Sent sent_in(Channel channel, Work&& work) {
  counted = {};
  counted_channel = static_cast<int>(channel);
  work();
  counted_channel = -1;
  return counted;
}

}  // namespace lepton::comm

extern "C" [[gnu::weak]] int MPI_Isend(const void* bytes, int count, MPI_Datatype type, int to, int tag,
                                       MPI_Comm comm, MPI_Request* request) {
  using namespace lepton::comm;
  if (tag % channels == counted_channel) {
    ++counted.messages;
    counted.bytes += count;
  }
  return PMPI_Isend(bytes, count, type, to, tag, comm, request);
}
