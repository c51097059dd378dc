// SPDX-License-Identifier: Apache-2.0
// Dropout (Srivastava et al. 2014): in training each element is kept with probability 1 - ratio and scaled by
// 1 / (1 - ratio); at inference the identity. Element e of a sample, e counted in memory order (channels
// last), is kept if the top 24 bits of word e % 4 of Philox(key, {e / 4, sample id low, high, step}) are at
// least ratio * 2^24: the mask depends on (key, sample id, step) and not on the place in the unit. Made by
// the table, run by model/executor.
#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "base/simd.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

// One byte per element: 1 is kept. Writes whole groups of four; `mask` has room for them.
LEPTON_SIMD void draw_mask(uint64_t key, uint64_t sample, uint32_t step, uint32_t threshold, int64_t groups,
                           uint8_t* mask) {
  const uint32_t low = static_cast<uint32_t>(sample), high = static_cast<uint32_t>(sample >> 32);
  for (int64_t g = 0; g < groups; ++g) {
    const PhiloxCounter word = philox4x32(key, {static_cast<uint32_t>(g), low, high, step});
    for (size_t k = 0; k < 4; ++k) mask[4 * g + static_cast<int64_t>(k)] = (word[k] >> 8) >= threshold;
  }
}

LEPTON_SIMD void apply_mask(int64_t count, const uint8_t* mask, float scale, const float* x, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = mask[i] ? x[i] * scale : 0.0f;
}

class DropoutOp : public Op {
 public:
  explicit DropoutOp(const OpSpec& spec)
      : key_(spec.random_key),
        n_(spec.samples),
        count_(element_count(spec.output)),
        groups_((count_ + 3) / 4) {
    const double ratio = float_attribute(spec.attributes, "ratio", 0.5);
    active_ = spec.training && ratio > 0;
    threshold_ = static_cast<uint32_t>(std::lrint(ratio * 0x1p24));
    scale_ = static_cast<float>(1.0 / (1.0 - ratio));
    MemoryPlan saved;
    if (active_) saved.add(static_cast<size_t>(4 * groups_ * n_));
    saved_bytes_ = saved.bytes();
  }

  void forward(const OpForward& run) override {
    if (!active_) {
      if (run.output != run.inputs[0]) std::copy(run.inputs[0], run.inputs[0] + n_ * count_, run.output);
      return;
    }
    for (int64_t s = 0; s < n_; ++s) {
      uint8_t* mask = reinterpret_cast<uint8_t*>(run.saved) + 4 * groups_ * s;
      const uint64_t sample = static_cast<uint64_t>(run.unit->sample_ids[static_cast<size_t>(s)]);
      draw_mask(key_, sample, *run.unit->step, threshold_, groups_, mask);
      apply_mask(count_, mask, scale_, run.inputs[0] + s * count_, run.output + s * count_);
    }
  }

  void backward(const OpBackward& run) override {
    float* dx = run.input_gradients[0];
    const float* dy = run.output_gradient;
    if (!dx) return;
    if (!active_) {
      if (dx != dy) std::copy(dy, dy + n_ * count_, dx);
      return;
    }
    for (int64_t s = 0; s < n_; ++s)
      apply_mask(count_, reinterpret_cast<const uint8_t*>(run.saved) + 4 * groups_ * s, scale_,
                 dy + s * count_, dx + s * count_);
  }

  BackwardNeeds backward_needs() const override { return {}; }
  bool in_place() const override { return true; }

 private:
  uint64_t key_;
  int64_t n_, count_, groups_;
  bool active_;
  uint32_t threshold_;
  float scale_;
};

}  // namespace

Shape infer_dropout(const OpSpec& spec) {
  const double ratio = float_attribute(spec.attributes, "ratio", 0.5);
  require_shape(ratio >= 0 && ratio < 1, "Dropout needs a ratio in [0, 1), not " + std::to_string(ratio));
  return spec.inputs[0];
}

std::unique_ptr<Op> make_dropout(const OpSpec& spec) {
  return std::make_unique<DropoutOp>(spec);
}

}  // namespace lepton::ops
