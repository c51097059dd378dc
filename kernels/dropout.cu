// SPDX-License-Identifier: Apache-2.0
// Dropout (Srivastava et al. 2014) with the mask of src/ops/dropout.cpp, bit for bit: element e of a sample
// is kept if the top 24 bits of word e % 4 of Philox(key, {e / 4, sample id low, high, step}) are at least
// ratio * 2^24. One thread draws one group of four. Backward draws the mask again, which takes about as long
// as reading it would, so nothing is saved. Sample ids and step are read on the device, when the kernel runs.
#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "kernels/operators.h"
#include "kernels/pack.h"

namespace lepton::cuda {

namespace {

/// What is the same for all elements of a run. Plain data.
struct Mask {
  uint64_t key;
  uint32_t threshold;
  float scale;
  const int64_t* sample_ids;
  const uint32_t* step;
};

__device__ float masked(const Mask& mask, uint32_t word, float x) {
  return (word >> 8) >= mask.threshold ? x * mask.scale : 0.0f;
}

// Samples run along y, groups of a sample along x. `wide`: groups are whole and aligned to 16 bytes. No
// __restrict__: y may be x.
__global__ void dropout_kernel(Mask mask, int64_t samples, int64_t count, bool wide, const float* x,
                               float* y) {
  const uint32_t step = *mask.step;
  const int64_t groups = (count + 3) / 4, stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t s = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; s < samples;
       s += int64_t{gridDim.y} * blockDim.y) {
    const uint64_t id = static_cast<uint64_t>(mask.sample_ids[s]);
    const uint32_t low = static_cast<uint32_t>(id), high = static_cast<uint32_t>(id >> 32);
    for (int64_t g = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; g < groups; g += stride) {
      const PhiloxCounter word = philox4x32(mask.key, {static_cast<uint32_t>(g), low, high, step});
      const float* in = x + s * count + 4 * g;
      float* out = y + s * count + 4 * g;
      if (wide) {
        const float4 v = *reinterpret_cast<const float4*>(in);
        *reinterpret_cast<float4*>(out) = {masked(mask, word[0], v.x), masked(mask, word[1], v.y),
                                           masked(mask, word[2], v.z), masked(mask, word[3], v.w)};
        continue;
      }
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (4 * g + k < count) out[k] = masked(mask, word[k], in[k]);
    }
  }
}

class DropoutOp : public ops::Op {
 public:
  DropoutOp(const Context& context, const ops::OpSpec& spec)
      : context_(context), key_(spec.random_key), n_(spec.samples), count_(element_count(spec.output)) {
    const double ratio = ops::float_attribute(spec.attributes, "ratio", 0.5);
    active_ = spec.training && ratio > 0;
    threshold_ = static_cast<uint32_t>(std::lrint(ratio * 0x1p24));
    scale_ = static_cast<float>(1.0 / (1.0 - ratio));
  }

  void forward(const ops::OpForward& run) override { apply(run.unit, run.inputs[0], run.output); }
  void backward(const ops::OpBackward& run) override {
    if (run.input_gradients[0]) apply(run.unit, run.output_gradient, run.input_gradients[0]);
  }
  ops::BackwardNeeds backward_needs() const override { return {}; }
  bool in_place() const override { return true; }

 private:
  void apply(const ops::UnitContext* unit, const float* x, float* y) const {
    if (!active_) {
      const size_t bytes = static_cast<size_t>(n_ * count_) * sizeof(float);
      if (x != y)
        check(cudaMemcpyAsync(y, x, bytes, cudaMemcpyDeviceToDevice, context_.stream), "cudaMemcpyAsync");
      return;
    }
    const Mask mask{key_, threshold_, scale_, unit->sample_ids.data(), unit->step};
    // Small samples share a block.
    const int64_t groups = (count_ + 3) / 4;
    unsigned along = threads;
    while (along > 1 && along / 2 >= groups) along /= 2;
    const dim3 block(along, threads / along);
    const unsigned most = 8u * static_cast<unsigned>(context_.multiprocessors);
    const unsigned across = std::min(blocks_for(groups, static_cast<int>(block.x)), most);
    const unsigned down = std::min(blocks_for(n_, static_cast<int>(block.y)), std::max(1u, most / across));
    const bool wide = count_ % 4 == 0 && is_aligned(x) && is_aligned(y);
    dropout_kernel<<<dim3(across, down), block, 0, context_.stream>>>(mask, n_, count_, wide, x, y);
    check_launch("dropout");
  }

  const Context& context_;
  uint64_t key_;
  int64_t n_, count_;
  bool active_;
  uint32_t threshold_;
  float scale_;
};

}  // namespace

std::unique_ptr<ops::Op> make_dropout(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<DropoutOp>(context, spec);
}

}  // namespace lepton::cuda
