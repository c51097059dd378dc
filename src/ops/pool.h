// SPDX-License-Identifier: Apache-2.0
// What the pools share: the geometry of a unit and the walk over its windows, in the one order that defines
// the bits of sums (samples, output rows, output columns, window rows, window columns). Memory is nhwc, so a
// pixel is a run of `channels` floats. Used by max_pool.cpp and pool.cpp only.
#pragma once

#include <cstdint>

#include "ops/operators.h"

namespace lepton::ops {

struct PoolGeometry {
  int64_t n, channels, height, width, out_height, out_width;
  Window window;

  explicit PoolGeometry(const OpSpec& spec)
      : n(spec.samples),
        channels(spec.inputs[0][0]),
        height(spec.inputs[0][1]),
        width(spec.inputs[0][2]),
        out_height(spec.output[1]),
        out_width(spec.output[2]),
        window(parse_window(spec, {})) {}
  int64_t inputs() const { return n * height * width * channels; }
  int64_t outputs() const { return n * out_height * out_width * channels; }
};

constexpr int64_t window_places_max = 255;

/// The places of one window that lie inside the image: where their pixel begins, and their number.
struct Inside {
  int64_t count = 0;
  int64_t offset[window_places_max];
  int32_t place[window_places_max];
};

/// Calls visit(first element of the output pixel, places inside) for every window, in order. Always inlined,
/// so that it is compiled for the vector width of the function that it serves.
template <class Visit>
[[gnu::always_inline]] inline void for_outputs(const PoolGeometry& g, const Visit& visit) {
  const Window& w = g.window;
  Inside inside;
  int64_t output = 0;
  for (int64_t s = 0; s < g.n; ++s)
    for (int64_t oy = 0; oy < g.out_height; ++oy)
      for (int64_t ox = 0; ox < g.out_width; ++ox, ++output) {
        inside.count = 0;
        for (int64_t ky = 0; ky < w.kernel[0]; ++ky) {
          const int64_t y = oy * w.stride[0] - w.pad_begin[0] + ky * w.dilation[0];
          if (y < 0 || y >= g.height) continue;
          for (int64_t kx = 0; kx < w.kernel[1]; ++kx) {
            const int64_t x = ox * w.stride[1] - w.pad_begin[1] + kx * w.dilation[1];
            if (x < 0 || x >= g.width) continue;
            inside.offset[inside.count] = ((s * g.height + y) * g.width + x) * g.channels;
            inside.place[inside.count++] = static_cast<int32_t>(ky * w.kernel[1] + kx);
          }
        }
        visit(output * g.channels, inside);
      }
}

}  // namespace lepton::ops
