// SPDX-License-Identifier: Apache-2.0
// What is read off a finished graph.
#include "model/graph.h"

#include <gtest/gtest.h>

#include "model/graph_builder.h"
#include "model/networks.h"

namespace lepton::model {

TEST(Graph, GradientsAreNeededBehindTheFirstParameter) {
  const Graph graph = graph_of({4}, {layer("relu"), layer("dense", {{"units", 4}}), layer("relu")});
  EXPECT_EQ(values_needing_gradient(graph), (std::vector<bool>{false, false, true, true}));
}

TEST(Graph, Flops) {
  // The first product has no gradient of its input: 2 products of 2 * 6 * 4; the second 3 of 2 * 4 * 3.
  EXPECT_EQ(training_flops_per_sample(
                graph_of({6}, {layer("dense", {{"units", 4}}), layer("dense", {{"units", 3}})})),
            2.0 * 48 + 3.0 * 24);
  // 5 filters of 2 x 3 x 3 at 4 x 4 places, in two groups.
  const Options options = {{"filters", 5 * 2}, {"kernel", 3}, {"padding", 1}, {"groups", 2}};
  EXPECT_EQ(training_flops_per_sample(graph_of({4, 4, 4}, {layer("conv2d", options), layer("flatten")})),
            2.0 * 2 * 10 * 16 * 2 * 9);
  // 6 tokens, 4 wide: qkv, scores and what they gather (half of both where causal), out; the embedding is
  // free.
  for (const bool causal : {false, true})
    EXPECT_EQ(
        training_flops_per_sample(graph_of({6}, {layer("embedding", {{"rows", 9}, {"width", 4}}),
                                                 layer("attention", {{"heads", 2}, {"causal", causal}})})),
        3.0 * 2 * 6 * 4 * (12 + 4) + 3.0 * 2 * (causal ? 0.5 : 1.0) * 2 * 36 * (2 + 2));
}

TEST(Graph, FlopsOfRecurrentLayers) {
  // 6 steps, 4 inputs, 3 units of 4 gates in 2 directions: of W no gradient of the input, of R all.
  const Options options = {{"units", 3}, {"bidirectional", true}, {"output", "sequence"}};
  EXPECT_EQ(training_flops_per_sample(graph_of({6, 4}, {layer("lstm", options)})),
            2.0 * 2 * 6 * 12 * (2 * 4 + 3 * 3));
  EXPECT_EQ(training_flops_per_sample(graph_of(
                {6}, {layer("embedding", {{"rows", 9}, {"width", 4}}), layer("gru", {{"units", 3}})})),
            2.0 * 6 * 9 * (3 * 4 + 3 * 3));
}

TEST(Graph, FlopsOfAProductOfTwoValues) {
  GraphBuilder builder({3, 4});
  const int turned = builder.add_node("Transpose", "t", {{"perm", List{0, 2, 1}}}, {0}, {}, {});
  builder.add_node("MatMul", "product", {}, {0, turned}, {}, {});
  EXPECT_EQ(training_flops_per_sample(builder.finish()), 2.0 * 9 * 4);
}

TEST(Graph, DescriptionHoldsNodesShapesAndCounts) {
  const std::string text =
      describe(graph_of({1, 4, 4}, {layer("conv2d", {{"filters", 2}, {"kernel", 3}}), layer("batch_norm"),
                                    layer("flatten"), layer("dense", {{"units", 3}})}));
  for (const char* piece : {"input", "[1, 4, 4]", "conv2d_1", "Conv", "[2, 2, 2]", "20\n", "batch_norm_1",
                            "4\n", "dense_1", "Gemm", "[3]", "27\n", "total", "51\n"})
    EXPECT_NE(text.find(piece), std::string::npos) << piece << " in\n" << text;
}

}  // namespace lepton::model
