// SPDX-License-Identifier: Apache-2.0
// The loss of a unit (twin of src/ops/loss.cpp): a thread for each term (a position; a whole sample for
// dice), because the gradient's bits want sums in the order of the outputs; then one CTA adds the samples'
// losses up in an order that depends on their number alone. The gradient has the host's bits, and so do all
// counts; sums of losses differ from the host's in their order.
#include "kernels/step_math.h"
#include "ops/loss_math.h"

namespace lepton::cuda {

namespace {

constexpr int sample_threads = 32;  // one warp: samples are few, and each has a lot to do

__device__ inline ops::LossTerm term_of(const ops::LossRun& run, int64_t i) {
  const int64_t position = i * run.term_positions, first = run.scores_at(position);
  return {run.scores + first,
          run.classes ? run.classes + position : nullptr,
          run.classes ? nullptr : run.values + position * run.outputs,
          run.gradient ? run.gradient + first : nullptr,
          run.class_weights,
          run.term_positions};
}

/// `dice`: the sums of its classes lie in shared memory.
template <bool dice>
__global__ void __launch_bounds__(sample_threads) loss_of_terms(const __grid_constant__ ops::LossRun run) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * sample_threads + threadIdx.x;
  if (i >= run.samples / run.term_positions) return;
  ops::LossTerm term = term_of(run, i);
  if constexpr (dice) {
    __shared__ double scratch[sample_threads * 2 * ops::dice_classes_max];
    term.scratch = scratch + threadIdx.x * 2 * ops::dice_classes_max;
  }
  ops::UnitLoss loss;
  ops::add_term(run.spec, run.outputs, term, loss);
  run.per_sample[i] = loss;
  if (run.part.row > 0 && term.gradient)
    for (int64_t k = 0; k < run.term_positions * run.outputs; ++k) term.gradient[k] *= run.part.factor;
  if (!run.counts) return;
  // Unsigned addition is that of int64_t, for which there is no atomic.
  auto* counts = reinterpret_cast<unsigned long long*>(run.counts);
  for (int64_t part = 0; part < ops::tally_parts(run.spec, run.outputs, term); ++part) {
    const ops::TallyPlaces places = ops::tally_places(run.spec, run.tally, run.outputs, term, part);
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (places.place[k] >= 0) atomicAdd(&counts[places.place[k]], 1ull);
  }
}

__device__ inline void add_loss(ops::UnitLoss& sum, const ops::UnitLoss& loss) {
  sum.loss += loss.loss;
  sum.weight += loss.weight;
  sum.absolute_error += loss.absolute_error;
  sum.squared_error += loss.squared_error;
  sum.target += loss.target;
  sum.target_squared += loss.target_squared;
  sum.counted += loss.counted;
  sum.correct += loss.correct;
  sum.correct_top += loss.correct_top;
}

/// What the thread `distance` lanes on has.
__device__ inline ops::UnitLoss loss_from(const ops::UnitLoss& own, int distance) {
  const auto from = [distance](auto value) { return __shfl_down_sync(all_lanes, value, distance); };
  return {from(own.loss),          from(own.weight),  from(own.absolute_error),
          from(own.squared_error), from(own.target),  from(own.target_squared),
          from(own.counted),       from(own.correct), from(own.correct_top)};
}

/// One CTA: every thread the terms that are equal modulo `threads`, then pairwise within warps, then warps
/// in turn.
__global__ void __launch_bounds__(threads) sum_of_losses(const __grid_constant__ ops::LossRun run) {
  __shared__ alignas(ops::UnitLoss) unsigned char room[warps * sizeof(ops::UnitLoss)];
  auto* of_warps = reinterpret_cast<ops::UnitLoss*>(room);
  ops::UnitLoss sum;
  for (int64_t i = threadIdx.x; i < run.samples / run.term_positions; i += threads)
    add_loss(sum, run.per_sample[i]);
  for (int distance = 16; distance > 0; distance /= 2) add_loss(sum, loss_from(sum, distance));
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < warps; ++warp) add_loss(sum, of_warps[warp]);
  ops::UnitReport& report = run.reports[run.tag->report];
  if (run.part.row > 0)
    run.part.sums[run.tag->report * run.part.losses + run.part.number] = sum;
  else
    report.loss = sum;
  report.unit_plus_1 = run.tag->unit + 1;
}

}  // namespace

void loss(const Context& context, const ops::LossRun& run) {
  const int64_t terms = run.samples / run.term_positions;
  if (terms > 0) {
    const auto kernel =
        run.spec.kind == ops::LossKind::softmax_dice ? loss_of_terms<true> : loss_of_terms<false>;
    kernel<<<blocks_for(terms, sample_threads), sample_threads, 0, context.stream>>>(run);
    check_launch("loss_of_terms");
  }
  sum_of_losses<<<1, threads, 0, context.stream>>>(run);
  check_launch("sum_of_losses");
}

}  // namespace lepton::cuda
