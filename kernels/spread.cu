// SPDX-License-Identifier: Apache-2.0
// Expand and the Reduce operators, the twin of src/ops/spread.cpp: a thread for each element of the large
// array, or a block for each of the small one, which sums in double or seeks the largest; of equal ones the
// first in memory. Created by make_expand and make_reduce, for kernels/engine.cu.
#include "ops/spread.h"

#include "kernels/broadcast.h"
#include "kernels/operators.h"

namespace lepton::cuda {

namespace {

__global__ void __launch_bounds__(threads)
    spread_kernel(ops::Broadcast b, float factor, const float* small, float* large) {
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < b.count;
       i += int64_t{gridDim.x} * threads)
    large[i] = small[place_of(b, 0, i)] * factor;
}

__global__ void __launch_bounds__(threads)
    sums_kernel(ops::Broadcast b, float factor, const float* large, float* small) {
  for (int64_t e = blockIdx.x; e < b.own[0]; e += gridDim.x) {
    const Origin origin = origin_of(b, 0, e);
    double sum = 0;
    for (int64_t j = threadIdx.x; j < b.count / b.own[0]; j += threads)
      sum += static_cast<double>(large[origin.large + share_of(b, 0, j)]);
    sum = sum_of_block<threads>(sum);
    if (threadIdx.x == 0) small[origin.own] = static_cast<float>(sum) * factor;
  }
}

/// Is (value, place) to be taken instead of (best, best_place)? Larger, or as large and before it; a NaN is
/// larger than all. No place is -1.
__device__ bool is_better(float value, int64_t place, float best, int64_t best_place) {
  if (place < 0 || best_place < 0) return place >= 0;
  if ((value != value) != (best != best)) return value != value;
  return value > best || (!(value < best) && place < best_place);
}

__global__ void __launch_bounds__(threads)
    largest_kernel(ops::Broadcast b, const float* large, float* small, int64_t* places) {
  __shared__ float values[threads];
  __shared__ int64_t places_of[threads];
  const int me = threadIdx.x;
  for (int64_t e = blockIdx.x; e < b.own[0]; e += gridDim.x) {
    const Origin origin = origin_of(b, 0, e);
    float best = 0;
    int64_t best_place = -1;
    for (int64_t j = me; j < b.count / b.own[0]; j += threads) {
      const int64_t place = origin.large + share_of(b, 0, j);
      if (is_better(large[place], place, best, best_place)) best = large[place], best_place = place;
    }
    __syncthreads();
    values[me] = best;
    places_of[me] = best_place;
    __syncthreads();
    for (int half = threads / 2; half > 0; half /= 2) {
      if (me < half && is_better(values[me + half], places_of[me + half], values[me], places_of[me])) {
        values[me] = values[me + half];
        places_of[me] = places_of[me + half];
      }
      __syncthreads();
    }
    if (me == 0) {
      small[origin.own] = values[0];
      places[origin.own] = places_of[0];
    }
  }
}

__global__ void __launch_bounds__(threads)
    to_places_kernel(int64_t count, const int64_t* places, const float* small, float* large) {
  for (int64_t k = int64_t{blockIdx.x} * threads + threadIdx.x; k < count; k += int64_t{gridDim.x} * threads)
    large[places[k]] = small[k];
}

class SpreadOp : public ops::Op {
 public:
  SpreadOp(const Context& context, const ops::OpSpec& spec)
      : context_(context), broadcast_(ops::spread_of(spec)), expands_(spec.type == "Expand") {
    if (spec.type == "ReduceMean") factor_ = 1.0f / static_cast<float>(broadcast_.count / broadcast_.own[0]);
  }

  void forward(const ops::OpForward& run) override {
    if (expands_)
      spread(run.inputs[0], run.output);
    else
      sum(run.inputs[0], run.output);
  }
  void backward(const ops::OpBackward& run) override {
    if (!run.input_gradients[0]) return;
    if (expands_)
      sum(run.output_gradient, run.input_gradients[0]);
    else
      spread(run.output_gradient, run.input_gradients[0]);
  }
  ops::BackwardNeeds backward_needs() const override { return {}; }

 private:
  void spread(const float* small, float* large) const {
    spread_kernel<<<resident_blocks(context_, broadcast_.count, threads), threads, 0, context_.stream>>>(
        broadcast_, factor_, small, large);
    check_launch("spread");
  }
  void sum(const float* large, float* small) const {
    sums_kernel<<<grid_of_sums(context_, broadcast_.own[0]), threads, 0, context_.stream>>>(
        broadcast_, factor_, large, small);
    check_launch("sums");
  }

  const Context& context_;
  ops::Broadcast broadcast_;
  bool expands_;
  float factor_ = 1;
};

class ReduceMaxOp : public ops::Op {
 public:
  ReduceMaxOp(const Context& context, const ops::OpSpec& spec)
      : context_(context), broadcast_(ops::spread_of(spec)) {
    ops::MemoryPlan saved;
    places_ = saved.add(static_cast<size_t>(broadcast_.own[0]) * sizeof(int64_t));
    saved_bytes_ = saved.bytes();
  }

  void forward(const ops::OpForward& run) override {
    largest_kernel<<<grid_of_sums(context_, broadcast_.own[0]), threads, 0, context_.stream>>>(
        broadcast_, run.inputs[0], run.output, reinterpret_cast<int64_t*>(run.saved + places_));
    check_launch("largest");
  }
  void backward(const ops::OpBackward& run) override {
    float* dx = run.input_gradients[0];
    if (!dx) return;
    check(cudaMemsetAsync(dx, 0, static_cast<size_t>(broadcast_.count) * sizeof(float), context_.stream),
          "cudaMemsetAsync");
    to_places_kernel<<<resident_blocks(context_, broadcast_.own[0], threads), threads, 0, context_.stream>>>(
        broadcast_.own[0], reinterpret_cast<const int64_t*>(run.saved + places_), run.output_gradient, dx);
    check_launch("to_places");
  }
  ops::BackwardNeeds backward_needs() const override { return {}; }

 private:
  const Context& context_;
  ops::Broadcast broadcast_;
  size_t places_ = 0;
};

}  // namespace

std::unique_ptr<ops::Op> make_expand(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<SpreadOp>(context, spec);
}

std::unique_ptr<ops::Op> make_reduce(const Context& context, const ops::OpSpec& spec) {
  if (spec.type == "ReduceMax") return std::make_unique<ReduceMaxOp>(context, spec);
  return std::make_unique<SpreadOp>(context, spec);
}

}  // namespace lepton::cuda
