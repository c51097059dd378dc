// SPDX-License-Identifier: Apache-2.0
// Slice, Pad and Resize: each row of the output, along the innermost axis of memory, is made of one or a few
// rows of the input (the taps of the outer axes), whose elements are moved by the innermost rule. Gradients
// go the way back, row by row in order, so that an input's sum is in the order of the outputs that read it.
// Made by the table, run by model/executor. Twin: kernels/remap.cu.
#include "ops/remap.h"

#include <algorithm>

#include "base/simd.h"

namespace lepton::ops {

namespace {

constexpr int sources_most = 1 << (remapped_most - 1);  // rows that a row is made of

struct SourceRow {
  int64_t first;  ///< element of the input
  float weight;
};

LEPTON_SIMD void weigh_row(int64_t count, float weight, bool adds, const float* x, float* y) {
  if (adds)
    for (int64_t i = 0; i < count; ++i) y[i] += weight * x[i];
  else
    for (int64_t i = 0; i < count; ++i) y[i] = weight * x[i];
}

class RemapOp : public Op {
 public:
  explicit RemapOp(const OpSpec& spec) : remap_(remap_of(spec)) {
    for (int axis = 0; axis < remap_.axes; ++axis) {
      const AxisRule& rule = remap_.rule[axis];
      if (rule.kind == AxisKind::same) continue;
      for (int64_t i = 0; i < rule.out; ++i) taps_[axis].push_back(taps_of(rule, i));
    }
  }

  void forward(const OpForward& run) override {
    for_rows([&](int64_t row, const SourceRow* sources, int count) {
      float* y = run.output + row * innermost_rule().out;
      if (innermost_rule().kind != AxisKind::same) return mix_row(sources, count, run.inputs[0], y);
      if (count == 0) std::fill_n(y, innermost_rule().out, remap_.value);
      for (int k = 0; k < count; ++k) {
        const float* x = run.inputs[0] + sources[k].first;
        if (count == 1)
          std::copy_n(x, innermost_rule().out, y);
        else
          weigh_row(innermost_rule().out, sources[k].weight, k > 0, x, y);
      }
    });
  }

  void backward(const OpBackward& run) override {
    float* dx = run.input_gradients[0];
    if (!dx) return;
    std::fill_n(dx, remap_.in_count, 0.0f);
    for_rows([&](int64_t row, const SourceRow* sources, int count) {
      const float* dy = run.output_gradient + row * innermost_rule().out;
      for (int k = 0; k < count; ++k)
        if (innermost_rule().kind == AxisKind::same)
          weigh_row(innermost_rule().out, sources[k].weight, true, dy, dx + sources[k].first);
      if (innermost_rule().kind != AxisKind::same) spread_row(sources, count, dy, dx);
    });
  }

  BackwardNeeds backward_needs() const override { return {}; }

 private:
  const AxisRule& innermost_rule() const { return remap_.rule[remap_.axes - 1]; }
  const std::vector<Taps>& innermost_taps() const { return taps_[remap_.axes - 1]; }

  /// use(row, rows of the input, their number) for each row of the output, in order.
  template <class Use>
  void for_rows(const Use& use) {
    const int outer = remap_.axes - 1;
    int64_t at[remapped_most] = {};
    const int64_t rows = remap_.out_count / innermost_rule().out;
    for (int64_t row = 0; row < rows; ++row) {
      SourceRow sources[sources_most] = {{0, 1}};
      int count = 1;
      for (int axis = 0; axis < outer; ++axis) count = advance(axis, at[axis], count, sources);
      for (int k = 0; k < count; ++k) sources[k].first *= innermost_rule().in;
      use(row, sources, count);
      for (int axis = outer; axis-- > 0;) {
        if (++at[axis] < remap_.rule[axis].out) break;
        at[axis] = 0;
      }
    }
  }

  /// Taps of one more axis: each source becomes as many as there are, in order.
  int advance(int axis, int64_t i, int count, SourceRow* sources) const {
    const AxisRule& rule = remap_.rule[axis];
    if (rule.kind == AxisKind::same) {
      for (int k = 0; k < count; ++k) sources[k].first = sources[k].first * rule.in + i;
      return count;
    }
    const Taps& taps = taps_[axis][static_cast<size_t>(i)];
    for (int k = count; k-- > 0;)  // backwards, for they grow in place
      for (int t = taps.count; t-- > 0;)
        sources[k * taps.count + t] = {sources[k].first * rule.in + taps.index[t],
                                       sources[k].weight * taps.weight[t]};
    return count * taps.count;
  }

  void mix_row(const SourceRow* sources, int count, const float* x, float* y) const {
    for (int64_t i = 0; i < innermost_rule().out; ++i) {
      const Taps& taps = innermost_taps()[static_cast<size_t>(i)];
      const bool single = count == 1 && taps.count == 1;
      float sum = count * taps.count == 0 ? remap_.value : 0.0f;
      for (int k = 0; k < count; ++k)
        for (int t = 0; t < taps.count; ++t) {
          const float value = x[sources[k].first + taps.index[t]];
          const float term = single ? value : sources[k].weight * taps.weight[t] * value;
          sum = k + t == 0 ? term : sum + term;
        }
      y[i] = sum;
    }
  }

  void spread_row(const SourceRow* sources, int count, const float* dy, float* dx) const {
    for (int64_t i = 0; i < innermost_rule().out; ++i) {
      const Taps& taps = innermost_taps()[static_cast<size_t>(i)];
      for (int k = 0; k < count; ++k)
        for (int t = 0; t < taps.count; ++t)
          dx[sources[k].first + taps.index[t]] += sources[k].weight * taps.weight[t] * dy[i];
    }
  }

  Remap remap_;
  std::vector<Taps> taps_[remapped_most];  ///< of axes that change, per output
};

}  // namespace

std::unique_ptr<Op> make_remap(const OpSpec& spec) {
  return std::make_unique<RemapOp>(spec);
}

}  // namespace lepton::ops
