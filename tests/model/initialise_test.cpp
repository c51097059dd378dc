// SPDX-License-Identifier: Apache-2.0
// Initial values: distributions, independence of tensors, determinism, padding.
#include "model/initialise.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/networks.h"

namespace lepton::model {

namespace {

struct Moments {
  double mean = 0, deviation = 0, largest = 0;
};

Moments moments_of(const std::string& init, const Options& more = {}) {
  Options options = {{"units", 300}, {"init", init}};
  options.insert(options.end(), more.begin(), more.end());
  const Graph graph = graph_of({500}, {layer("dense", options)});
  std::vector<float> arena(static_cast<size_t>(graph.layout.elements()), 9.0F);
  initialise(graph, 3, 0, 2, arena);
  Moments moments;
  const auto count = static_cast<size_t>(graph.layout.tensors()[0].count);
  for (size_t i = 0; i < count; ++i) {
    moments.mean += arena[i];
    moments.deviation += static_cast<double>(arena[i]) * arena[i];
    moments.largest = std::max<double>(moments.largest, std::abs(arena[i]));
  }
  moments.mean /= static_cast<double>(count);
  moments.deviation = std::sqrt(moments.deviation / static_cast<double>(count) - moments.mean * moments.mean);
  for (size_t i = count; i < arena.size(); ++i) EXPECT_EQ(arena[i], 0.0F);  // bias and padding
  return moments;
}

void expect_spread(const Moments& moments, double deviation, bool uniform) {
  EXPECT_NEAR(moments.mean, 0, 0.02 * deviation);
  EXPECT_NEAR(moments.deviation, deviation, 0.01 * deviation);
  const double limit = std::sqrt(3.0) * deviation;
  if (uniform) {
    EXPECT_LE(moments.largest, limit * 1.000001);
    EXPECT_GT(moments.largest, 0.999 * limit);
  } else {
    EXPECT_GT(moments.largest, 3.5 * deviation);
  }
}

}  // namespace

TEST(Initialise, Distributions) {
  expect_spread(moments_of("he_normal"), std::sqrt(2.0 / 500), false);
  expect_spread(moments_of("he_uniform"), std::sqrt(2.0 / 500), true);
  expect_spread(moments_of("glorot_normal"), std::sqrt(2.0 / 800), false);
  expect_spread(moments_of("glorot_uniform"), std::sqrt(2.0 / 800), true);
  expect_spread(moments_of("normal"), 0.01, false);
  expect_spread(moments_of("normal", {{"init_deviation", 0.5}}), 0.5, false);
  EXPECT_EQ(moments_of("zeros").largest, 0.0);
}

TEST(Initialise, OrthogonalBlocks) {
  constexpr int64_t size = 67, gates = 3;
  const Graph graph = graph_of({5, 4}, {layer("gru", {{"units", size}})});
  std::vector<float> arena(static_cast<size_t>(graph.layout.elements()), 9.0F), other = arena;
  initialise(graph, 3, 0, 3, arena);
  const float* blocks = arena.data() + graph.layout.tensors()[1].offset;
  for (int64_t gate = 0; gate < gates; ++gate)
    for (int64_t a = 0; a < size; ++a)
      for (int64_t b = 0; b <= a; ++b) {
        const float *one = blocks + (gate * size + a) * size, *two = blocks + (gate * size + b) * size;
        double product = 0;
        for (int64_t i = 0; i < size; ++i)
          product += static_cast<double>(one[i]) * static_cast<double>(two[i]);
        EXPECT_NEAR(product, a == b ? 1 : 0, 1e-6) << gate << " " << a << " " << b;
      }
  EXPECT_NE(blocks[0], blocks[size * size]) << "each gate its own";
  initialise(graph, 4, 0, 3, other);
  EXPECT_NE(arena, other);
}

TEST(Initialise, TensorsAreIndependentOfEachOtherAndOfTheOrder) {
  const Graph graph =
      graph_of({20}, {layer("dense", {{"units", 20}}), layer("dense", {{"units", 20}}), layer("batch_norm")});
  const int tensors = static_cast<int>(graph.layout.tensors().size());
  std::vector<float> whole(static_cast<size_t>(graph.layout.elements()), 9.0F), pieces = whole, other = whole;
  initialise(graph, 3, 0, tensors, whole);
  for (int tensor = tensors; tensor-- > 0;) initialise(graph, 3, tensor, tensor + 1, pieces);
  EXPECT_EQ(whole, pieces);
  initialise(graph, 4, 0, tensors, other);
  EXPECT_NE(whole, other);
  const auto weight = [&](const char* name) {
    const auto begin =
        whole.begin() + graph.layout.tensors()[static_cast<size_t>(tensor_named(graph, name))].offset;
    return std::vector<float>(begin, begin + 400);
  };
  EXPECT_NE(weight("dense_1.weight"), weight("dense_2.weight"));
  const auto at = [&](const char* name) {
    return whole[static_cast<size_t>(
        graph.layout.tensors()[static_cast<size_t>(tensor_named(graph, name))].offset)];
  };
  EXPECT_EQ(at("batch_norm_1.weight"), 1.0F);
  EXPECT_EQ(at("batch_norm_1.running_mean"), 0.0F);
  EXPECT_EQ(at("batch_norm_1.running_var"), 1.0F);
}

}  // namespace lepton::model
