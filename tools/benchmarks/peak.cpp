// SPDX-License-Identifier: Apache-2.0
// The machine's own limits, which the other figures are shares of: float32 FMA of one core and of all, and
// the bandwidth of += in memory. tools/bench takes FmaPeak from here.
#include "peak.h"

#include <benchmark/benchmark.h>

#include <vector>

namespace lepton::benchmarks {

namespace {

/// 12 independent chains hide the latency of an FMA (4 cycles, two units a core).
constexpr int chains = 12;

template <class Vector>
[[gnu::always_inline]] inline float run_chains(int64_t rounds) {
  Vector sum[chains];
  const Vector a = Vector{} + 0.999f, b = Vector{} + 1e-3f;
  for (int c = 0; c < chains; ++c) sum[c] = Vector{} + static_cast<float>(c);
  for (int64_t r = 0; r < rounds; ++r)
    for (int c = 0; c < chains; ++c) sum[c] = sum[c] * a + b;
  float total = 0;
  for (int c = 0; c < chains; ++c) total += sum[c][0];
  return total;
}

typedef float Wide __attribute__((vector_size(64)));
typedef float Narrow __attribute__((vector_size(32)));

[[gnu::target("avx512f"), gnu::optimize("fp-contract=fast")]] float fma_512(int64_t rounds) {
  return run_chains<Wide>(rounds);
}
[[gnu::target("avx2,fma"), gnu::optimize("fp-contract=fast")]] float fma_256(int64_t rounds) {
  return run_chains<Narrow>(rounds);
}

volatile int64_t opaque_rounds = 100'000;  // so that no call is computed once for all

float run_fma() {
  const int64_t rounds = opaque_rounds;
  return __builtin_cpu_supports("avx512f") ? fma_512(rounds) : fma_256(rounds);
}
double run_flops() {
  return static_cast<double>(opaque_rounds) * chains * (__builtin_cpu_supports("avx512f") ? 16 : 8) * 2;
}

void FmaPeak(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(run_fma());
  const double flops = static_cast<double>(state.iterations()) * run_flops();
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsRate);
}
BENCHMARK(FmaPeak)->Threads(1)->Threads(2)->UseRealTime();

void FloatAdd(benchmark::State& state) {
  std::vector<float> a(state.range(0), 1.0f), sum(a.size(), 0.0f);
  for (auto _ : state) {
    for (size_t i = 0; i < a.size(); ++i) sum[i] += a[i];
    benchmark::DoNotOptimize(sum.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetBytesProcessed(state.iterations() * state.range(0) * 12);
}
BENCHMARK(FloatAdd)->Arg(1 << 14)->Arg(1 << 18)->Arg(1 << 22)->Arg(1 << 25);

}  // namespace

double fma_gflops() {
  static const double peak = [] {
    double best = 0;
    for (int trial = 0; trial < 50; ++trial) {
      const double begin = now_s();
      benchmark::DoNotOptimize(run_fma());
      best = std::max(best, run_flops() * 1e-9 / (now_s() - begin));
    }
    return best;
  }();
  return peak;
}

}  // namespace lepton::benchmarks
