// SPDX-License-Identifier: Apache-2.0
// Initial values. Every tensor draws from a Philox stream of its own, keyed by (seed, tensor), so that
// tensors may be filled in any order by any thread.
#include "model/initialise.h"

#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "ops/random.h"

namespace lepton::model {

namespace {

using Kind = Initialiser::Kind;

// He et al. 2015: variance 2 / fan_in. Glorot and Bengio 2010: 2 / (fan_in + fan_out). The variance of a
// uniform distribution in [-a, a) is a^2 / 3.
double variance(const Initialiser& initialiser) {
  const double fan_in = static_cast<double>(initialiser.fan_in),
               fan_out = static_cast<double>(initialiser.fan_out);
  switch (initialiser.kind) {
    case Kind::he_normal:
    case Kind::he_uniform:
      return 2 / fan_in;
    case Kind::glorot_normal:
    case Kind::glorot_uniform:
      return 2 / (fan_in + fan_out);
    case Kind::normal:
      return initialiser.deviation * initialiser.deviation;
    case Kind::zeros:
    case Kind::ones:
    case Kind::constant:
    case Kind::given:
      break;
  }
  return 0;
}

void fill(const Initialiser& initialiser, std::span<const float> given, uint64_t key,
          std::span<float> values) {
  const double spread = variance(initialiser);
  switch (initialiser.kind) {
    case Kind::zeros:
      std::fill(values.begin(), values.end(), 0.0F);
      break;
    case Kind::ones:
      std::fill(values.begin(), values.end(), 1.0F);
      break;
    case Kind::constant:
      std::fill(values.begin(), values.end(), static_cast<float>(initialiser.value));
      break;
    case Kind::given:
      CHECK(given.size() == values.size(), "given values");
      std::copy(given.begin(), given.end(), values.begin());
      break;
    case Kind::he_uniform:
    case Kind::glorot_uniform:
      ops::fill_uniform(values, key, static_cast<float>(std::sqrt(3 * spread)));
      break;
    case Kind::he_normal:
    case Kind::glorot_normal:
    case Kind::normal:
      ops::fill_normal(values, key, 0.0F, static_cast<float>(std::sqrt(spread)));
      break;
  }
}

}  // namespace

void initialise(const Graph& graph, uint64_t seed, int first, int last, std::span<float> arena) {
  const std::vector<ArenaTensor>& tensors = graph.layout.tensors();
  CHECK(arena.size() == static_cast<size_t>(graph.layout.elements()), "initialise takes the whole arena");
  CHECK(first >= 0 && first <= last && last <= static_cast<int>(tensors.size()), "tensor range");
  for (int tensor = first; tensor < last; ++tensor) {
    const auto index = static_cast<size_t>(tensor);
    const auto begin = static_cast<size_t>(tensors[index].offset);
    const size_t end =
        index + 1 < tensors.size() ? static_cast<size_t>(tensors[index + 1].offset) : arena.size();
    const auto count = static_cast<size_t>(tensors[index].count);
    const auto given = graph.given.find(tensor);
    fill(graph.initialisers[index], given == graph.given.end() ? std::span<const float>() : given->second,
         stream_key(seed, Purpose::initial_values, index), arena.subspan(begin, count));
    std::fill(arena.begin() + static_cast<std::ptrdiff_t>(begin + count),
              arena.begin() + static_cast<std::ptrdiff_t>(end), 0.0F);
  }
}

}  // namespace lepton::model
