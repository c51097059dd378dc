// SPDX-License-Identifier: Apache-2.0
// Pools by plain loops in double, for the tests of max_pool and pool.
#pragma once

#include <limits>

#include "ops/harness.h"

namespace lepton::ops::testing {

struct PoolCase {
  const char* type;
  int64_t n, channels, height, width;
  std::vector<int64_t> kernel, strides = {1, 1}, pads = {0, 0, 0, 0}, dilations = {1, 1};
  int64_t ceil_mode = 0, include = 0;
  std::string activation = "";
};

inline OpSpec pool(const PoolCase& c) {
  return {.type = c.type,
          .attributes = {{"kernel_shape", c.kernel},
                         {"strides", c.strides},
                         {"pads", c.pads},
                         {"dilations", c.dilations},
                         {"ceil_mode", c.ceil_mode},
                         {"count_include_pad", c.include}},
          .activation = c.activation,
          .samples = c.n,
          .training = true,
          .inputs = {{c.channels, c.height, c.width}}};
}

inline double pooled(const PoolCase& c, const Numbers& x, int64_t s, int64_t oy, int64_t ox,
                     int64_t channel) {
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  int64_t inside = 0, padded = 0;
  for (int64_t ky = 0; ky < c.kernel[0]; ++ky)
    for (int64_t kx = 0; kx < c.kernel[1]; ++kx) {
      const int64_t y = oy * c.strides[0] - c.pads[0] + ky * c.dilations[0];
      const int64_t xx = ox * c.strides[1] - c.pads[1] + kx * c.dilations[1];
      padded += y < c.height + c.pads[2] && xx < c.width + c.pads[3];
      if (y < 0 || xx < 0 || y >= c.height || xx >= c.width) continue;
      const double value = x[static_cast<size_t>(((s * c.height + y) * c.width + xx) * c.channels + channel)];
      largest = std::max(largest, value);
      sum += value;
      ++inside;
    }
  if (std::string(c.type) == "MaxPool") return largest;
  return sum / static_cast<double>(c.include ? padded : inside);
}

inline void check_pool(const PoolCase& c, const Shape& want) {
  const Shape out = completed(pool(c)).output;
  ASSERT_EQ(out, want);
  check_op(pool(c), [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    Numbers y;
    for (int64_t s = 0; s < c.n; ++s)
      for (int64_t oy = 0; oy < out[1]; ++oy)
        for (int64_t ox = 0; ox < out[2]; ++ox)
          for (int64_t k = 0; k < c.channels; ++k) {
            const double value = pooled(c, inputs[0], s, oy, ox, k);
            y.push_back(c.activation == "Relu" && value < 0 ? 0 : value);
          }
    return y;
  });
}

}  // namespace lepton::ops::testing
