// SPDX-License-Identifier: Apache-2.0
// Expand: an array repeated along dimensions; ReduceSum, ReduceMean and ReduceMax: the way back. Sums are in
// the order of memory (see broadcast_runs.h); of equal maxima the first in memory has the gradient. Made by
// the table, run by model/executor. Twin: kernels/spread.cu.
#include "ops/spread.h"

#include <algorithm>

#include "base/simd.h"
#include "ops/broadcast_runs.h"

namespace lepton::ops {

namespace {

LEPTON_SIMD void scale_all(int64_t count, float factor, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] *= factor;
}

/// large = small, spread out.
void spread(const Broadcast& b, const float* small, float* large) {
  for (int64_t first = 0; first < b.count; first += stretch_most)
    fetch_stretch(b, 0, first, std::min(stretch_most, b.count - first), small, large + first);
}
/// small = sums over what it is spread to.
void gather_sums(const Broadcast& b, const float* large, float* small) {
  std::fill_n(small, b.own[0], 0.0f);
  for (int64_t first = 0; first < b.count; first += stretch_most)
    add_stretch(b, 0, first, std::min(stretch_most, b.count - first), large + first, small);
}

class ExpandOp : public Op {
 public:
  explicit ExpandOp(const OpSpec& spec) : broadcast_(spread_of(spec)) {}
  void forward(const OpForward& run) override { spread(broadcast_, run.inputs[0], run.output); }
  void backward(const OpBackward& run) override {
    if (run.input_gradients[0]) gather_sums(broadcast_, run.output_gradient, run.input_gradients[0]);
  }
  BackwardNeeds backward_needs() const override { return {}; }

 private:
  Broadcast broadcast_;
};

class ReduceSumOp : public Op {
 public:
  explicit ReduceSumOp(const OpSpec& spec) : broadcast_(spread_of(spec)) {
    if (spec.type == "ReduceMean") factor_ = 1.0f / static_cast<float>(broadcast_.count / broadcast_.own[0]);
  }
  void forward(const OpForward& run) override {
    gather_sums(broadcast_, run.inputs[0], run.output);
    if (factor_ != 1.0f) scale_all(broadcast_.own[0], factor_, run.output);
  }
  void backward(const OpBackward& run) override {
    if (!run.input_gradients[0]) return;
    spread(broadcast_, run.output_gradient, run.input_gradients[0]);
    if (factor_ != 1.0f) scale_all(broadcast_.count, factor_, run.input_gradients[0]);
  }
  BackwardNeeds backward_needs() const override { return {}; }

 private:
  Broadcast broadcast_;
  float factor_ = 1;
};

class ReduceMaxOp : public Op {
 public:
  explicit ReduceMaxOp(const OpSpec& spec) : broadcast_(spread_of(spec)) {
    MemoryPlan saved;
    places_ = saved.add(static_cast<size_t>(broadcast_.own[0]) * sizeof(int64_t));
    saved_bytes_ = saved.bytes();
  }

  void forward(const OpForward& run) override {
    auto* places = reinterpret_cast<int64_t*>(run.saved + places_);
    const float* x = run.inputs[0];
    std::fill_n(places, broadcast_.own[0], int64_t{-1});
    const int64_t step = broadcast_.step[0][broadcast_.dimensions - 1];
    for_runs(broadcast_, 0, 0, broadcast_.count, [&](int64_t from, int64_t at, int64_t length) {
      for (int64_t i = 0; i < length; ++i) {
        int64_t& place = places[from + i * step];
        const float value = x[at + i], best = place < 0 ? value : x[place];
        if (place < 0 || value > best || (value != value && best == best)) place = at + i;
      }
    });
    for (int64_t k = 0; k < broadcast_.own[0]; ++k) run.output[k] = x[places[k]];
  }
  void backward(const OpBackward& run) override {
    float* dx = run.input_gradients[0];
    if (!dx) return;
    const auto* places = reinterpret_cast<const int64_t*>(run.saved + places_);
    std::fill_n(dx, broadcast_.count, 0.0f);
    for (int64_t k = 0; k < broadcast_.own[0]; ++k) dx[places[k]] = run.output_gradient[k];
  }
  BackwardNeeds backward_needs() const override { return {}; }

 private:
  Broadcast broadcast_;
  size_t places_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_expand(const OpSpec& spec) {
  return std::make_unique<ExpandOp>(spec);
}

std::unique_ptr<Op> make_reduce(const OpSpec& spec) {
  if (spec.type == "ReduceMax") return std::make_unique<ReduceMaxOp>(spec);
  return std::make_unique<ReduceSumOp>(spec);
}

}  // namespace lepton::ops
