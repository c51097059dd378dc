// SPDX-License-Identifier: Apache-2.0
// What a device does of a training step, beside its own ceilings, measured in the same run: memory-bound
// passes as percent of the bandwidth of a copy (bytes read plus bytes written), a wide dense network as
// percent of the best single product. Skipped where there is no CUDA device; LEPTON_CHECK_DEVICE=debug runs
// all of it, small, on the debug device, to see that it works.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "model/executor.h"
#include "model/graph_builder.h"
#include "ops/cuda_module.h"
#include "ops/debug_engine.h"
#include "ops/random.h"
#include "ops/table.h"
#include "tensor/buffer.h"

namespace lepton::benchmarks {

namespace {

using ops::Precision;

bool debug() {
  const char* device = std::getenv("LEPTON_CHECK_DEVICE");
  return device && std::string(device) == "debug";
}

std::optional<ops::Engine> open(Precision precision) {
  if (debug()) {
    ops::prepare_compute_thread();
    return ops::open_debug_engine(size_t{1} << 30, 0);
  }
  std::string absence;
  if (ops::cuda_devices(absence).empty()) return std::nullopt;
  return ops::cuda_module()->open(0, precision);
}

/// Seconds of one `work`, the best of a few groups that are long enough to drown the synchronisation.
double seconds_of(ops::Engine& engine, const std::function<void()>& work) {
  const int repeats = debug() ? 1 : 20, groups = debug() ? 1 : 5;
  work();
  engine.queue->synchronize();
  double best = 1e30;
  for (int group = 0; group < groups; ++group) {
    const double begin = now_s();
    for (int i = 0; i < repeats; ++i) work();
    engine.queue->synchronize();
    best = std::min(best, (now_s() - begin) / repeats);
  }
  return best;
}

/// Random floats: zeros would flatter (a product of zeros draws less power).
void fill(ops::Engine& engine, std::span<float> to, uint64_t key) {
  const Buffer pinned(engine.device(), to.size_bytes(), "benchmark", MemoryKind::pinned);
  ops::fill_uniform(pinned.as<float>(), key, 0.1f);
  engine.queue->copy(to.data(), pinned.data(), to.size_bytes());
  engine.queue->synchronize();
}

int64_t elements() {
  return debug() ? int64_t{1} << 16 : int64_t{1} << 26;
}

/// Arrays for the passes of a step: one tensor that fills the arena.
class Memory {
 public:
  explicit Memory(ops::Engine& engine) : engine_(engine) {
    layout_.add("w", {elements()}, TensorRole::parameter, true);
    layout_.finish();
    for (Buffer* buffer : {&gradient, &parameters, &parameters_new, &m, &m_new, &v, &v_new}) {
      *buffer = Buffer(engine.device(), static_cast<size_t>(elements()) * 4, "benchmark");
      fill(engine, buffer->as<float>(), 1);
    }
    sums = make(static_cast<size_t>(elements()) * 8);
    const auto blocks = static_cast<size_t>(layout_.blocks());
    checksums = make(blocks * 8);
    hashes = make(blocks * 8);
    checks = make(blocks * sizeof(ops::BlockCheck));
    small = make(4096);
    std::vector<int64_t> begins;
    for (int64_t b = 0; b <= layout_.blocks(); ++b) begins.push_back(layout_.segment_begin(b));
    segments = uploaded(std::as_bytes(std::span(layout_.segments())));
    segment_begin = uploaded(std::as_bytes(std::span(begins)));
    const ops::TensorRule rule{false, true, 0};
    rules = uploaded(std::as_bytes(std::span(&rule, 1)));
  }

  ops::DeviceSums device_sums() const {
    return {sums.as<int64_t>().data(), checksums.as<int64_t>().data(), small.as<uint32_t>().data(),
            small.as<int32_t>().data() + 64};
  }
  ops::BlockTable table() const {
    return {segments.as<Segment>().data(), segment_begin.as<int64_t>().data(),
            rules.as<ops::TensorRule>().data(), elements()};
  }
  int64_t blocks() const { return layout_.blocks(); }

  Buffer gradient, parameters, parameters_new, m, m_new, v, v_new, sums, checksums, hashes, checks, small;
  Buffer segments, segment_begin, rules;

 private:
  Buffer make(size_t bytes) {
    Buffer buffer(engine_.device(), bytes, "benchmark");
    engine_.queue->clear(buffer.data(), bytes);
    return buffer;
  }
  Buffer uploaded(std::span<const std::byte> bytes) {
    Buffer buffer(engine_.device(), bytes.size(), "benchmark");
    const Buffer pinned(engine_.device(), bytes.size(), "benchmark", MemoryKind::pinned);
    std::copy(bytes.begin(), bytes.end(), pinned.data());
    engine_.queue->copy(buffer.data(), pinned.data(), bytes.size());
    engine_.queue->synchronize();
    return buffer;
  }
  ops::Engine& engine_;
  ArenaLayout layout_;
};

ops::UpdateRun adam_run(const Memory& memory) {
  ops::UpdateRun run;
  run.table = memory.table();
  run.sums = memory.device_sums();
  run.end_block = memory.blocks();
  run.rule.kind = ops::UpdateKind::adam;
  run.rule.adam = {0.9f, 0.1f, 0.999f, 0.001f, 1e-8f, 1e-3f, 1.0f, 0, 1};
  run.rule.clip_value = 1e30f;
  run.parameters = memory.parameters.as<float>().data();
  run.parameters_new = memory.parameters_new.as<float>().data();
  run.moments[0] = memory.m.as<float>().data();
  run.moments[1] = memory.v.as<float>().data();
  run.moments_new[0] = memory.m_new.as<float>().data();
  run.moments_new[1] = memory.v_new.as<float>().data();
  return run;
}

struct Pass {
  std::string name;
  double bytes_per_element;
  std::function<void(ops::Engine&, const Memory&)> work;
};

std::vector<Pass> passes() {
  return {
      {"add", 12,
       [](ops::Engine& engine, const Memory& memory) {
         engine.arithmetic->add(memory.parameters_new.as<float>().data(), memory.gradient.as<float>().data(),
                                elements());
       }},
      {"quantise_add", 20,
       [](ops::Engine& engine, const Memory& memory) {
         ops::QuantiseRun run;
         run.count = elements();
         run.values = memory.gradient.as<float>().data();
         run.sums = memory.device_sums();
         run.tag = reinterpret_cast<const ops::UnitTag*>(memory.small.data() + 1024);
         run.reports = reinterpret_cast<ops::UnitReport*>(memory.small.data() + 2048);
         engine.step_math->quantise_add(run);
       }},
      {"verify", 8,
       [](ops::Engine& engine, const Memory& memory) {
         ops::VerifyRun run;
         run.table = memory.table();
         run.sums = memory.device_sums();
         run.end_block = memory.blocks();
         run.checks = memory.checks.as<ops::BlockCheck>().data();
         engine.step_math->verify(run);
       }},
      {"update (adam)", 32,
       [](ops::Engine& engine, const Memory& memory) { engine.step_math->update(adam_run(memory)); }},
      {"hash_blocks", 4,
       [](ops::Engine& engine, const Memory& memory) {
         engine.step_math->hash_blocks(memory.parameters.as<float>().data(), elements(), 0, memory.blocks(),
                                       memory.hashes.as<uint64_t>().data());
       }},
  };
}

void run_pass(benchmark::State& state, const Pass& pass) {
  std::optional<ops::Engine> engine = open(Precision::fp32);
  if (!engine) {
    state.SkipWithError("no CUDA device");
    return;
  }
  const Memory memory(*engine);
  double copy_s = 0, pass_s = 0;
  for (auto _ : state) {
    copy_s = seconds_of(*engine, [&] {
      engine->queue->copy(memory.parameters_new.data(), memory.parameters.data(), memory.parameters.bytes());
    });
    pass_s = seconds_of(*engine, [&] { pass.work(*engine, memory); });
  }
  const double copy = 8 * static_cast<double>(elements()) / copy_s;
  const double rate = pass.bytes_per_element * static_cast<double>(elements()) / pass_s;
  state.counters["GB/s"] = rate * 1e-9;
  state.counters["copy GB/s"] = copy * 1e-9;
  state.counters["%copy"] = 100 * rate / copy;
}

/// A network of `layers` dense layers `width` wide, relu between them.
model::Graph dense_network(int64_t width, int layers) {
  model::GraphBuilder builder({width});
  int value = 0;
  for (int i = 0; i < layers; ++i) {
    const std::string name = "dense_" + std::to_string(i);
    const int weight = builder.add_parameter(name + ".weight", {width, width}, {}, true);
    const int bias = builder.add_parameter(name + ".bias", {width}, {});
    value = builder.add_node("Gemm", name, {{"transB", int64_t{1}}}, {value}, {weight, bias}, {});
    if (i + 1 < layers) value = builder.add_node("Relu", name + ".relu", {}, {value}, {}, {});
  }
  return builder.finish();
}

/// Adds gradients to sums, as a training unit does.
class SummingSink : public model::GradientSink {
 public:
  SummingSink(ops::Engine& engine, const model::Graph& graph) : engine_(engine), graph_(graph) {
    const auto make = [&](size_t bytes) {
      Buffer buffer(engine.device(), bytes, "benchmark");
      engine.queue->clear(buffer.data(), bytes);
      return buffer;
    };
    sums_ = make(static_cast<size_t>(graph.layout.elements()) * 8);
    checksums_ = make(static_cast<size_t>(graph.layout.blocks()) * 8);
    small_ = make(8192);
  }
  void gradient(int tensor, int64_t first, std::span<const float> values) override {
    if (!adds) return;
    ops::QuantiseRun run;
    run.tensor = tensor;
    run.begin = graph_.layout.tensors()[static_cast<size_t>(tensor)].offset + first;
    run.count = static_cast<int64_t>(values.size());
    run.values = values.data();
    run.sums = {sums_.as<int64_t>().data(), checksums_.as<int64_t>().data(), small_.as<uint32_t>().data(),
                small_.as<int32_t>().data() + 512};
    run.tag = reinterpret_cast<const ops::UnitTag*>(small_.data() + 4096);
    run.reports = reinterpret_cast<ops::UnitReport*>(small_.data() + 6144);
    engine_.step_math->quantise_add(run);
  }
  bool adds = true;

 private:
  ops::Engine& engine_;
  const model::Graph& graph_;
  Buffer sums_, checksums_, small_;
};

/// Forward and backward of a unit, recorded: with sums, without, and as percent of one forward product.
void run_network(benchmark::State& state, Precision precision, int64_t samples) {
  std::optional<ops::Engine> engine = open(precision);
  if (!engine) {
    state.SkipWithError("no CUDA device");
    return;
  }
  const int64_t width = debug() ? 64 : 4096, n = debug() ? 16 : samples;
  constexpr int layers = 6;
  const double product_flops = 2.0 * static_cast<double>(n * width * width);
  const auto recorded_s = [&](int depth, bool backward, bool adds) {
    const model::Graph graph = dense_network(width, depth);
    const std::vector<int64_t> sizes{n};
    model::Executor executor(graph, 0, sizes, {}, *engine->arithmetic);
    SummingSink sink(*engine, graph);
    sink.adds = adds;
    const Buffer arena(engine->device(), static_cast<size_t>(graph.layout.elements()) * 4, "benchmark");
    const Buffer ids(engine->device(), static_cast<size_t>(n) * 8 + 64, "benchmark");
    fill(*engine, arena.as<float>(), 2);
    const model::UnitRun unit{&executor, n, {ids.as<int64_t>().data(), static_cast<size_t>(n)}, &sink};
    const auto* step = reinterpret_cast<const uint32_t*>(ids.data() + n * 8);
    const auto recording = engine->backend->record(*engine->queue, [&] {
      model::Executor::forward_together({&unit, 1}, true, arena.as<float>().data(), step);
      if (backward) model::Executor::backward_together({&unit, 1}, arena.as<float>().data(), step);
    });
    fill(*engine, executor.input(n, true), 3);
    recording->launch(*engine->queue);
    fill(*engine, executor.output_gradient(n), 4);
    return seconds_of(*engine, [&] { recording->launch(*engine->queue); });
  };
  double peak = 0, whole_s = 0, bare_s = 0;
  for (auto _ : state) {
    peak = product_flops / recorded_s(1, false, false);
    bare_s = recorded_s(layers, true, false);
    whole_s = recorded_s(layers, true, true);
  }
  const double flops = product_flops * (3 * layers - 1);
  state.counters["TFLOP/s"] = flops / whole_s * 1e-12;
  state.counters["product TFLOP/s"] = peak * 1e-12;
  state.counters["%product"] = 100 * flops / whole_s / peak;
  state.counters["%adding"] = 100 * (whole_s - bare_s) / whole_s;
}

const int registered = [] {
  for (const Pass& pass : passes())
    benchmark::RegisterBenchmark(("device " + pass.name).c_str(), run_pass, pass)->Iterations(1);
  const std::vector<std::pair<Precision, int64_t>> networks = {
      {Precision::fp32, 2048}, {Precision::tf32, 2048}, {Precision::bf16, 16384}};
  for (const auto& [precision, samples] : networks)
    benchmark::RegisterBenchmark(
        (std::string("device dense 6 x 4096 ") + ops::precision_name(precision)).c_str(), run_network,
        precision, samples)
        ->Iterations(1);
  return 0;
}();

}  // namespace

}  // namespace lepton::benchmarks
