// SPDX-License-Identifier: Apache-2.0
// The fingerprint of the planned ops: the same for what computes alike, CPU and debug device too; another
// one for another network, other parameters, another unit.
#include "train/fingerprint.h"

#include <gtest/gtest.h>

#include <set>

#include "device_round.h"
#include "model/graph_builder.h"
#include "model/initialise.h"

namespace lepton::train {
namespace {

/// The network of a deck with initial parameters, on a debug device.
struct PrintBench {
  PrintBench(const SmallRuns& runs, const std::string& deck, const std::vector<Override>& more = {})
      : round(runs, 1, deck, exact::RoundKind::train, false, computing_on("debug", more)),
        graph(round.job.graph),
        parameters(copied(round.job.node.parameters(0))) {}
  uint64_t on_host(int64_t samples) const { return fingerprint(graph, samples, parameters); }
  uint64_t on_device(int64_t samples) {
    return device_fingerprint(graph, samples, parameters, *round.job.device);
  }

  Round round;
  const model::Graph& graph;
  std::vector<float> parameters;
};

TEST(Fingerprint, TheDebugDeviceComputesAsTheHost) {
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "conv.toml", "wide.toml", "regression.toml"}) {
    PrintBench bench(runs, deck, deck == std::string("regression.toml") ? as_round : std::vector<Override>());
    const uint64_t host = bench.on_host(12);
    EXPECT_NE(host, 0U);
    EXPECT_EQ(bench.on_host(12), host) << deck << ": not stable";
    EXPECT_EQ(bench.on_device(12), host) << deck;
    EXPECT_EQ(bench.on_device(12), host) << deck << ": not stable";
    std::vector<int64_t> of_all{static_cast<int64_t>(host), -static_cast<int64_t>(host)};
    bench.round.world.all_max(of_all);
    EXPECT_EQ(of_all[0], -of_all[1]) << "ranks differ";
  }
}

/// Classes that count from 1, say: made-up numbers are such as the tables have.
TEST(Fingerprint, OfRowsThatTheNetworkComputes) {
  const SmallRuns runs;
  PrintBench bench(runs, "dense.toml");
  model::GraphBuilder builder({5});
  builder.begin_use({"two", "", true, {}});
  const int two =
      builder.add_parameter("two.value", {1}, {.kind = model::Initialiser::Kind::constant, .value = 2});
  builder.end_use();
  const int table = builder.add_parameter("table", {7, 3}, {.kind = model::Initialiser::Kind::normal});
  const int rows = builder.add_node("Sub", "less", {}, {0}, {two}, {});
  const int vectors = builder.add_node("Gather", "vectors", {}, {rows}, {table}, {});
  builder.add_node("Flatten", "flat", {}, {vectors}, {}, {});
  const model::Graph graph = builder.finish();
  std::vector<float> parameters(static_cast<size_t>(graph.layout.elements()));
  model::initialise(graph, 5, 0, 2, parameters);
  const uint64_t host = fingerprint(graph, 4, parameters);
  EXPECT_EQ(fingerprint(graph, 4, parameters), host);
  EXPECT_NO_THROW(device_fingerprint(graph, 4, parameters, *bench.round.job.device));
}

TEST(Fingerprint, AnotherNetworkUnitOrParameterGivesAnother) {
  const SmallRuns runs;
  std::set<uint64_t> found;
  for (const char* deck : {"dense.toml", "conv.toml"}) {
    PrintBench bench(runs, deck);
    for (const int64_t samples : {11, 12}) EXPECT_TRUE(found.insert(bench.on_device(samples)).second) << deck;
    for (const ArenaTensor& tensor : bench.graph.layout.tensors()) {
      if (tensor.role == TensorRole::statistic) continue;  // training does not read it
      float& last = bench.parameters[static_cast<size_t>(tensor.offset + tensor.count - 1)];
      const float before = last;
      last += 0.5f;
      EXPECT_TRUE(found.insert(bench.on_device(12)).second) << deck << ": " << tensor.name << " is not seen";
      EXPECT_EQ(found.count(bench.on_host(12)), 1U) << deck << ": " << tensor.name;
      last = before;
    }
  }
}

TEST(Fingerprint, AnotherPrecisionGivesAnother) {
  const std::string refusal = ops::precision_refusal("auto", ops::Precision::bf16);
  if (!refusal.empty()) GTEST_SKIP() << refusal;
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "conv.toml"}) {
    const PrintBench bench(runs, deck);
    const auto in_bf16 = [&] { return fingerprint(bench.graph, 12, bench.parameters, ops::Precision::bf16); };
    EXPECT_NE(in_bf16(), bench.on_host(12)) << deck;
    EXPECT_EQ(in_bf16(), in_bf16()) << deck << ": not stable";
  }
}

TEST(Fingerprint, LeavesTheDevicesStateAndMemoryAlone) {
  const SmallRuns runs;
  PrintBench bench(runs, "conv.toml");
  DeviceState& state = *bench.round.job.device;
  state.upload_parameters(0);
  Backend& backend = *state.engine().backend;
  const size_t before = backend.properties().bytes_free;
  bench.on_device(12);
  EXPECT_EQ(backend.properties().bytes_free, before) << "what it took was not given back";
  EXPECT_EQ(fetched(state, state.parameters(0), bench.graph.layout.elements()), bench.parameters);
  const std::vector<int64_t> sums = fetched(state, state.sums().elements, bench.graph.layout.elements());
  EXPECT_EQ(sums, std::vector<int64_t>(sums.size(), 0));
}

// The class of a run's arithmetic holds the fingerprint, with the device's name where there is one.
TEST(Fingerprint, StandsInTheArithmeticClass) {
  const SmallRuns runs;
  const Round cpu(runs, 1, "dense.toml", exact::RoundKind::train, false, computing_on("cpu"));
  const Round device(runs, 1, "dense.toml", exact::RoundKind::train, false, computing_on("debug"));
  const std::string host_class = cpu.job.classes.arithmetic, device_class = device.job.classes.arithmetic;
  EXPECT_TRUE(host_class.starts_with("cpu ")) << host_class;
  EXPECT_TRUE(device_class.starts_with("debug device")) << device_class;
  ASSERT_GE(host_class.size(), 16U);
  EXPECT_TRUE(device_class.ends_with(host_class.substr(host_class.size() - 16)))
      << device_class << " against " << host_class;
}

}  // namespace
}  // namespace lepton::train
