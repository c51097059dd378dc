// SPDX-License-Identifier: Apache-2.0
// The three collectives of a step's end. Sums and parameters go by the pairwise exchange (exchange.h), the
// lanes by one MPI_Iallreduce of a single element of a derived type with an operation of our own: the message
// begins with the number of sums and the number of all lanes, which tells the operation what to add and what
// to compare. Integer sums and maxima: whatever order MPI chooses gives the same bits.
#include "comm/reduction.h"

#include <mpi.h>

#include <algorithm>
#include <climits>

#include "comm/exchange.h"
#include "comm/group.h"

namespace lepton::comm {

static constexpr size_t head_words = 2;

static void merge_lanes(void* in, void* inout, int* count, MPI_Datatype*) {
  const auto* from = static_cast<const int64_t*>(in);
  auto* to = static_cast<int64_t*>(inout);
  for (int element = 0; element < *count; ++element) {
    const int64_t sums = from[0], lanes = from[1];
    from += head_words;
    to += head_words;
    for (int64_t i = 0; i < sums; ++i)
      to[i] = static_cast<int64_t>(static_cast<uint64_t>(to[i]) + static_cast<uint64_t>(from[i]));
    for (int64_t i = sums; i < lanes; ++i) to[i] = std::max(to[i], from[i]);
    from += lanes;
    to += lanes;
  }
}

struct LeaderReduction::State {
  State(const World& the_world, size_t piece_bytes, ExchangeMemory* memory)
      : world(the_world),
        leaders(the_world.handles().leaders),
        exchange(leaders, piece_bytes, memory ? *memory : host) {
    check_mpi(MPI_Op_create(merge_lanes, 1, &merge), "MPI_Op_create");
  }
  ~State() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized) return;
    MPI_Op_free(&merge);
    if (message_type != MPI_DATATYPE_NULL) MPI_Type_free(&message_type);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void resize(size_t lanes) {
    if (incoming.size() == lanes + head_words) return;
    CHECK(lanes + head_words <= INT_MAX, "too many lanes");
    outgoing.assign(lanes + head_words, 0);
    incoming.assign(lanes + head_words, 0);
    if (message_type != MPI_DATATYPE_NULL) MPI_Type_free(&message_type);
    check_mpi(MPI_Type_contiguous(static_cast<int>(lanes + head_words), MPI_INT64_T, &message_type),
              "MPI_Type_contiguous");
    check_mpi(MPI_Type_commit(&message_type), "MPI_Type_commit");
  }

  const World& world;
  Group& leaders;
  HostMemory host;
  Exchange exchange;
  MPI_Op merge = MPI_OP_NULL;
  MPI_Datatype message_type = MPI_DATATYPE_NULL;
  std::vector<int64_t> outgoing, incoming;
};

LeaderReduction::LeaderReduction(const World& world, size_t piece_bytes, ExchangeMemory* memory)
    : state_(std::make_unique<State>(world, piece_bytes, memory)) {}

LeaderReduction::~LeaderReduction() = default;

static Exchange::Range part(std::span<const int64_t> offsets, int node, size_t element_bytes) {
  return {static_cast<size_t>(offsets[node]) * element_bytes,
          static_cast<size_t>(offsets[node + 1]) * element_bytes};
}

static void check_offsets(const World& world, std::span<const int64_t> offsets, size_t elements) {
  CHECK(world.leads(), "only leaders reduce");
  CHECK(offsets.size() == static_cast<size_t>(world.nodes()) + 1, "one offset per node and the end");
  CHECK(std::is_sorted(offsets.begin(), offsets.end()) && offsets.front() >= 0, "offsets ascend");
  CHECK(static_cast<size_t>(offsets.back()) <= elements, "offsets lie within the array");
}

void LeaderReduction::reduce_scatter(std::span<int64_t> sums, std::span<const int64_t> offsets,
                                     const Poll& poll) {
  const World& world = state_->world;
  check_offsets(world, offsets, sums.size());
  if (world.nodes() == 1) return;
  const Exchange::RangeOf theirs = [&](int node) { return part(offsets, node, sizeof(int64_t)); };
  const Exchange::Range own = part(offsets, world.node(), sizeof(int64_t));
  const Exchange::RangeOf mine = [&own](int) { return own; };  // two references at most: more would allocate
  state_->exchange.run(reinterpret_cast<std::byte*>(sums.data()), theirs, mine, true, "sum between nodes",
                       poll);
}

void LeaderReduction::all_reduce(std::span<int64_t> lanes, size_t sum_count, const Poll& poll) {
  CHECK(state_->world.leads(), "only leaders reduce");
  CHECK(sum_count <= lanes.size(), "more sums than lanes");
  if (state_->world.nodes() == 1) return;
  state_->resize(lanes.size());
  state_->outgoing[0] = static_cast<int64_t>(sum_count);
  state_->outgoing[1] = static_cast<int64_t>(lanes.size());
  std::copy(lanes.begin(), lanes.end(), state_->outgoing.begin() + head_words);
  MPI_Request request;
  Group& leaders = state_->leaders;
  leaders.begin();
  check_mpi(MPI_Iallreduce(state_->outgoing.data(), state_->incoming.data(), 1, state_->message_type,
                           state_->merge, leaders.comm, &request),
            "MPI_Iallreduce");
  leaders.wait(request, "outcome of a step between nodes", &poll);
  std::copy(state_->incoming.begin() + head_words, state_->incoming.end(), lanes.begin());
}

void LeaderReduction::all_gather(std::span<std::byte> values, std::span<const int64_t> offsets,
                                 size_t element_bytes, const Poll& poll) {
  const World& world = state_->world;
  CHECK(element_bytes > 0, "elements have bytes");
  check_offsets(world, offsets, values.size() / element_bytes);
  if (world.nodes() == 1) return;
  const Exchange::RangeOf theirs = [&](int node) { return part(offsets, node, element_bytes); };
  const Exchange::Range own = part(offsets, world.node(), element_bytes);
  const Exchange::RangeOf mine = [&own](int) { return own; };
  state_->exchange.run(values.data(), mine, theirs, false, "gather of parameters between nodes", poll);
}

}  // namespace lepton::comm
