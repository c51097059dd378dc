// SPDX-License-Identifier: Apache-2.0
// Adding one tensor's gradient to the exact sums (twin of src/ops/quantise.cpp): limited by memory, 20 bytes
// an element. One CTA for each arena block that the tensor touches and one stream for all kernels, so a
// block's checksum has one writer at a time and needs no atomics; what tensors share, magnitudes and blame,
// are maxima of integers and know no order. A thread takes pairs of elements, for then all that a warp asks
// for at once is contiguous: 8 bytes of values, 16 of sums.
#include "kernels/step_math.h"
#include "ops/quantise_math.h"

namespace lepton::cuda {

namespace {

constexpr int batch = 4;  // pairs that a thread has in flight: 96 bytes
constexpr uint32_t infinity_bits = 0x7f800000u;

/// What the elements added so far have shown.
struct Found {
  uint64_t check = 0;
  uint32_t largest = 0;
};

__device__ inline void add_element(float value, double factor, long long& sum, Found& found) {
  const uint64_t q = fixed_point::quantised(value, factor);
  sum = static_cast<long long>(static_cast<uint64_t>(sum) + q);
  found.check += q;
  found.largest = max(found.largest, fixed_point::magnitude_bits(value));
}

__device__ inline void add_pairs(const float2* values, longlong2* sums, int pairs, double factor,
                                 Found& found) {
#pragma unroll 1
  for (int first = threadIdx.x; first < pairs; first += batch * threads) {
    float2 value[batch];
    longlong2 sum[batch];
    // All loads stand before the first store, for the compiler cannot know that the two do not overlap.
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      const int at = first + k * threads;
      if (at >= pairs) continue;
      value[k] = values[at];
      sum[k] = sums[at];
    }
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      const int at = first + k * threads;
      if (at >= pairs) continue;
      add_element(value[k].x, factor, sum[k].x, found);
      add_element(value[k].y, factor, sum[k].y, found);
      sums[at] = sum[k];
    }
  }
}

/// Elements [from, count) of a CTA's part one by one: the odd one at its end, or all of them where the part
/// is not aligned.
__device__ inline void add_single(const float* values, int64_t* sums, int from, int count, double factor,
                                  Found& found) {
  for (int at = from + threadIdx.x; at < count; at += threads) {
    long long sum = sums[at];
    add_element(values[at], factor, sum, found);
    sums[at] = sum;
  }
}

/// Thread 0 gets what all threads of the CTA have found.
__device__ inline Found found_by_all(Found found) {
  __shared__ uint64_t checks[warps];
  __shared__ uint32_t largest[warps];
  for (int step = 16; step > 0; step /= 2) found.check += __shfl_xor_sync(all_lanes, found.check, step);
  found.largest = __reduce_max_sync(all_lanes, found.largest);
  if (threadIdx.x % 32 == 0) {
    checks[threadIdx.x / 32] = found.check;
    largest[threadIdx.x / 32] = found.largest;
  }
  __syncthreads();
  if (threadIdx.x != 0) return found;
  for (int warp = 1; warp < warps; ++warp) {
    found.check += checks[warp];
    found.largest = max(found.largest, largest[warp]);
  }
  return found;
}

/// Maxima only grow, so a value read at any time tells whether the atomic is needed; a large tensor would
/// else send thousands of them to one address.
__device__ inline void raise(uint32_t* maximum, uint32_t value) {
  if (value > *maximum) atomicMax(maximum, value);
}

__global__ void __launch_bounds__(threads) add_block(const ops::QuantiseRun run) {
  const int64_t block = run.begin / block_elements + blockIdx.x;
  const int64_t from = max(run.begin, block * block_elements);
  const int64_t to = min(run.begin + run.count, (block + 1) * block_elements);
  const float* values = run.values + (from - run.begin);
  int64_t* sums = run.sums.elements + from;
  const double factor = fixed_point::power_of_two(run.sums.scales[run.tensor]);
  // Read early: at the end nothing would hide the wait for it.
  const uint64_t before = threadIdx.x == 0 ? static_cast<uint64_t>(run.sums.checksums[block]) : 0;

  const int count = static_cast<int>(to - from);
  const bool aligned = reinterpret_cast<uintptr_t>(values) % sizeof(float2) == 0 &&
                       reinterpret_cast<uintptr_t>(sums) % 16 == 0;
  const int pairs = aligned ? count / 2 : 0;
  Found found;
  add_pairs(reinterpret_cast<const float2*>(values), reinterpret_cast<longlong2*>(sums), pairs, factor,
            found);
  add_single(values, sums, 2 * pairs, count, factor, found);

  found = found_by_all(found);
  if (threadIdx.x != 0) return;
  run.sums.checksums[block] = static_cast<int64_t>(before + found.check);
  if (found.largest >= infinity_bits)
    raise(&run.reports[run.tag->report].blame, ~static_cast<uint32_t>(run.tensor));
  else
    raise(&run.sums.magnitudes[run.tensor], found.largest);
}

}  // namespace

void quantise_add(const Context& context, const ops::QuantiseRun& run) {
  if (run.count == 0) return;
  const int64_t first = run.begin / block_elements, last = (run.begin + run.count - 1) / block_elements;
  add_block<<<static_cast<unsigned>(last - first + 1), threads, 0, context.stream>>>(run);
  check_launch("quantise_add");
}

}  // namespace lepton::cuda
