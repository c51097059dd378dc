// SPDX-License-Identifier: Apache-2.0
// The executor on graphs that no deck writes: nodes that broadcast, products of two values.
#include <gtest/gtest.h>

#include "model/graph_builder.h"
#include "model/networks.h"

namespace lepton::model {

/// As an importer would write an attention over two rows and what is around it.
TEST(Executor, GradientsThroughNodesThatAreBroadcast) {
  GraphBuilder builder({6});
  const auto normal = [](int64_t fan) { return Initialiser{Initialiser::Kind::normal, 0.5, 0, fan, fan}; };
  const auto node = [&](const char* type, ops::Attributes attributes, List inputs, List parameters) {
    const std::string name =
        std::string(type) + std::to_string(builder.elements()) + "_" + std::to_string(inputs.front());
    return builder.add_node(type, name, std::move(attributes), {inputs.begin(), inputs.end()},
                            {parameters.begin(), parameters.end()}, {});
  };
  const int weight = builder.add_parameter("weight", {12, 6}, normal(6));
  const int dense = node("Gemm", {{"transB", int64_t{1}}}, {0}, {weight});
  const int rows = node("Reshape", {{"shape", List{3, 4}}}, {dense}, {});
  const int scale = builder.add_parameter("scale", {3, 1}, {Initialiser::Kind::constant, 0, 0.75});
  const int scaled = node("Mul", {}, {rows}, {scale});
  const int turned = node("Transpose", {{"perm", List{0, 2, 1}}}, {scaled}, {});
  const int product = node("MatMul", {}, {scaled, turned}, {});
  const int mean = node("ReduceMean", {{"axes", List{2}}}, {product}, {});
  const int centred = node("Sub", {}, {product, mean}, {});
  const int square = node("Mul", {}, {centred, centred}, {});
  const int one = builder.add_parameter("one", {1}, {Initialiser::Kind::ones});
  const int rest = node("Sub", {{"parameter_first", int64_t{1}}}, {square}, {one});
  const int power = node("Exp", {}, {rest}, {});
  node("ReduceSum", {{"axes", List{1}}, {"keepdims", int64_t{0}}}, {power}, {});
  Bench bench(builder.finish(), {4});
  expect_gradients(bench, 4, 1e-2);
}

}  // namespace lepton::model
