// SPDX-License-Identifier: Apache-2.0
// The loss of a unit (twin of src/ops/loss.cpp): a thread for each sample, because the gradient's bits want
// sums in the order of the outputs; then one CTA adds the samples' losses up in an order that depends on
// their number alone. The gradient has the host's bits, and so do all counts; sums of losses differ from the
// host's in their order.
#include "kernels/step_math.h"
#include "ops/loss_math.h"

namespace lepton::cuda {

namespace {

constexpr int sample_threads = 32;  // one warp: samples are few, and each has a lot to do
constexpr int threads = 256, warps = threads / 32;
constexpr unsigned all_lanes = 0xffffffffu;

__device__ inline ops::LossSample sample_of(const ops::LossRun& run, int64_t i) {
  const int64_t first = i * run.outputs;
  return {run.scores + first, run.classes ? run.classes[i] : -1, run.classes ? nullptr : run.values + first,
          run.gradient ? run.gradient + first : nullptr};
}

__global__ void __launch_bounds__(sample_threads) loss_of_samples(const __grid_constant__ ops::LossRun run) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * sample_threads + threadIdx.x;
  if (i >= run.samples) return;
  const ops::LossSample sample = sample_of(run, i);
  ops::UnitLoss loss;
  ops::add_sample(run.spec, run.outputs, sample, loss);
  run.per_sample[i] = loss;
  if (!run.confusion) return;
  const int64_t classes = run.outputs > 1 ? run.outputs : 2;
  // Unsigned addition is that of int64_t, for which there is no atomic.
  auto* counts = reinterpret_cast<unsigned long long*>(run.confusion);
  atomicAdd(&counts[ops::confusion_place(run.outputs, classes, sample)], 1ull);
}

__device__ inline void add_loss(ops::UnitLoss& sum, const ops::UnitLoss& loss) {
  sum.loss += loss.loss;
  sum.absolute_error += loss.absolute_error;
  sum.squared_error += loss.squared_error;
  sum.target += loss.target;
  sum.target_squared += loss.target_squared;
  sum.correct += loss.correct;
  sum.correct_top5 += loss.correct_top5;
}

/// What the thread `distance` lanes on has.
__device__ inline ops::UnitLoss loss_from(const ops::UnitLoss& own, int distance) {
  const auto from = [distance](auto value) { return __shfl_down_sync(all_lanes, value, distance); };
  return {from(own.loss),           from(own.absolute_error), from(own.squared_error), from(own.target),
          from(own.target_squared), from(own.correct),        from(own.correct_top5)};
}

/// One CTA: every thread the samples that are equal modulo `threads`, then pairwise within warps, then warps
/// in turn.
__global__ void __launch_bounds__(threads) sum_of_losses(const __grid_constant__ ops::LossRun run) {
  __shared__ alignas(ops::UnitLoss) unsigned char room[warps * sizeof(ops::UnitLoss)];
  auto* of_warps = reinterpret_cast<ops::UnitLoss*>(room);
  ops::UnitLoss sum;
  for (int64_t i = threadIdx.x; i < run.samples; i += threads) add_loss(sum, run.per_sample[i]);
  for (int distance = 16; distance > 0; distance /= 2) add_loss(sum, loss_from(sum, distance));
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < warps; ++warp) add_loss(sum, of_warps[warp]);
  ops::UnitReport& report = run.reports[run.tag->report];
  report.loss = sum;
  report.unit_plus_1 = run.tag->unit + 1;
}

}  // namespace

void loss(const Context& context, const ops::LossRun& run) {
  if (run.samples > 0) {
    loss_of_samples<<<blocks_for(run.samples, sample_threads), sample_threads, 0, context.stream>>>(run);
    check_launch("loss_of_samples");
  }
  sum_of_losses<<<1, threads, 0, context.stream>>>(run);
  check_launch("sum_of_losses");
}

}  // namespace lepton::cuda
