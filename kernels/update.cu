// SPDX-License-Identifier: Apache-2.0
// The passes over a slice's blocks at a step's end (twins of ops::checksum, ops::sum_of_squares and
// ops::update_segment): verify and update, one CTA for each block, limited by memory. Tensors begin at
// multiples of 16 elements, so every group of 16 belongs to at most one of the block's segments: a table says
// to which, and then all threads work on the block from end to end however many tensors lie in it. Elements
// between tensors belong to none; they count in checksums and are never written.
#include <string>

#include "kernels/step_math.h"
#include "ops/quantise_math.h"
#include "ops/update_math.h"

namespace lepton::cuda {

namespace {

constexpr int elements_max = static_cast<int>(block_elements);
constexpr int group_elements = 16, groups = elements_max / group_elements;
static_assert(groups == threads, "one thread for each group, and so for each segment");

/// A segment and what of its tensor matters here. Places are counted from the block's first element.
struct Part {
  int begin, end;
  double factor;  ///< of a rounded sum: 2^-scale
  float l2;
  bool statistic, decays, frozen;
};

struct Parts {
  Part part[groups];
  int count;
  short of_group[groups];  ///< -1: none
};

/// The last part that begins at or before `place` if it reaches there, else -1.
__device__ inline int part_at(const Parts& parts, int place) {
  int low = 0, high = parts.count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (parts.part[middle].begin <= place)
      low = middle + 1;
    else
      high = middle;
  }
  return low > 0 && place < parts.part[low - 1].end ? low - 1 : -1;
}

/// By all threads of the CTA, which may use `parts` afterwards.
__device__ void read_parts(const ops::BlockTable& table, const int32_t* scales, int64_t block, Parts& parts) {
  const int64_t first = table.segment_begin[block];
  const int count = static_cast<int>(table.segment_begin[block + 1] - first);
  const int own = static_cast<int>(threadIdx.x);
  if (own == 0) parts.count = count;
  if (own < count) {
    const Segment segment = table.segments[first + own];
    const ops::TensorRule rule = table.rules[segment.tensor];
    const int64_t begin = block * block_elements;
    parts.part[own] = {static_cast<int>(segment.begin - begin),
                       static_cast<int>(segment.end - begin),
                       fixed_point::power_of_two(-scales[segment.tensor]),
                       rule.decays ? rule.l2 : 0.0f,
                       rule.statistic,
                       rule.decays,
                       rule.frozen};
  }
  __syncthreads();
  parts.of_group[own] = static_cast<short>(part_at(parts, own * group_elements));
  __syncthreads();
}

// ---- verify

/// Thread 0 gets the sum over the CTA.
__device__ inline uint64_t sum_of_all(uint64_t own) {
  __shared__ uint64_t sums[warps];
  for (int step = 16; step > 0; step /= 2) own += __shfl_xor_sync(all_lanes, own, step);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = own;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int warp = 1; warp < warps; ++warp) own += sums[warp];
  return own;
}

/// The sum of a thread's pairs of sums: those that threads hold at once are contiguous, and each has four in
/// flight. visit(place of the pair, its sums).
template <class Visit>
__device__ inline uint64_t sum_pairs(const longlong2* from, int pairs, const Visit& visit) {
  constexpr int batch = 4;
  uint64_t sum = 0;
#pragma unroll 1
  for (int first = static_cast<int>(threadIdx.x); first < pairs; first += batch * threads) {
    longlong2 pair[batch];
#pragma unroll
    for (int k = 0; k < batch; ++k)
      pair[k] = first + k * threads < pairs ? from[first + k * threads] : longlong2{0, 0};
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      sum += static_cast<uint64_t>(pair[k].x) + static_cast<uint64_t>(pair[k].y);
      if (first + k * threads < pairs) visit(first + k * threads, pair[k]);
    }
  }
  return sum;
}

/// The sum of squares of one part in the order of ops::sum_of_squares: 16 lanes, each a thread of a half
/// warp, folded pairwise. Lane 0 has it.
__device__ inline double sum_of_squares(const float* gradient, const Part& part) {
  const int lane = static_cast<int>(threadIdx.x) % 16;
  const unsigned half_warp = 0xffffu << (threadIdx.x & 16);
  double sum = 0;
#pragma unroll 8
  for (int i = part.begin + lane; i < part.end; i += 16)
    sum += static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]);
  for (int half = 8; half > 0; half /= 2) sum += __shfl_down_sync(half_warp, sum, half, 16);
  return sum;
}

/// What is found of a block by thread 0, as ops::BlockCheck has it.
struct Verified {
  uint64_t sum;
  double norm;
};

/// Parts are independent of each other, so each half warp takes every 16th; only adding them up waits for
/// all.
__device__ inline Verified sum_and_norm(const ops::VerifyRun& run, int64_t block, const longlong2* from,
                                        int pairs) {
  __shared__ Parts parts;
  __shared__ alignas(16) float gradient[elements_max];
  __shared__ double norms[groups];
  read_parts(run.table, run.sums.scales, block, parts);
  const uint64_t own = sum_pairs(from, pairs, [&](int at, const longlong2& pair) {
    const int p = parts.of_group[2 * at / group_elements];
    if (p < 0) return;
    const double factor = parts.part[p].factor;
    reinterpret_cast<float2*>(gradient)[at] = {fixed_point::dequantised(pair.x, factor),
                                               fixed_point::dequantised(pair.y, factor)};
  });
  Verified found = {sum_of_all(own), 0};
  __syncthreads();
  for (int p = static_cast<int>(threadIdx.x) / 16; p < parts.count; p += threads / 16) {
    if (parts.part[p].statistic) continue;
    const double norm = sum_of_squares(gradient, parts.part[p]);
    if (threadIdx.x % 16 == 0) norms[p] = norm;
  }
  __syncthreads();
  if (threadIdx.x == 0)
    for (int p = 0; p < parts.count; ++p)
      if (!parts.part[p].statistic) found.norm += norms[p];
  return found;
}

// With norms much of a CTA's time is one chain of additions, so eight of them share a multiprocessor.
template <bool norms>
__global__ void __launch_bounds__(threads, norms ? 6 : 1)
    verify_block(const __grid_constant__ ops::VerifyRun run) {
  const int64_t block = run.first_block + blockIdx.x, begin = block * block_elements;
  const int pairs = static_cast<int>(min(block_elements, run.table.elements - begin)) / 2;
  const auto* from = reinterpret_cast<const longlong2*>(run.sums.elements + begin);
  Verified found = {};
  if constexpr (norms)
    found = sum_and_norm(run, block, from, pairs);
  else
    found.sum = sum_of_all(sum_pairs(from, pairs, [](int, const longlong2&) {}));
  if (threadIdx.x != 0) return;
  ops::BlockCheck& check = run.checks[blockIdx.x];
  check.stated = run.sums.checksums[block];
  check.found = static_cast<int64_t>(found.sum);
  if constexpr (norms) check.norm = found.norm;
}

// ---- update

/// Four neighbours, of which the last may lie beyond their segment's end: those are neither read nor written.
struct Four {
  float x[4];
};

__device__ inline Four load_slots(const float* from, int count) {
  Four four = {};
  if (count == 4) {
    const float4 all = *reinterpret_cast<const float4*>(from);
    return {{all.x, all.y, all.z, all.w}};
  }
#pragma unroll
  for (int i = 0; i < 3; ++i)
    if (i < count) four.x[i] = from[i];
  return four;
}

__device__ inline void store_slots(float* to, const Four& four, int count) {
  if (count == 4) {
    *reinterpret_cast<float4*>(to) = {four.x[0], four.x[1], four.x[2], four.x[3]};
    return;
  }
#pragma unroll
  for (int i = 0; i < 3; ++i)
    if (i < count) to[i] = four.x[i];
}

/// Rounded sums. Those beyond the segment's end are padding of the arena: there to be read, and zero.
__device__ inline Four load_rounded(const int64_t* from, double factor) {
  const longlong2 low = reinterpret_cast<const longlong2*>(from)[0];
  const longlong2 high = reinterpret_cast<const longlong2*>(from)[1];
  return {{fixed_point::dequantised(low.x, factor), fixed_point::dequantised(low.y, factor),
           fixed_point::dequantised(high.x, factor), fixed_point::dequantised(high.y, factor)}};
}

struct Element {
  float w, first, second;  ///< parameter and moments, as many as the rule has
};

/// ops::update_segment for one element.
template <ops::UpdateKind kind>
__device__ inline Element updated(const ops::UpdateRule& rule, const Part& part, float sum, Element old) {
  if (part.frozen) return old;
  if (part.statistic) {
    const float momentum = rule.statistics_momentum;
    return {ops::statistic_element(sum, rule.samples, momentum, 1.0f - momentum, old.w), 0, 0};
  }
  const float g = ops::normalised(sum / rule.weight, rule.clip_factor, part.l2, old.w, rule.clip_value);
  if constexpr (kind == ops::UpdateKind::adam) {
    const ops::AdamStep step = ops::step_for(rule.adam, part.decays);
    const ops::AdamElement to = ops::adam_element(step, g, old.w, old.first, old.second);
    return {to.w, to.m, to.v};
  } else {
    const ops::SgdStep step = ops::step_for(rule.sgd, part.decays);
    if constexpr (kind == ops::UpdateKind::sgd_plain) return {ops::sgd_plain_element(step, g, old.w), 0, 0};
    const ops::SgdElement to = ops::sgd_element(step, g, old.w, old.first);
    return {to.w, to.v, 0};
  }
}

constexpr int moments_of(ops::UpdateKind kind) {
  return kind == ops::UpdateKind::adam ? 2 : kind == ops::UpdateKind::sgd ? 1 : 0;
}

/// Elements [at, at + count) of the arena, count <= 4; `own`: the same counted from the slice's begin.
template <ops::UpdateKind kind>
__device__ inline void update_four(const ops::UpdateRun& run, const Part& part, int64_t at, int64_t own,
                                   int count) {
  constexpr int moments = moments_of(kind);
  const Four sums = load_rounded(run.sums.elements + at, part.factor);
  Four w = load_slots(run.parameters + at, count), first = {}, second = {};
  if constexpr (moments > 0) first = load_slots(run.moments[0] + own, count);
  if constexpr (moments > 1) second = load_slots(run.moments[1] + own, count);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const Element to = updated<kind>(run.rule, part, sums.x[i], {w.x[i], first.x[i], second.x[i]});
    w.x[i] = to.w;
    first.x[i] = to.first;
    second.x[i] = to.second;
  }
  store_slots(run.parameters_new + at, w, count);
  if constexpr (moments > 0) store_slots(run.moments_new[0] + own, first, count);
  if constexpr (moments > 1) store_slots(run.moments_new[1] + own, second, count);
}

template <ops::UpdateKind kind>
__global__ void __launch_bounds__(threads) update_block(const __grid_constant__ ops::UpdateRun run) {
  __shared__ Parts parts;
  const int64_t own = static_cast<int64_t>(blockIdx.x) * block_elements;
  const int64_t begin = run.first_block * block_elements + own;
  read_parts(run.table, run.sums.scales, run.first_block + blockIdx.x, parts);
#pragma unroll 1
  for (int place = 4 * static_cast<int>(threadIdx.x); place < elements_max; place += 4 * threads) {
    const int p = parts.of_group[place / group_elements];
    if (p < 0) continue;
    const int count = min(parts.part[p].end - place, 4);
    if (count > 0) update_four<kind>(run, parts.part[p], begin + place, own + place, count);
  }
}

void check_aligned(const void* memory, const char* what) {
  CHECK(reinterpret_cast<uintptr_t>(memory) % 16 == 0, std::string(what) + " are not aligned to 16 bytes");
}

template <ops::UpdateKind kind>
void launch_update(const Context& context, const ops::UpdateRun& run) {
  for (int m = 0; m < 2; ++m) {
    const bool needed = m < moments_of(kind);
    CHECK((run.moments[m] != nullptr) == needed && (run.moments_new[m] != nullptr) == needed,
          "moments do not match the update rule");
    check_aligned(run.moments[m], "moments");
    check_aligned(run.moments_new[m], "new moments");
  }
  const auto blocks = static_cast<unsigned>(run.end_block - run.first_block);
  update_block<kind><<<blocks, threads, 0, context.stream>>>(run);
  check_launch("update");
}

}  // namespace

void verify(const Context& context, const ops::VerifyRun& run) {
  if (run.first_block >= run.end_block) return;
  check_aligned(run.sums.elements, "sums");
  CHECK(run.table.elements % group_elements == 0, "an arena is padded to whole groups");
  const auto blocks = static_cast<unsigned>(run.end_block - run.first_block);
  if (run.norms)
    verify_block<true><<<blocks, threads, 0, context.stream>>>(run);
  else
    verify_block<false><<<blocks, threads, 0, context.stream>>>(run);
  check_launch("verify");
}

void update(const Context& context, const ops::UpdateRun& run) {
  if (run.first_block >= run.end_block) return;
  check_aligned(run.sums.elements, "sums");
  check_aligned(run.parameters, "parameters");
  check_aligned(run.parameters_new, "new parameters");
  switch (run.rule.kind) {
    case ops::UpdateKind::sgd_plain:
      return launch_update<ops::UpdateKind::sgd_plain>(context, run);
    case ops::UpdateKind::sgd:
      return launch_update<ops::UpdateKind::sgd>(context, run);
    case ops::UpdateKind::adam:
      return launch_update<ops::UpdateKind::adam>(context, run);
  }
}

}  // namespace lepton::cuda
