// SPDX-License-Identifier: Apache-2.0
// Products, convolutions, attention and recurrent layers as the network plans them, one thread, as percent of
// the core's FMA peak: the layers of the four benchmark networks at their unit sizes, forward (F) and
// backward (B).
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "ops/table.h"
#include "peak.h"
#include "tensor/buffer.h"

namespace lepton::benchmarks {

namespace {

struct Layer {
  std::string name;
  ops::OpSpec spec;
  double flops = 0;     ///< of a forward pass of the unit
  bool spoils = false;  ///< backward does, what forward kept: each has a forward before it, which counts
};

Layer dense(int64_t samples, int64_t in, int64_t out, const char* activation, bool needs_gradient = true) {
  Layer layer;
  layer.name = "dense " + std::to_string(in) + "-" + std::to_string(out) + " n=" + std::to_string(samples);
  layer.spec.type = "Gemm";
  layer.spec.attributes = {{"transB", int64_t{1}}};
  layer.spec.activation = activation;
  layer.spec.samples = samples;
  layer.spec.inputs = {{in}};
  layer.spec.parameters = {{out, in}, {out}};
  layer.spec.input_needs_gradient = {needs_gradient};
  layer.flops = 2.0 * static_cast<double>(samples * in * out);
  return layer;
}

Layer conv(int64_t samples, int64_t in, int64_t out, int64_t side, bool needs_gradient = true) {
  Layer layer;
  layer.name = "conv3x3 " + std::to_string(in) + "-" + std::to_string(out) + " " + std::to_string(side) +
               "x" + std::to_string(side) + " n=" + std::to_string(samples);
  layer.spec.type = "Conv";
  layer.spec.attributes = {{"kernel_shape", std::vector<int64_t>{3, 3}},
                           {"pads", std::vector<int64_t>{1, 1, 1, 1}}};
  layer.spec.samples = samples;
  layer.spec.inputs = {{in, side, side}};
  layer.spec.parameters = {{out, in, 3, 3}};
  layer.spec.input_needs_gradient = {needs_gradient};
  layer.flops = 2.0 * static_cast<double>(samples * in * out * side * side * 9);
  return layer;
}

/// A dense layer of the language model, on each of 64 tokens.
Layer dense_of_tokens(int64_t samples, int64_t in, int64_t out, const char* activation) {
  Layer layer = dense(samples * 64, in, out, activation);
  layer.name = "tokens " + layer.name;
  return layer;
}

/// Causal, of 64 tokens; all scores count as work, though half of them are not needed.
Layer attention(int64_t samples, int64_t heads, int64_t size) {
  constexpr int64_t tokens = 64;
  Layer layer;
  layer.name =
      "attention " + std::to_string(heads) + " x " + std::to_string(size) + " n=" + std::to_string(samples);
  layer.spec.type = "Attention";
  layer.spec.attributes = {{"q_num_heads", heads}, {"kv_num_heads", heads}, {"is_causal", int64_t{1}}};
  layer.spec.samples = samples;
  layer.spec.inputs = {{tokens, 3 * heads * size}};
  layer.spec.input_needs_gradient = {true};
  layer.flops = 4.0 * static_cast<double>(samples * heads * tokens * tokens * size);
  return layer;
}

/// Over 60 tokens, in one direction; backward's figures hold a forward pass.
Layer recurrent(const char* type, int64_t gates, int64_t samples, int64_t in, int64_t units) {
  constexpr int64_t tokens = 60;
  Layer layer;
  layer.name = std::string(type) + " " + std::to_string(in) + "-" + std::to_string(units) +
               " n=" + std::to_string(samples);
  layer.spec.type = type;
  layer.spec.attributes = {{"hidden_size", units}};
  layer.spec.samples = samples;
  layer.spec.inputs = {{tokens, in}};
  layer.spec.parameters = {{1, gates * units, in}, {1, gates * units, units}, {1, 2 * gates * units}};
  layer.spec.input_needs_gradient = {true};
  layer.flops = 2.0 * static_cast<double>(samples * tokens * gates * units * (in + units));
  layer.spoils = true;
  return layer;
}

/// A planned layer with its memory.
class Planned {
 public:
  explicit Planned(const Layer& layer) : spec_(layer.spec), flops_(layer.flops) {
    ops::cap_instruction_set("auto");
    ops::prepare_compute_thread();
    spec_.training = true;
    spec_.output = ops::find_operator(spec_.type)->infer(spec_);
    op_ = ops::make_op(spec_);
    input_ = floats(spec_.samples * element_count(spec_.inputs[0]), 0.5f);
    output_ = floats(spec_.samples * element_count(spec_.output), 0.25f);
    input_gradient_ = floats(spec_.samples * element_count(spec_.inputs[0]), 0);
    for (const Shape& shape : spec_.parameters) {
      parameters_.push_back(floats(element_count(shape), 0.01f));
      gradients_.push_back(floats(element_count(shape), 0));
      parameter_pointers_.push_back(parameters_.back().as<float>().data());
      gradient_pointers_.push_back(gradients_.back().as<float>().data());
    }
    input_pointers_ = {input_.as<float>().data()};
    input_gradient_pointers_ = {spec_.input_needs_gradient[0] ? input_gradient_.as<float>().data() : nullptr};
    saved_ = Buffer({}, op_->saved_bytes(), "benchmark");
    scratch_ = Buffer({}, op_->scratch_bytes(), "benchmark");
  }
  void forward() {
    op_->forward({input_pointers_,
                  parameter_pointers_,
                  output_.as<float>().data(),
                  {},
                  saved_.data(),
                  scratch_.data(),
                  &unit_});
  }
  void backward() {
    const ops::OpBackward run{input_pointers_,
                              parameter_pointers_,
                              output_.as<float>().data(),
                              output_.as<float>().data(),
                              input_gradient_pointers_,
                              gradient_pointers_,
                              saved_.data(),
                              scratch_.data(),
                              &unit_};
    op_->backward(run);
    const ops::GradientParts parts = op_->gradient_parts();
    for (int64_t part = 0; parts.count > 1 && part < parts.count; ++part) op_->backward_part(run, part);
  }
  double forward_flops() const { return flops_; }
  double backward_flops() const { return flops_ * (spec_.input_needs_gradient[0] ? 2 : 1); }

 private:
  static Buffer floats(int64_t count, float value) {
    Buffer buffer({}, static_cast<size_t>(count) * sizeof(float), "benchmark");
    for (float& x : buffer.as<float>()) x = value;
    return buffer;
  }
  ops::OpSpec spec_;
  double flops_;
  std::unique_ptr<ops::Op> op_;
  ops::UnitContext unit_;
  Buffer input_, output_, input_gradient_, saved_, scratch_;
  std::vector<Buffer> parameters_, gradients_;
  std::vector<const float*> input_pointers_, parameter_pointers_;
  std::vector<float*> input_gradient_pointers_, gradient_pointers_;
};

void run(benchmark::State& state, const Layer& layer, bool backward) {
  Planned planned(layer);
  planned.forward();
  for (auto _ : state) {
    if (!backward || layer.spoils) planned.forward();
    if (backward) planned.backward();
    benchmark::ClobberMemory();
  }
  const double flops =
      (backward ? planned.backward_flops() : 0) + (!backward || layer.spoils ? planned.forward_flops() : 0);
  const double total = flops * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(total * 1e-9, benchmark::Counter::kIsRate);
  state.counters["%peak"] = benchmark::Counter(total * 1e-7 / fma_gflops(), benchmark::Counter::kIsRate);
}

const int registered = [] {
  std::vector<Layer> layers;
  for (const int64_t n : {16, 32, 64, 128}) layers.push_back(dense(n, 784, 512, "Relu", false));
  layers.push_back(dense(64, 512, 256, "Relu"));
  layers.push_back(dense(64, 256, 10, ""));
  layers.push_back(dense(32, 3136, 128, "Relu"));  // LeNet
  layers.push_back(conv(32, 1, 32, 28, false));
  layers.push_back(conv(32, 32, 64, 14));
  layers.push_back(conv(32, 3, 16, 32, false));  // ResNet-20
  layers.push_back(conv(32, 16, 16, 32));
  layers.push_back(conv(32, 32, 32, 16));
  layers.push_back(conv(32, 64, 64, 8));
  layers.push_back(dense_of_tokens(6, 128, 384, ""));  // GPT
  layers.push_back(dense_of_tokens(6, 128, 512, "Gelu"));
  layers.push_back(dense_of_tokens(6, 512, 128, ""));
  layers.push_back(attention(6, 4, 32));
  for (const int64_t units : {64, 128, 256}) layers.push_back(recurrent("LSTM", 4, 32, 128, units));
  layers.push_back(recurrent("GRU", 3, 32, 128, 128));
  for (const Layer& layer : layers)
    for (const bool backward : {false, true})
      benchmark::RegisterBenchmark(((backward ? "B " : "F ") + layer.name).c_str(), run, layer, backward);
  return 0;
}();

}  // namespace

}  // namespace lepton::benchmarks
