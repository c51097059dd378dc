// SPDX-License-Identifier: Apache-2.0
// The executor on whole small networks: gradients against finite differences, equal bits whatever ran before,
// statistics, inference, the search for non-finite values, memory, and that a run allocates nothing of ours.
#include "model/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "allocations.h"
#include "model/graph_builder.h"
#include "model/networks.h"

namespace lepton::model {

namespace {

LayerSpec conv(int64_t filters, const Options& more = {}) {
  Options options = {{"filters", filters}, {"kernel", 3}, {"padding", "same"}};
  options.insert(options.end(), more.begin(), more.end());
  return layer("conv2d", options);
}

Graph small_dense() {
  return graph_of({7},
                  {dense(6, {{"activation", "tanh"}}), dense(5, {{"activation", "gelu_tanh"}}), dense(3)});
}

/// Every kind of node: convolution, batch norm, pooling, dropout, both kinds of residual, layer norm, dense.
Graph small_convolutional() {
  return graph_of({3, 8, 8}, {conv(4, {{"bias", false}}), layer("batch_norm"), layer("tanh"),
                              residual({conv(4, {{"activation", "tanh"}}), layer("batch_norm")}, {},
                                       {{"activation", "sigmoid"}}),
                              residual({conv(6, {{"stride", 2}, {"groups", 2}}), layer("elu")},
                                       {layer("conv2d", {{"filters", 6}, {"kernel", 1}, {"stride", 2}})}),
                              layer("avg_pool2d"), layer("dropout", {{"rate", 0.25}}), layer("flatten"),
                              layer("layer_norm"), dense(5, {{"activation", "gelu"}}), dense(3)});
}

}  // namespace

TEST(Executor, GradientsOfADenseNetwork) {
  Bench bench(small_dense(), {5});
  expect_gradients(bench, 5, 2e-3);
}

TEST(Executor, GradientsOfAConvolutionalNetwork) {
  Bench bench(small_convolutional(), {6});
  expect_gradients(bench, 6, 1e-2);
}

TEST(Executor, GradientsOfMaxPoolAndRelu) {
  Bench bench(graph_of({2, 6, 6},
                       {conv(4, {{"activation", "relu"}}), layer("max_pool2d", {{"size", 3}, {"stride", 2}}),
                        layer("global_avg_pool2d"), dense(3, {{"activation", "leaky_relu"}})}),
              {4});
  expect_gradients(bench, 4, 5e-2);  // kinks
}

TEST(Executor, GradientsOfNestedResiduals) {
  const LayerSpec inner = residual({dense(5, {{"activation", "tanh"}})});
  Bench bench(graph_of({5}, {dense(5), residual({inner, layer("layer_norm"), residual({dense(5)})}),
                             layer("batch_norm"), dense(2), layer("softmax")}),
              {7});
  expect_gradients(bench, 7, 5e-3);
}

TEST(Executor, GradientsThroughNormsOfChannelsAndOtherSizes) {
  Bench bench(
      graph_of({4, 5, 6}, {conv(4), layer("group_norm", {{"groups", 2}}), layer("tanh"),
                           layer("upsample2d", {{"mode", "linear"}}), layer("zero_pad2d", {{"padding", 1}}),
                           conv(3), layer("instance_norm"), layer("permute", {{"order", List{2, 3, 1}}}),
                           layer("flatten"), dense(3), layer("log_softmax")}),
      {4});
  expect_gradients(bench, 4, 1e-2);
}

TEST(Executor, GradientsThroughSequencesOfChannels) {
  Bench bench(graph_of({5, 6}, {dense(4), layer("group_norm", {{"groups", 2}}), layer("upsample1d"),
                                layer("zero_pad1d", {{"padding", 1}}), layer("flatten"), dense(3)}),
              {4});
  expect_gradients(bench, 4, 1e-2);
}

/// Those without a kink, where differences tell something.
TEST(Executor, GradientsThroughTheOtherActivations) {
  for (const char* activation : {"silu", "swish", "mish", "softplus"}) {
    SCOPED_TRACE(activation);
    Bench bench(
        graph_of({5}, {dense(6, {{"activation", activation}}), dense(4), layer(activation), dense(3)}), {7});
    expect_gradients(bench, 7, 5e-3);
  }
}

/// Softplus keeps the root mean square away from 0, where it is all kink.
TEST(Executor, GradientsThroughRmsNorm) {
  Bench bench(graph_of({5}, {dense(9, {{"activation", "softplus"}}), layer("rms_norm"), dense(3)}), {7});
  expect_gradients(bench, 7, 5e-3);
}

Graph small_transformer() {
  return graph_of({5}, {layer("embedding", {{"rows", 40}, {"width", 8}, {"init_deviation", 1.5}}),
                        layer("positional_embedding", {{"init_deviation", 1.5}}),
                        layer("transformer_block", {{"heads", 4},
                                                    {"key_heads", 2},
                                                    {"causal", true},
                                                    {"units", 12},
                                                    {"dropout", 0.2},
                                                    {"init_deviation", 0.3}}),
                        layer("attention", {{"heads", 2}, {"init", "normal"}, {"init_deviation", 0.3}}),
                        layer("layer_norm"), dense(3)});
}

Graph small_recurrent() {
  return graph_of(
      {5, 4},
      {layer(
           "lstm",
           {{"units", 3}, {"layers", 2}, {"bidirectional", true}, {"dropout", 0.2}, {"output", "sequence"}}),
       layer("gru", {{"units", 5}, {"reset_after", false}, {"output", "sequence"}}),
       layer("rnn", {{"units", 4}, {"output", "sequence"}}), layer("gru", {{"units", 6}}), dense(3)});
}

TEST(Executor, GradientsOfARecurrentNetwork) {
  Bench bench(small_recurrent(), {6});
  expect_gradients(bench, 6, 1e-2);
}

TEST(Executor, GradientsOfATransformer) {
  Bench bench(small_transformer(), {6});
  expect_gradients(bench, 6, 1e-2);
}

TEST(Executor, RowsThatAUnitDoesNotTouchAreToldApart) {
  Bench bench(small_transformer(), {1});
  const KeepingSink sink = bench.backward(1);
  const int table = tensor_named(bench.graph(), "embedding_1.weight");
  const std::vector<float>& gradient = sink.gradients.at(table);
  EXPECT_EQ(gradient.size(), 40U * 8);
  EXPECT_EQ(sink.skipped.at(table), 0);
  EXPECT_LE(std::ranges::count_if(gradient, [](float g) { return g != 0; }), 5 * 8);
}

TEST(Executor, SinkGetsEveryTensorOnceFromTheLastNodeToTheFirst) {
  Bench bench(small_convolutional(), {3});
  const KeepingSink sink = bench.backward(3);
  EXPECT_EQ(sink.order.size(), bench.graph().layout.tensors().size());
  EXPECT_EQ(sink.gradients.size(), sink.order.size());
  EXPECT_EQ(sink.order.front(), tensor_named(bench.graph(), "dense_2.weight"));
  EXPECT_EQ(sink.order.back(), tensor_named(bench.graph(), "conv2d_1.weight"));
  EXPECT_EQ(bench.backward(3).order, sink.order);
}

TEST(Executor, SameBitsWhateverRanBeforeInTheSharedBuffer) {
  const std::vector<int64_t> sizes = {3, 8, 5};
  for (const Graph& graph : {small_dense(), small_convolutional(), small_recurrent()}) {
    std::map<int64_t, KeepingSink> alone;
    std::map<int64_t, std::vector<float>> scores;
    for (const int64_t n : sizes) {
      Bench bench(graph, {n}, {n});
      alone[n] = bench.backward(n);
      scores[n] = bench.forward(n, false);
    }
    Bench shared(graph, sizes, sizes);
    for (const int64_t n : {5, 3, 8, 8, 3, 5, 5, 8}) {
      EXPECT_EQ(shared.backward(n).gradients, alone[n].gradients) << n;
      EXPECT_EQ(shared.forward(n, false), scores[n]) << n;
    }
  }
}

TEST(Executor, UnitsTogetherGiveTheBitsOfOneAfterAnother) {
  const Graph wide = graph_of({300}, {dense(500), layer("relu"), dense(300), layer("tanh"), dense(3)});
  for (const Graph& graph : {small_dense(), small_convolutional(), small_recurrent(), wide}) {
    const std::vector<int64_t> sizes = {5, 4, 5};  // units of one batch differ by one sample
    std::vector<std::unique_ptr<Bench>> benches;
    std::vector<KeepingSink> alone, together(sizes.size());
    std::vector<std::vector<int64_t>> ids;
    std::vector<UnitRun> units;
    for (size_t u = 0; u < sizes.size(); ++u) {
      benches.push_back(std::make_unique<Bench>(graph, std::vector<int64_t>{4, 5}));
      alone.push_back(benches[u]->backward(sizes[u]));
      ids.push_back(benches[u]->ids(sizes[u]));
      benches[u]->fill_input(sizes[u], true);
      units.push_back({&benches[u]->executor, sizes[u], ids[u], &together[u]});
    }
    const float* arena = benches[0]->arena.data();
    const uint32_t step = 4;
    Executor::forward_together(units, true, arena, &step);
    for (size_t u = 0; u < sizes.size(); ++u) benches[u]->fill_output_gradient(sizes[u]);
    Executor::backward_together(units, arena, &step);
    for (size_t u = 0; u < sizes.size(); ++u) {
      EXPECT_EQ(together[u].gradients, alone[u].gradients) << u;
      EXPECT_EQ(together[u].order, alone[u].order) << u;
    }
    EXPECT_THROW(Executor::backward_together(units, arena, &step), Error);  // no forward since
    EXPECT_THROW(Executor::forward_together({}, true, arena, &step), Error);
    EXPECT_THROW(Executor::forward_together(std::vector<UnitRun>(5, units[0]), true, arena, &step), Error);
  }
}

TEST(Executor, BatchStatisticsComeAsSumsOverSamples) {
  Bench bench(graph_of({3}, {layer("batch_norm")}), {4});
  const KeepingSink sink = bench.backward(4);
  for (int64_t c = 0; c < 3; ++c) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < 4; ++i) mean += noise(11, 3 * i + c) / 4;
    for (int64_t i = 0; i < 4; ++i) variance += std::pow(noise(11, 3 * i + c) - mean, 2) / 3;
    EXPECT_NEAR(sink.gradients.at(tensor_named(bench.graph(), "batch_norm_1.running_mean"))[c], 4 * mean,
                1e-5);
    EXPECT_NEAR(sink.gradients.at(tensor_named(bench.graph(), "batch_norm_1.running_var"))[c], 4 * variance,
                1e-5);
  }
}

/// d(a) + relu(b), beside an input that nobody reads; b is read last, and in place if it were not an input's.
Graph two_inputs() {
  const std::vector<NamedShape> inputs = {{"a", {3}}, {"unused", {50}}, {"b", {4}}};
  GraphBuilder builder{std::span(inputs)};
  const int weight = builder.add_parameter("d.weight", {4, 3}, {.kind = Initialiser::Kind::he_normal}, true);
  const int dense = builder.add_node("Gemm", "d", {{"transB", int64_t{1}}}, {0}, {weight}, {});
  const int activated = builder.add_node("Relu", "r", {}, {2}, {}, {});
  builder.add_node("Add", "sum", {}, {dense, activated}, {}, {});
  return builder.finish();
}

TEST(Executor, SeveralInputs) {
  constexpr int64_t n = 3;
  Bench bench(two_inputs(), {n}, {n});
  for (const bool training : {true, false}) {
    const std::span<float> a = bench.executor.input(0, n, training),
                           unused = bench.executor.input(1, n, training),
                           b = bench.executor.input(2, n, training);
    ASSERT_EQ(a.size(), 9U);
    ASSERT_EQ(unused.size(), 150U);
    ASSERT_EQ(b.size(), 12U);
    for (size_t i = 0; i < a.size(); ++i) a[i] = noise(1, static_cast<int64_t>(i));
    for (size_t i = 0; i < b.size(); ++i) b[i] = noise(2, static_cast<int64_t>(i));
    std::ranges::fill(unused, 1e30F);  // in nobody's place
    const auto scores = bench.executor.forward(n, training, bench.arena.data(), bench.ids(n), 1);
    for (int64_t s = 0; s < n; ++s)
      for (int64_t o = 0; o < 4; ++o) {
        double expected = std::max(0.0, static_cast<double>(noise(2, 4 * s + o)));
        for (int64_t k = 0; k < 3; ++k)
          expected += static_cast<double>(bench.arena[static_cast<size_t>(3 * o + k)]) *
                      static_cast<double>(noise(1, 3 * s + k));
        EXPECT_NEAR(static_cast<double>(scores[static_cast<size_t>(4 * s + o)]), expected, 1e-6);
      }
  }
  KeepingSink sink;
  const auto fill = [&] {
    for (int i : {0, 1, 2})
      for (float& value : bench.executor.input(i, n, true)) value = 0.5F;
  };
  fill();
  bench.executor.forward(n, true, bench.arena.data(), bench.ids(n), 1);
  for (float& value : bench.executor.output_gradient(n)) value = 1;
  bench.executor.backward(n, bench.arena.data(), bench.ids(n), 1, sink);
  ASSERT_EQ(sink.gradients.size(), 1U);
  for (const float gradient : sink.gradients[0]) EXPECT_EQ(gradient, 1.5F) << "three samples of 0.5";
}

TEST(Executor, InferenceUsesRunningStatistics) {
  Bench bench(graph_of({3}, {layer("batch_norm", {{"epsilon", 1e-9}})}), {4}, {4});
  const auto set = [&](const char* name, float value) {
    const ArenaTensor& tensor =
        bench.graph().layout.tensors()[static_cast<size_t>(tensor_named(bench.graph(), name))];
    for (int64_t i = 0; i < tensor.count; ++i) bench.arena[static_cast<size_t>(tensor.offset + i)] = value;
  };
  set("batch_norm_1.weight", 2);
  set("batch_norm_1.bias", 1);
  set("batch_norm_1.running_mean", 0.5);
  set("batch_norm_1.running_var", 4);
  const std::vector<float> scores = bench.forward(4, false);
  for (size_t i = 0; i < scores.size(); ++i)
    EXPECT_NEAR(scores[i], (noise(11, static_cast<int64_t>(i)) - 0.5) / 2 * 2 + 1, 1e-5);
  EXPECT_NE(bench.forward(4, true), scores);
}

TEST(Executor, DropoutDependsOnSampleIdsStepAndSeed) {
  const auto graph = [] { return graph_of({64}, {layer("dropout"), layer("relu")}); };
  Bench bench(graph(), {4}, {4}), other(graph(), {4}, {}, 6);
  const std::vector<float> scores = bench.forward(4, true, 4);
  EXPECT_EQ(bench.forward(4, true, 4), scores);
  EXPECT_NE(bench.forward(4, true, 5), scores);
  EXPECT_NE(other.forward(4, true, 4), scores);
  bench.fill_input(4, true);
  std::vector<int64_t> ids = bench.ids(4);
  ids[2] += int64_t{1} << 40;
  const auto moved = bench.executor.forward(4, true, bench.arena.data(), ids, 4);
  EXPECT_TRUE(std::equal(scores.begin(), scores.begin() + 128, moved.begin()));
  EXPECT_FALSE(std::equal(scores.begin() + 128, scores.begin() + 192, moved.begin() + 128));
  const std::vector<float> whole = bench.forward(4, false);
  for (size_t i = 0; i < whole.size(); ++i)
    EXPECT_EQ(whole[i], std::max(0.0F, noise(11, static_cast<int64_t>(i))));
}

TEST(Executor, DropoutLayersDrawDifferentNumbers) {
  Bench bench(graph_of({256}, {layer("dropout"), layer("dropout")}), {1});
  const std::vector<float> scores = bench.forward(1, true);
  const auto kept = std::count_if(scores.begin(), scores.end(), [](float value) { return value != 0; });
  EXPECT_LT(kept, 256 * 3 / 8);  // a quarter, not a half
}

TEST(Executor, FirstNonFiniteNamesTheNode) {
  Bench bench(small_dense(), {2}, {2});
  const uint32_t step = 0;
  const auto find = [&](bool training) {
    bench.fill_input(2, training);
    return bench.executor.first_non_finite(2, training, bench.arena.data(), bench.ids(2), &step);
  };
  EXPECT_EQ(find(true), -1);
  const Graph& graph = bench.graph();
  const ArenaTensor& weight =
      graph.layout.tensors()[static_cast<size_t>(tensor_named(graph, "dense_2.bias"))];
  bench.arena[static_cast<size_t>(weight.offset)] = std::numeric_limits<float>::quiet_NaN();
  for (const bool training : {true, false})
    EXPECT_EQ(graph.nodes[static_cast<size_t>(find(training))].name, "dense_2");
  bench.fill_input(2, true);
  bench.executor.input(2, true)[3] = std::numeric_limits<float>::infinity();
  bench.arena[static_cast<size_t>(weight.offset)] = 0;
  const int first = bench.executor.first_non_finite(2, true, bench.arena.data(), bench.ids(2), &step);
  EXPECT_TRUE(first == -1 || first > 0);  // tanh of Inf is finite, a weight of 0 times Inf is not
}

TEST(Executor, MisuseIsCaught) {
  Bench bench(small_dense(), {2}, {3});
  KeepingSink sink;
  EXPECT_THROW(bench.executor.input(4, true), Error);
  EXPECT_THROW(bench.executor.input(3, true), Error);
  EXPECT_THROW(bench.executor.backward(2, bench.arena.data(), bench.ids(2), 0, sink), Error);
  EXPECT_THROW(bench.executor.forward(2, true, bench.arena.data(), bench.ids(3), 0), Error);
  bench.backward(2);
  EXPECT_THROW(bench.executor.backward(2, bench.arena.data(), bench.ids(2), 0, sink), Error);  // twice
}

TEST(Executor, BetweenNodesIsCalledAtEveryNode) {
  Bench bench(small_dense(), {2});
  int calls = 0;
  bench.executor.set_between_nodes([&] { ++calls; });
  bench.backward(2);
  EXPECT_EQ(calls, 6);
}

TEST(Executor, WorkspaceBytesWithoutConstruction) {
  const Graph graph = small_convolutional();
  const std::vector<int64_t> training = {6, 3}, inference = {16, 1}, none;
  ops::prepare_compute_thread();
  EXPECT_EQ(Executor::workspace_bytes(graph, training, inference),
            Executor(graph, 1, training, inference).workspace_bytes());
  EXPECT_EQ(Executor::workspace_bytes(graph, training, inference),
            std::max(Executor::workspace_bytes(graph, training, none),
                     Executor::workspace_bytes(graph, none, inference)));
  EXPECT_EQ(Executor::workspace_bytes(graph, none, none), 0U);
}

TEST(Executor, RunsAllocateNothing) {
  SKIP_WHERE_NOTHING_IS_COUNTED();
  class NoSink : public GradientSink {
    void gradient(int, int64_t, std::span<const float>) override {}
  };
  for (const Graph& graph : {small_dense(), small_convolutional(), small_recurrent()}) {
    Bench bench(graph, {4, 6}, {4});
    const std::vector<int64_t> four = bench.ids(4), six = bench.ids(6);
    NoSink sink;
    const auto run = [&] {
      bench.executor.forward(4, true, bench.arena.data(), four, 1);
      bench.executor.backward(4, bench.arena.data(), four, 1, sink);
      bench.executor.forward(6, true, bench.arena.data(), six, 1);
      bench.executor.backward(6, bench.arena.data(), six, 1, sink);
      bench.executor.forward(4, false, bench.arena.data(), four, 1);
    };
    run();
    EXPECT_EQ(allocations_of(run), 0);
    std::unique_ptr<int> proof;
    EXPECT_EQ(allocations_of([&] { proof = std::make_unique<int>(1); }), 1);
  }
}

}  // namespace lepton::model
