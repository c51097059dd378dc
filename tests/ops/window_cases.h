// SPDX-License-Identifier: Apache-2.0
// Windows over one, two or three dimensions by plain loops in double: Conv, ConvTranspose and the pools. For
// the tests of conv, conv_transpose, max_pool and pool.
#pragma once

#include <array>
#include <cstring>
#include <limits>

#include "ops/harness.h"

namespace lepton::ops::testing {

struct WindowCase {
  const char* type;
  int64_t n, channels;
  Shape size;
  int64_t filters;  ///< as many as channels for pools
  Shape kernel, strides = {}, pads = {}, dilations = {};
  int64_t group = 1;
  Attributes more = {};

  bool transposed() const { return std::strcmp(type, "ConvTranspose") == 0; }
  bool pools() const { return std::strstr(type, "Pool") != nullptr; }
};

inline OpSpec window_spec(const WindowCase& c) {
  OpSpec spec{.type = c.type, .attributes = c.more, .samples = c.n, .training = true};
  spec.attributes["kernel_shape"] = c.kernel;
  if (!c.strides.empty()) spec.attributes["strides"] = c.strides;
  if (!c.pads.empty()) spec.attributes["pads"] = c.pads;
  if (!c.dilations.empty()) spec.attributes["dilations"] = c.dilations;
  Shape input = {c.channels}, weights = {c.filters, c.channels / c.group};
  if (c.transposed()) weights = {c.channels, c.filters / c.group};
  input.insert(input.end(), c.size.begin(), c.size.end());
  weights.insert(weights.end(), c.kernel.begin(), c.kernel.end());
  spec.inputs = {input};
  if (c.pools()) return spec;
  spec.attributes["group"] = c.group;
  spec.parameters = {weights, {c.filters}};
  return spec;
}

/// Three numbers, the missing leading ones `otherwise`.
inline std::array<int64_t, 3> three(const Shape& numbers, size_t axes, int64_t otherwise, size_t first = 0) {
  std::array<int64_t, 3> all{otherwise, otherwise, otherwise};
  for (size_t axis = 0; axis < axes && !numbers.empty(); ++axis) all[3 - axes + axis] = numbers[first + axis];
  return all;
}

/// What links a large image and a small one: for all windows and taps inside, in order.
struct Sliding {
  std::array<int64_t, 3> large, small, kernel, stride, pad, dilation;

  Sliding(const WindowCase& c, const Shape& large_shape, const Shape& small_shape)
      : large(three(large_shape, c.size.size(), 1, 1)),
        small(three(small_shape, c.size.size(), 1, 1)),
        kernel(three(c.kernel, c.size.size(), 1)),
        stride(three(c.strides, c.size.size(), 1)),
        pad(three(c.pads, c.size.size(), 0)),
        dilation(three(c.dilations, c.size.size(), 1)) {}

  static int64_t flat(const std::array<int64_t, 3>& at, const std::array<int64_t, 3>& size) {
    return (at[0] * size[1] + at[1]) * size[2] + at[2];
  }
  template <class Visit>
  static void for_all(const std::array<int64_t, 3>& size, const Visit& visit) {
    for (int64_t z = 0; z < size[0]; ++z)
      for (int64_t y = 0; y < size[1]; ++y)
        for (int64_t x = 0; x < size[2]; ++x) visit({z, y, x});
  }
  /// visit(pixel of the large image, tap) for the window at `o`.
  template <class Visit>
  void for_inside(const std::array<int64_t, 3>& o, const Visit& visit) const {
    for_all(kernel, [&](const std::array<int64_t, 3>& k) {
      std::array<int64_t, 3> at{};
      for (size_t d = 0; d < 3; ++d) {
        at[d] = o[d] * stride[d] - pad[d] + k[d] * dilation[d];
        if (at[d] < 0 || at[d] >= large[d]) return;
      }
      visit(flat(at, large), flat(k, kernel));
    });
  }
};

inline Numbers slide(const WindowCase& c, const OpSpec& spec, const Numbers& x,
                     const std::vector<Numbers>& parameters) {
  const Shape &in = spec.inputs[0], &out = spec.output;
  const Sliding sliding = c.transposed() ? Sliding(c, out, in) : Sliding(c, in, out);
  const int64_t pixels_in = element_count(in) / in[0], pixels_out = element_count(out) / out[0];
  const int64_t taps = element_count(c.kernel), group_in = c.channels / c.group,
                group_out = c.filters / c.group;
  Numbers y(static_cast<size_t>(c.n * element_count(out)));
  const bool transposed = c.transposed(), pools = c.pools();
  const auto at = [](int64_t s, int64_t pixels, int64_t pixel, int64_t channels, int64_t channel) {
    return static_cast<size_t>((s * pixels + pixel) * channels + channel);
  };
  for (int64_t s = 0; s < c.n; ++s) {
    if (!pools)
      for (int64_t p = 0; p < pixels_out; ++p)
        for (int64_t f = 0; f < c.filters; ++f)
          y[at(s, pixels_out, p, c.filters, f)] = parameters[1][static_cast<size_t>(f)];
    Sliding::for_all(sliding.small, [&](const std::array<int64_t, 3>& o) {
      const int64_t small = Sliding::flat(o, sliding.small);
      Numbers largest(static_cast<size_t>(c.channels), -std::numeric_limits<double>::infinity());
      Numbers sum(static_cast<size_t>(c.channels), 0);
      double inside = 0;
      sliding.for_inside(o, [&](int64_t large, int64_t tap) {
        ++inside;
        if (pools) {
          for (int64_t i = 0; i < c.channels; ++i) {
            const double value = x[at(s, pixels_in, large, c.channels, i)];
            largest[static_cast<size_t>(i)] = std::max(largest[static_cast<size_t>(i)], value);
            sum[static_cast<size_t>(i)] += value;
          }
          return;
        }
        for (int64_t f = 0; f < c.filters; ++f)
          for (int64_t k = 0; k < group_in; ++k) {
            const int64_t i = f / group_out * group_in + k;
            const int64_t row = transposed ? i * group_out + f % group_out : f * group_in + k;
            const double weight = parameters[0][static_cast<size_t>(row * taps + tap)];
            const int64_t from = transposed ? small : large, to = transposed ? large : small;
            y[at(s, pixels_out, to, c.filters, f)] += weight * x[at(s, pixels_in, from, c.channels, i)];
          }
      });
      if (!pools) return;
      const bool max = std::strcmp(c.type, "MaxPool") == 0;
      for (int64_t i = 0; i < c.channels; ++i)
        y[at(s, pixels_out, small, c.channels, i)] =
            max ? largest[static_cast<size_t>(i)] : sum[static_cast<size_t>(i)] / inside;
    });
  }
  return y;
}

inline void check_windows(const WindowCase& c) {
  const OpSpec spec = completed(window_spec(c));
  check_op(
      spec,
      [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>& parameters) {
        return slide(c, spec, inputs[0], parameters);
      },
      1e-5);
}

}  // namespace lepton::ops::testing
