// SPDX-License-Identifier: Apache-2.0
// What the pools share: the geometry of a unit and the walk over its windows, in the one order that defines
// the bits of sums (samples, output planes, rows, columns, window planes, rows, columns). Memory is channels
// last, so a pixel is a run of `channels` floats. Used by max_pool.cpp and pool.cpp, and by their twins.
#pragma once

#include <cstdint>

#include "ops/operators.h"

namespace lepton::ops {

/// Windows along one axis: tap k of window `o` lies at o * stride - pad_begin + k * dilation.
struct PoolAxis {
  int64_t size = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad_begin = 0, pad_end = 0;
};

/// Depth, height and width; an axis that the input does not have is one window of one element.
struct PoolGeometry {
  int64_t n, channels;
  PoolAxis z, y, x;

  explicit PoolGeometry(const OpSpec& spec) : n(spec.samples), channels(spec.inputs[0][0]) {
    const Window window = parse_window(spec, {});
    PoolAxis* const all[axes_max] = {&z, &y, &x};
    for (size_t axis = 0; axis < window.axes; ++axis)
      *all[axes_max - window.axes + axis] = {
          spec.inputs[0][axis + 1], spec.output[axis + 1],  window.kernel[axis], window.stride[axis],
          window.dilation[axis],    window.pad_begin[axis], window.pad_end[axis]};
  }
  int64_t outputs_per_sample() const { return z.out * y.out * x.out * channels; }
  int64_t inputs() const { return n * z.size * y.size * x.size * channels; }
  int64_t outputs() const { return n * outputs_per_sample(); }
};

constexpr int64_t window_places_max = 255;

/// The places of one window that lie inside the image: where their pixel begins, and their number.
struct Inside {
  int64_t count = 0;
  int64_t offset[window_places_max];
  int32_t place[window_places_max];
};

/// Calls visit(position) for the taps of window `o` that lie inside, from the first on, with their number.
template <class Visit>
[[gnu::always_inline]] inline void for_taps(const PoolAxis& axis, int64_t o, const Visit& visit) {
  for (int64_t k = 0; k < axis.kernel; ++k) {
    const int64_t at = o * axis.stride - axis.pad_begin + k * axis.dilation;
    if (at >= 0 && at < axis.size) visit(at, k);
  }
}

/// The places of the window of sample s at (oz, oy, ox).
[[gnu::always_inline]] inline void find_inside(const PoolGeometry& g, int64_t s, int64_t oz, int64_t oy,
                                               int64_t ox, Inside& inside) {
  inside.count = 0;
  for_taps(g.z, oz, [&](int64_t z, int64_t kz) {
    for_taps(g.y, oy, [&](int64_t y, int64_t ky) {
      for_taps(g.x, ox, [&](int64_t x, int64_t kx) {
        inside.offset[inside.count] = (((s * g.z.size + z) * g.y.size + y) * g.x.size + x) * g.channels;
        inside.place[inside.count++] = static_cast<int32_t>((kz * g.y.kernel + ky) * g.x.kernel + kx);
      });
    });
  });
}

/// Calls visit(first element of the output pixel, places inside) for every window, in order. Always inlined,
/// so that it is compiled for the vector width of the function that it serves.
template <class Visit>
[[gnu::always_inline]] inline void for_outputs(const PoolGeometry& g, const Visit& visit) {
  Inside inside;
  int64_t output = 0;
  for (int64_t s = 0; s < g.n; ++s)
    for (int64_t oz = 0; oz < g.z.out; ++oz)
      for (int64_t oy = 0; oy < g.y.out; ++oy)
        for (int64_t ox = 0; ox < g.x.out; ++ox, ++output) {
          find_inside(g, s, oz, oy, ox, inside);
          visit(output * g.channels, inside);
        }
}

}  // namespace lepton::ops
