// SPDX-License-Identifier: Apache-2.0
// Initial values. Every tensor draws from a Philox stream of its own, keyed by (seed, tensor), so that
// tensors may be filled in any order by any thread.
#include "model/initialise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/philox.h"
#include "base/simd.h"
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
    case Kind::orthogonal:
    case Kind::columns:
    case Kind::given:
      break;
  }
  return 0;
}

/// Gram and Schmidt on the rows of a square matrix, each against those before it as they came out. Sums in
/// lanes by index, so that the bits are the same on every machine.
LEPTON_SIMD void orthonormalise(int64_t size, double* matrix) {
  constexpr int64_t lanes = 8;
  const auto dot = [size](const double* a, const double* b) __attribute__((always_inline)) {
    double sum[lanes] = {};
    int64_t i = 0;
    for (; i + lanes <= size; i += lanes)
      for (int64_t k = 0; k < lanes; ++k) sum[k] += a[i + k] * b[i + k];
    for (int64_t k = 0; i + k < size; ++k) sum[k] += a[i + k] * b[i + k];
    for (int64_t half = lanes / 2; half > 0; half /= 2)
      for (int64_t k = 0; k < half; ++k) sum[k] += sum[k + half];
    return sum[0];
  };
  for (int64_t r = 0; r < size; ++r) {
    double* row = matrix + r * size;
    for (int64_t other = 0; other < r; ++other) {
      const double* unit = matrix + other * size;
      const double share = dot(row, unit);
      for (int64_t i = 0; i < size; ++i) row[i] -= share * unit[i];
    }
    const double norm = std::sqrt(dot(row, row));
    for (int64_t i = 0; i < size; ++i) row[i] = norm > 0 ? row[i] / norm : (i == r ? 1.0 : 0.0);
  }
}

/// Saxe, McClelland and Ganguli 2013: from normal numbers, block by block.
void fill_orthogonal(uint64_t key, int64_t size, std::span<float> values) {
  ops::fill_normal(values, key, 0.0F, 1.0F);
  std::vector<double> block(static_cast<size_t>(size * size));
  for (size_t begin = 0; begin < values.size(); begin += block.size()) {
    const std::span<float> part = values.subspan(begin, block.size());
    std::copy(part.begin(), part.end(), block.begin());
    orthonormalise(size, block.data());
    std::transform(block.begin(), block.end(), part.begin(), [](double x) { return static_cast<float>(x); });
  }
}

void fill_columns(const Initialiser& initialiser, int64_t width, std::span<float> values) {
  std::fill(values.begin(), values.end(), 0.0F);
  for (auto row = values.begin(); row != values.end(); row += width)
    std::fill(row + initialiser.columns_begin, row + initialiser.columns_end,
              static_cast<float>(initialiser.value));
}

/// `width`: the tensor's last dimension.
void fill(const Initialiser& initialiser, std::span<const float> given, uint64_t key, int64_t width,
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
    case Kind::orthogonal:
      fill_orthogonal(key, width, values);
      break;
    case Kind::columns:
      fill_columns(initialiser, width, values);
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
    const Shape& shape = tensors[index].shape;
    const auto given = graph.given.find(tensor);
    fill(graph.initialisers[index], given == graph.given.end() ? std::span<const float>() : given->second,
         stream_key(seed, Purpose::initial_values, index), shape.empty() ? 1 : shape.back(),
         arena.subspan(begin, count));
    std::fill(arena.begin() + static_cast<std::ptrdiff_t>(begin + count),
              arena.begin() + static_cast<std::ptrdiff_t>(end), 0.0F);
  }
}

}  // namespace lepton::model
