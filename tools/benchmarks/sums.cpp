// SPDX-License-Identifier: Apache-2.0
// Exact sums: quantise-and-add beside float32 += over the same sizes (peak.cpp: FloatAdd), what goes with it,
// and the accumulator with its locks and checksums under one and two threads.
#include <benchmark/benchmark.h>

#include <cmath>
#include <optional>
#include <vector>

#include "exact/accumulator.h"
#include "ops/quantise.h"
#include "tensor/buffer.h"

namespace lepton::benchmarks {

namespace {

std::vector<float> sample_gradient(int64_t count) {
  std::vector<float> gradient(count);
  for (int64_t i = 0; i < count; ++i) gradient[i] = std::sin(static_cast<float>(i)) * 1e-3f;
  return gradient;
}

void QuantiseAdd(benchmark::State& state) {
  const std::vector<float> gradient = sample_gradient(state.range(0));
  std::vector<int64_t> sum(gradient.size(), 0);
  for (auto _ : state) {
    benchmark::DoNotOptimize(ops::quantise_add(gradient, 40, sum));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetBytesProcessed(state.iterations() * state.range(0) * 20);  // 4 read, 8 read and written
}
BENCHMARK(QuantiseAdd)->Arg(1 << 14)->Arg(1 << 18)->Arg(1 << 22)->Arg(1 << 25);

void Dequantise(benchmark::State& state) {
  std::vector<float> gradient = sample_gradient(state.range(0));
  std::vector<int64_t> sum(gradient.size(), 0);
  ops::quantise_add(gradient, 40, sum);
  for (auto _ : state) {
    ops::dequantise(sum, 40, gradient);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(Dequantise)->Arg(1 << 12)->Arg(1 << 22);

/// The dense MNIST network's tensors, each thread starting at an offset of its own.
class AccumulatorBenchmark : public benchmark::Fixture {
 public:
  AccumulatorBenchmark() {
    const int64_t widths[] = {784, 512, 256, 10};
    for (int layer = 0; layer < 3; ++layer) {
      layout_.add("weight", {widths[layer + 1], widths[layer]}, TensorRole::parameter, true);
      layout_.add("bias", {widths[layer + 1]}, TensorRole::parameter, false);
    }
    layout_.finish();
    memory_ = Buffer({}, exact::Accumulator::bytes(layout_), "benchmark");
    accumulator_.emplace(layout_, memory_.as<std::byte>());
    for (const ArenaTensor& tensor : layout_.tensors()) gradients_.push_back(sample_gradient(tensor.count));
  }

 protected:
  ArenaLayout layout_;
  Buffer memory_;
  std::optional<exact::Accumulator> accumulator_;
  std::vector<std::vector<float>> gradients_;
};

BENCHMARK_DEFINE_F(AccumulatorBenchmark, AddDenseNetwork)(benchmark::State& state) {
  exact::Lanes lanes(static_cast<int>(gradients_.size()), 1, 0, 0);
  for (auto _ : state)
    for (size_t t = 0; t < gradients_.size(); ++t)
      accumulator_->add(static_cast<int>(t), 0, gradients_[t], 40, ops::power_of_two_bits(11),
                        state.thread_index(), 0, 0, lanes);
  state.SetItemsProcessed(state.iterations() * layout_.elements());
}
BENCHMARK_REGISTER_F(AccumulatorBenchmark, AddDenseNetwork)->Threads(1)->Threads(2)->UseRealTime();

}  // namespace

}  // namespace lepton::benchmarks
