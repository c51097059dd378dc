// SPDX-License-Identifier: Apache-2.0
// Sums of another node added to this one's (ops::StepMath::add_sums), two words per thread and access where
// the pointers allow. Bound by memory alone.
#include "kernels/pack.h"
#include "kernels/step_math.h"

namespace lepton::cuda {

namespace {

__global__ void __launch_bounds__(threads)
    add_words(int64_t pairs, int64_t count, int64_t* sums, const int64_t* more) {
  const int64_t first = int64_t{blockIdx.x} * threads + threadIdx.x, stride = int64_t{gridDim.x} * threads;
  auto* to = reinterpret_cast<ulonglong2*>(sums);
  const auto* from = reinterpret_cast<const ulonglong2*>(more);
  for (int64_t i = first; i < pairs; i += stride) {
    const ulonglong2 a = to[i], b = from[i];
    to[i] = {a.x + b.x, a.y + b.y};
  }
  auto* words = reinterpret_cast<unsigned long long*>(sums);
  for (int64_t i = 2 * pairs + first; i < count; i += stride)
    words[i] += static_cast<unsigned long long>(more[i]);
}

}  // namespace

void add_sums(const Context& context, int64_t* sums, const int64_t* more, int64_t count) {
  if (count == 0) return;
  const int64_t pairs = is_aligned(sums) && is_aligned(more) ? count / 2 : 0;
  add_words<<<resident_blocks(context, pairs ? pairs : count, threads), threads, 0, context.stream>>>(
      pairs, count, sums, more);
  check_launch("add_sums");
}

}  // namespace lepton::cuda
