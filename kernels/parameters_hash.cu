// SPDX-License-Identifier: Apache-2.0
// The hashes of arena blocks (twin of ops::parameters_block_hash), one warp for each block. Within a round of
// 16 stripes XXH3 only adds, so the 8 lanes of a stripe are taken by 8 neighbouring threads, and four stripes
// are read at once: 256 contiguous bytes. Between rounds the four shares of each lane are added up and
// scrambled by all of them alike. Limited by memory: the next round is on its way while one is mixed.
#include "kernels/step_math.h"
#include "ops/parameters_hash_math.h"

namespace lepton::cuda {

namespace {

namespace xxh3 = ops::xxh3;

constexpr int hash_threads = 128,
              warp_threads = 32;  // small CTAs: even small arenas reach many multiprocessors
constexpr int shares = warp_threads / xxh3::lanes;         // threads of a lane
constexpr int own_stripes = xxh3::round_stripes / shares;  // of a thread in a round
__constant__ xxh3::Table device_table = xxh3::published;

/// What a thread is within its block's warp.
struct LanePlace {
  int lane, share;
  int stripes;            ///< of the block
  const uint64_t* words;  ///< of the block
};

/// A word of each of a thread's stripes of a round.
struct Round {
  uint64_t words[own_stripes];
};

__device__ inline int stripe_of(const LanePlace& place, int round, int k) {
  return round * xxh3::round_stripes + k * shares + place.share;
}

__device__ inline Round load_round(const LanePlace& place, int round) {
  Round loaded;
#pragma unroll
  for (int k = 0; k < own_stripes; ++k) {
    const int stripe = stripe_of(place, round, k);
    loaded.words[k] = stripe < place.stripes ? place.words[stripe * xxh3::lanes + place.lane] : 0;
  }
  return loaded;
}

/// What the round adds to the thread's lane: the same for all threads of the lane.
__device__ inline uint64_t sum_of(const LanePlace& place, int round, const Round& own, const Round& keys,
                                  uint64_t last_key) {
  xxh3::Addends addends;
#pragma unroll
  for (int k = 0; k < own_stripes; ++k) {
    const int stripe = stripe_of(place, round, k);
    if (stripe >= place.stripes) continue;
    xxh3::add_word(addends, own.words[k], stripe + 1 == place.stripes ? last_key : keys.words[k]);
  }
  uint64_t sum = addends.products + __shfl_xor_sync(all_lanes, addends.words, 1);
  for (int step = xxh3::lanes; step < warp_threads; step *= 2) sum += __shfl_xor_sync(all_lanes, sum, step);
  return sum;
}

/// Long input; every thread gets the hash.
__device__ inline uint64_t long_hash(const LanePlace& place) {
  const xxh3::Table& table = device_table;
  Round keys;
#pragma unroll
  for (int k = 0; k < own_stripes; ++k) keys.words[k] = table.secret[stripe_of(place, 0, k) + place.lane];
  const uint64_t last_key = xxh3::stripe_key(table, place.stripes - 1, place.stripes, place.lane);
  const int rounds = (place.stripes + xxh3::round_stripes - 1) / xxh3::round_stripes;
  uint64_t accumulator = table.initial[place.lane];
  Round next = load_round(place, 0);
  for (int round = 0; round < rounds; ++round) {
    const Round own = next;
    next = load_round(place, round + 1);
    accumulator += sum_of(place, round, own, keys, last_key);
    if (round + 1 < rounds) accumulator = xxh3::scrambled(table, accumulator, place.lane);
  }
  // Odd lanes compute what their even neighbour does.
  const uint64_t other = __shfl_xor_sync(all_lanes, accumulator, 1);
  const bool odd = place.lane % 2 == 1;
  uint64_t pairs =
      xxh3::merged_pair(table, odd ? other : accumulator, odd ? accumulator : other, place.lane - odd);
  for (int step = 2; step < xxh3::lanes; step *= 2) pairs += __shfl_xor_sync(all_lanes, pairs, step);
  return xxh3::finished(pairs, place.stripes * xxh3::stripe_bytes);
}

__global__ void __launch_bounds__(hash_threads)
    hash_block(const float* arena, int64_t elements, int64_t first_block, int64_t end_block,
               uint64_t* hashes) {
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * hash_threads + threadIdx.x) / warp_threads;
  const int64_t block = first_block + warp;
  if (block >= end_block) return;
  const int thread = static_cast<int>(threadIdx.x) % warp_threads;
  const int64_t begin = block * block_elements;
  const int64_t bytes = min(block_elements, elements - begin) * static_cast<int64_t>(sizeof(float));
  const LanePlace place = {thread % xxh3::lanes, thread / xxh3::lanes,
                           static_cast<int>(bytes) / xxh3::stripe_bytes,
                           reinterpret_cast<const uint64_t*>(arena + begin)};
  const uint64_t hash = bytes <= xxh3::short_bytes_max
                            ? xxh3::short_hash(device_table, place.words, static_cast<int>(bytes))
                            : long_hash(place);
  if (thread == 0) hashes[block] = hash;
}

}  // namespace

void hash_blocks(const Context& context, const float* arena, int64_t elements, int64_t first_block,
                 int64_t end_block, uint64_t* hashes) {
  if (first_block >= end_block) return;
  constexpr int64_t stripe_elements = xxh3::stripe_bytes / sizeof(float);
  CHECK(elements % stripe_elements == 0, "an arena is padded to whole stripes");
  const unsigned ctas = blocks_for((end_block - first_block) * warp_threads, hash_threads);
  hash_block<<<ctas, hash_threads, 0, context.stream>>>(arena, elements, first_block, end_block, hashes);
  check_launch("hash_blocks");
}

}  // namespace lepton::cuda
