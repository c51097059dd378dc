// SPDX-License-Identifier: Apache-2.0
// MaxPool, channels last, with an optional fused Relu: max and Relu commute, so a Relu between a convolution
// and its pool is cheapest behind the pool. The first of equal maxima takes the gradient; NaN wins. Training
// keeps the place of each maximum in its window, `nowhere` where Relu cut it off; as int32, so that every
// loop has one element size, which gcc 12 vectorises well. Made by the table, run by model/executor.
#include <algorithm>

#include "base/simd.h"
#include "ops/pool.h"

namespace lepton::ops {

namespace {

constexpr int32_t nowhere = window_places_max;

/// y = max(y, x) and its place.
[[gnu::always_inline]] inline void take_larger(int64_t channels, int32_t here, const float* __restrict x,
                                               float* __restrict y, int32_t* __restrict places) {
  for (int64_t c = 0; c < channels; ++c) {
    const bool takes = (x[c] > y[c]) | (x[c] != x[c]);
    y[c] = takes ? x[c] : y[c];
    places[c] = takes ? here : places[c];
  }
}

/// The same for a whole window of four elements in registers, the usual case.
[[gnu::always_inline]] inline void largest_of_four(int64_t channels, const int32_t* at,
                                                   const float* __restrict x0, const float* __restrict x1,
                                                   const float* __restrict x2, const float* __restrict x3,
                                                   float* __restrict y, int32_t* __restrict places) {
  const int32_t at0 = at[0], at1 = at[1], at2 = at[2], at3 = at[3];
  for (int64_t c = 0; c < channels; ++c) {
    float best = x0[c];
    int32_t place = at0;
    bool takes = (x1[c] > best) | (x1[c] != x1[c]);
    best = takes ? x1[c] : best;
    place = takes ? at1 : place;
    takes = (x2[c] > best) | (x2[c] != x2[c]);
    best = takes ? x2[c] : best;
    place = takes ? at2 : place;
    takes = (x3[c] > best) | (x3[c] != x3[c]);
    y[c] = takes ? x3[c] : best;
    places[c] = takes ? at3 : place;
  }
}

[[gnu::always_inline]] inline void cut_off(int64_t channels, float* __restrict y,
                                           int32_t* __restrict places) {
  for (int64_t c = 0; c < channels; ++c) {
    places[c] = y[c] > 0.0f ? places[c] : nowhere;
    y[c] = y[c] < 0.0f ? 0.0f : y[c];
  }
}

LEPTON_SIMD void max_pool(const PoolGeometry& g, bool relu, const float* input, float* output,
                          int32_t* places) {
  const int64_t channels = g.channels;
  for_outputs(
      g, [&](int64_t to, const Inside& inside) __attribute__((always_inline)) {
        float* y = output + to;
        int32_t* place = places + to;
        const int64_t* at = inside.offset;
        if (inside.count == 4) {
          largest_of_four(channels, inside.place, input + at[0], input + at[1], input + at[2], input + at[3],
                          y, place);
        } else {
          std::copy_n(input + at[0], channels, y);
          std::fill_n(place, channels, inside.place[0]);
          for (int64_t k = 1; k < inside.count; ++k)
            take_larger(channels, inside.place[k], input + at[k], y, place);
        }
        if (relu) cut_off(channels, y, place);
      });
}

// Windows that overlap add their gradients; others write each input once.
template <bool overlap>
[[gnu::always_inline]] inline void give_back(int64_t channels, int32_t here, const float* __restrict dy,
                                             const int32_t* __restrict places, float* __restrict dx) {
  for (int64_t c = 0; c < channels; ++c) {
    const float share = places[c] == here ? dy[c] : 0.0f;
    dx[c] = overlap ? dx[c] + share : share;
  }
}

LEPTON_SIMD void max_pool_backward(const PoolGeometry& g, bool overlap, const int32_t* places,
                                   const float* dy, float* dx) {
  for_outputs(
      g, [&](int64_t from, const Inside& inside) __attribute__((always_inline)) {
        for (int64_t k = 0; k < inside.count; ++k)
          if (overlap)
            give_back<true>(g.channels, inside.place[k], dy + from, places + from, dx + inside.offset[k]);
          else
            give_back<false>(g.channels, inside.place[k], dy + from, places + from, dx + inside.offset[k]);
      });
}

class MaxPoolOp : public Op {
 public:
  explicit MaxPoolOp(const OpSpec& spec)
      : geometry_(spec), training_(spec.training), relu_(spec.activation == "Relu") {
    for (const PoolAxis& axis : {geometry_.z, geometry_.y, geometry_.x}) {
      overlap_ = overlap_ || axis.stride < (axis.kernel - 1) * axis.dilation + 1;
      covered_ = covered_ && axis.stride == axis.kernel && axis.dilation == 1 && axis.pad_begin == 0 &&
                 axis.out * axis.stride >= axis.size;
    }
    MemoryPlan places;
    places.add(static_cast<size_t>(geometry_.outputs()) * sizeof(int32_t));
    (training_ ? saved_bytes_ : scratch_bytes_) = places.bytes();
  }

  void forward(const OpForward& run) override {
    auto* places = reinterpret_cast<int32_t*>(training_ ? run.saved : run.scratch);
    max_pool(geometry_, relu_, run.inputs[0], run.output, places);
  }

  void backward(const OpBackward& run) override {
    float* dx = run.input_gradients[0];
    if (!dx) return;
    if (!covered_) std::fill_n(dx, geometry_.inputs(), 0.0f);
    max_pool_backward(geometry_, overlap_, reinterpret_cast<const int32_t*>(run.saved), run.output_gradient,
                      dx);
  }

  BackwardNeeds backward_needs() const override { return {}; }

 private:
  PoolGeometry geometry_;
  bool training_, relu_;
  bool overlap_ = false;  ///< may an input belong to several windows?
  bool covered_ = true;   ///< does every input belong to exactly one?
};

}  // namespace

std::unique_ptr<Op> make_max_pool(const OpSpec& spec) {
  return std::make_unique<MaxPoolOp>(spec);
}

}  // namespace lepton::ops
