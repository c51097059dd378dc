// SPDX-License-Identifier: Apache-2.0
// Turning and padding (see planes.h): a thread for each element of the result.
#include "kernels/planes.h"

#include <algorithm>

#include "kernels/pack.h"

namespace lepton::cuda {

namespace {

struct Shift {
  int64_t z, y, x;
};

/// The pixel of `other` at (z, y, x), -1 outside.
__device__ int64_t pixel_of(const Planes& other, int64_t z, int64_t y, int64_t x) {
  const bool inside =
      z >= 0 && y >= 0 && x >= 0 && z < other.size[0] && y < other.size[1] && x < other.size[2];
  return inside ? (z * other.size[1] + y) * other.size[2] + x : -1;
}

__global__ void turn_to_planes(Planes from, Planes to, Shift before, const float* x, float* y) {
  const int64_t pixels = to.size[0] * to.size[1] * to.size[2], count = to.samples * to.channels * pixels;
  const int64_t pixels_from = from.size[0] * from.size[1] * from.size[2];
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * threads) {
    const int64_t plane = i / pixels, pixel = i - plane * pixels;
    const int64_t sample = plane / to.channels, channel = plane - sample * to.channels;
    const int64_t column = pixel % to.size[2], line = pixel / to.size[2];
    const int64_t source =
        pixel_of(from, line / to.size[1] - before.z, line % to.size[1] - before.y, column - before.x);
    y[i] = source < 0 ? 0.0f : x[(sample * pixels_from + source) * from.channels + channel];
  }
}

__global__ void turn_from_planes(Planes from, Planes to, Shift before, const float* x, float* y) {
  const int64_t pixels = to.size[0] * to.size[1] * to.size[2], count = to.samples * to.channels * pixels;
  const int64_t pixels_from = from.size[0] * from.size[1] * from.size[2];
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * threads) {
    const int64_t whole = i / to.channels, channel = i - whole * to.channels;
    const int64_t sample = whole / pixels, pixel = whole - sample * pixels;
    const int64_t column = pixel % to.size[2], line = pixel / to.size[2];
    const int64_t source =
        pixel_of(from, line / to.size[1] + before.z, line % to.size[1] + before.y, column + before.x);
    y[i] = source < 0 ? 0.0f : x[(sample * from.channels + channel) * pixels_from + source];
  }
}

Planes planes_of(int64_t samples, const Shape& shape) {
  Planes planes{samples, shape[0]};
  for (size_t d = 1; d < shape.size(); ++d) planes.size[3 - shape.size() + d] = shape[d];
  return planes;
}

}  // namespace

PlanesConvolution::PlanesConvolution(int64_t samples, const Shape& large_shape, const Shape& small_shape,
                                     const ops::Window& window, int64_t groups)
    : large(planes_of(samples, large_shape)), padded(large), small(planes_of(samples, small_shape)) {
  shape = {.samples = samples, .groups = groups, .channels = large.channels, .filters = small.channels};
  shape.planes = true;
  shape.axes = window.axes == 3 ? 3 : 2;
  const size_t missing = 3 - window.axes;
  for (size_t d = 0; d < 3; ++d) {
    const bool own = d >= missing;
    const size_t axis = own ? d - missing : 0;
    const int64_t stride = own ? window.stride[axis] : 1, reach = own ? window.reach(axis) : 1;
    before[d] = own ? window.pad_begin[axis] : 0;
    // So many that the windows are as many as they are; what lies behind them is read by none.
    padded.size[d] = (small.size[d] - 1) * stride + reach;
    if (d + static_cast<size_t>(shape.axes) < 3) continue;
    const size_t to = d + static_cast<size_t>(shape.axes) - 3;
    shape.input[to] = padded.size[d];
    shape.output[to] = small.size[d];
    shape.kernel[to] = own ? window.kernel[axis] : 1;
    shape.stride[to] = stride;
    shape.dilation[to] = own ? window.dilation[axis] : 1;
  }
}

void to_planes(const Context& context, const Planes& from, const Planes& to, const int64_t (&before)[3],
               const float* x, float* y) {
  turn_to_planes<<<resident_blocks(context, to.count(), threads), threads, 0, context.stream>>>(
      from, to, {before[0], before[1], before[2]}, x, y);
  check_launch("turn_to_planes");
}

void from_planes(const Context& context, const Planes& from, const Planes& to, const int64_t (&before)[3],
                 const float* x, float* y) {
  turn_from_planes<<<resident_blocks(context, to.count(), threads), threads, 0, context.stream>>>(
      from, to, {before[0], before[1], before[2]}, x, y);
  check_launch("turn_from_planes");
}

}  // namespace lepton::cuda
