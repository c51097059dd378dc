// SPDX-License-Identifier: Apache-2.0
// For tests of who sends what: counts the messages of rows that this rank sends to other nodes while
// `counting_messages`, by standing before MPI_Isend as MPI's profiling interface allows. To be included in
// one file of a test program.
#pragma once

#include <mpi.h>

#include <cstdint>

#include "comm/messages.h"

namespace lepton::comm {

inline bool counting_messages = false;
inline int64_t row_messages = 0;

/// How many messages on Channel::rows this rank sends in `work`.
template <class Work>
int64_t row_messages_of(Work&& work) {
  row_messages = 0;
  counting_messages = true;
  work();
  counting_messages = false;
  return row_messages;
}

}  // namespace lepton::comm

extern "C" int MPI_Isend(const void* bytes, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
                         MPI_Request* request) {
  using namespace lepton::comm;
  if (counting_messages && tag % channels == static_cast<int>(Channel::rows)) ++row_messages;
  return PMPI_Isend(bytes, count, type, to, tag, comm, request);
}
