// SPDX-License-Identifier: Apache-2.0
// Windows of pools as kernels see them: which taps of a window lie inside, which windows contain a pixel (so
// that backward can gather, in the host's order, without atomics), and where a thread stands. Used by
// max_pool.cu and pool.cu.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/context.h"
#include "ops/pool.h"

namespace lepton::cuda {

constexpr int resident = 4;  ///< blocks on a multiprocessor: leaves each thread 64 registers, so none spill

/// Numbers begin ... end - 1.
struct Range {
  int begin, end;
};

/// Windows along one axis: tap k of window `o` lies at o * stride - pad + k * dilation.
struct Axis {
  int size, out, kernel, stride, dilation, pad, pad_end;

  explicit Axis(const ops::PoolAxis& axis)
      : size(static_cast<int>(axis.size)),
        out(static_cast<int>(axis.out)),
        kernel(static_cast<int>(axis.kernel)),
        stride(static_cast<int>(axis.stride)),
        dilation(static_cast<int>(axis.dilation)),
        pad(static_cast<int>(axis.pad_begin)),
        pad_end(static_cast<int>(axis.pad_end)) {}

  /// The taps of window `o` that lie inside.
  __device__ Range taps(int o) const {
    const int first = o * stride - pad, room = size - first;
    return {first < 0 ? (dilation - 1 - first) / dilation : 0,
            room <= 0 ? 0 : min(kernel, (room + dilation - 1) / dilation)};
  }
  /// The taps of window `o` that count: those inside, or also those on the pads.
  __device__ int counted(int o, bool include_pads) const {
    const Range inside = taps(o);
    if (!include_pads) return max(0, inside.end - inside.begin);
    const int room = size + pad_end - (o * stride - pad);
    return room <= 0 ? 0 : min(kernel, (room + dilation - 1) / dilation);
  }
  /// The windows that reach over `at`. With dilation not all of them have a tap there: see tap().
  __device__ Range windows(int at) const {
    const int low = at + pad - (kernel - 1) * dilation;
    return {low > 0 ? (low + stride - 1) / stride : 0, min(out, (at + pad) / stride + 1)};
  }
  /// The tap of window `o` that lies at `at`, -1 if none does.
  __device__ int tap(int o, int at) const {
    const int distance = at + pad - o * stride, k = distance / dilation;
    return k * dilation == distance ? k : -1;
  }
};

struct Geometry {
  int64_t n, channels;
  Axis z, y, x;

  explicit Geometry(const ops::PoolGeometry& g) : n(g.n), channels(g.channels), z(g.z), y(g.y), x(g.x) {
    CHECK(std::max(g.inputs(), g.outputs()) / channels <= std::numeric_limits<int>::max(), "pixels");
  }
  __device__ int64_t pixels_in() const { return n * z.size * y.size * x.size; }
  __device__ int64_t pixels_out() const { return n * z.out * y.out * x.out; }
};

/// A thread's place in images or volumes: sample, plane, row, column and first channel. Geometry has checked
/// that pixels can be counted in 32 bits, whose division is cheaper; elements are counted in 64.
struct WindowPlace {
  int64_t channel;
  int sample, z, y, x;

  __device__ WindowPlace(int64_t index, int64_t groups, int group_width, int depth, int height, int width) {
    const int64_t whole = index / groups;
    const int pixel = static_cast<int>(whole), line = pixel / width, plane = line / height;
    channel = (index - whole * groups) * group_width;
    x = pixel - line * width;
    y = line - plane * height;
    sample = plane / depth;
    z = plane - sample * depth;
  }
  static __device__ WindowPlace output(const Geometry& g, int64_t index, int64_t groups, int group_width) {
    return WindowPlace(index, groups, group_width, g.z.out, g.y.out, g.x.out);
  }
  static __device__ WindowPlace input(const Geometry& g, int64_t index, int64_t groups, int group_width) {
    return WindowPlace(index, groups, group_width, g.z.size, g.y.size, g.x.size);
  }
  /// Where the thread's channels begin at that place of its sample in an array of that many planes, rows and
  /// columns.
  __device__ int64_t in(const Geometry& g, int depth, int height, int width, int pz, int py, int px) const {
    return (((static_cast<int64_t>(sample) * depth + pz) * height + py) * width + px) * g.channels + channel;
  }
};

/// Calls visit(tap, first element) for what the window at `to` holds, in the host's order.
template <class Visit>
__device__ inline void for_taps(const Geometry& g, const WindowPlace& to, const Visit& visit) {
  const Range planes = g.z.taps(to.z), rows = g.y.taps(to.y), columns = g.x.taps(to.x);
  for (int kz = planes.begin; kz < planes.end; ++kz) {
    const int z = to.z * g.z.stride - g.z.pad + kz * g.z.dilation;
    for (int ky = rows.begin; ky < rows.end; ++ky) {
      const int y = to.y * g.y.stride - g.y.pad + ky * g.y.dilation;
      for (int kx = columns.begin; kx < columns.end; ++kx) {
        const int x = to.x * g.x.stride - g.x.pad + kx * g.x.dilation;
        visit((kz * g.y.kernel + ky) * g.x.kernel + kx, to.in(g, g.z.size, g.y.size, g.x.size, z, y, x));
      }
    }
  }
}

/// Calls visit(plane, row, column, tap, first element) for the windows that hold the pixel `at`.
template <class Visit>
__device__ inline void for_windows(const Geometry& g, const WindowPlace& at, const Visit& visit) {
  const Range planes = g.z.windows(at.z), rows = g.y.windows(at.y), columns = g.x.windows(at.x);
  for (int oz = planes.begin; oz < planes.end; ++oz) {
    const int kz = g.z.tap(oz, at.z);
    if (kz < 0) continue;
    for (int oy = rows.begin; oy < rows.end; ++oy) {
      const int ky = g.y.tap(oy, at.y);
      if (ky < 0) continue;
      for (int ox = columns.begin; ox < columns.end; ++ox) {
        const int kx = g.x.tap(ox, at.x);
        if (kx < 0) continue;
        visit(oz, oy, ox, (kz * g.y.kernel + ky) * g.x.kernel + kx,
              at.in(g, g.z.out, g.y.out, g.x.out, oz, oy, ox));
      }
    }
  }
}

}  // namespace lepton::cuda
