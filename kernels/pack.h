// SPDX-License-Identifier: Apache-2.0
// Packs: consecutive elements that one thread loads, works on and stores at once; four floats where pointers
// and counts allow, else one. And the number of blocks of a grid-stride loop. Used by memory-bound kernels.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/context.h"

namespace lepton::cuda {

template <class Element, int width>
struct alignas(width * sizeof(Element)) Pack {
  Element v[width];
};

template <int width, class Element>
__device__ inline Pack<Element, width> load(const Element* from) {
  return *reinterpret_cast<const Pack<Element, width>*>(from);
}

template <int width, class Element>
__device__ inline void store(Element* to, const Pack<Element, width>& pack) {
  *reinterpret_cast<Pack<Element, width>*>(to) = pack;
}

/// Can 16 bytes of it be accessed at once? (Views within buffers may begin at any element.)
inline bool is_aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % sizeof(float4) == 0;
}

/// launch(four or one), as a type whose value is the width.
template <class Launch>
void with_width(bool four, const Launch& launch) {
  if (four)
    launch(std::integral_constant<int, 4>{});
  else
    launch(std::integral_constant<int, 1>{});
}

/// For a grid-stride loop over `count` places: enough to fill the device once, and no more.
inline unsigned resident_blocks(const Context& context, int64_t count, int threads) {
  return static_cast<unsigned>(
      std::min<int64_t>((count + threads - 1) / threads, 8 * context.multiprocessors));
}

}  // namespace lepton::cuda
