// SPDX-License-Identifier: Apache-2.0
// Arrays of counter-based random numbers (see random.h): four elements per Philox counter.
// Called by model/initialise.
#include "ops/random.h"

#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "ops/math.h"

namespace lepton::ops {

// Calls make(words, four) for each group of four elements and stores what is asked for.
template <class Make>
static void fill_groups(std::span<float> out, uint64_t key, const Make& make) {
  for (size_t i = 0; i < out.size(); i += 4) {
    float four[4];
    make(philox4x32(key, {static_cast<uint32_t>(i / 4), 0, 0, 0}), four);
    std::copy_n(four, std::min<size_t>(4, out.size() - i), out.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void fill_uniform(std::span<float> out, uint64_t key, float limit) {
  fill_groups(out, key, [limit](const PhiloxCounter& words, float* four) {
    for (size_t k = 0; k < 4; ++k) four[k] = (2.0f * uniform01(words[k]) - 1.0f) * limit;
  });
}

// Box and Muller: sqrt(-2 ln u) (cos, sin)(2 pi v), with u in (0, 1] so that the logarithm is finite.
void fill_normal(std::span<float> out, uint64_t key, float mean, float deviation) {
  fill_groups(out, key, [mean, deviation](const PhiloxCounter& words, float* four) {
    for (size_t pair = 0; pair < 2; ++pair) {
      const float u = uniform01(words[2 * pair]) + 0x1p-24f;
      const float radius = std::sqrt(-2.0f * math::log(u)) * deviation;
      const math::SinCos turn = math::sincos_turns(uniform01(words[2 * pair + 1]));
      four[2 * pair] = radius * turn.cos + mean;
      four[2 * pair + 1] = radius * turn.sin + mean;
    }
  });
}

}  // namespace lepton::ops
