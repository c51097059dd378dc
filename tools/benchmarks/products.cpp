// SPDX-License-Identifier: Apache-2.0
// Products and convolutions as the network plans them, one thread, as percent of the core's FMA peak: the
// layers of the three benchmark networks at their unit sizes, forward (F) and backward (B).
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
  double flops = 0;  ///< of a forward pass of the unit
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
    op_->backward({input_pointers_, parameter_pointers_, output_.as<float>().data(),
                   output_.as<float>().data(), input_gradient_pointers_, gradient_pointers_, saved_.data(),
                   scratch_.data(), &unit_});
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
    if (backward)
      planned.backward();
    else
      planned.forward();
    benchmark::ClobberMemory();
  }
  const double flops = backward ? planned.backward_flops() : planned.forward_flops();
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
  for (const Layer& layer : layers)
    for (const bool backward : {false, true})
      benchmark::RegisterBenchmark(((backward ? "B " : "F ") + layer.name).c_str(), run, layer, backward);
  return 0;
}();

}  // namespace

}  // namespace lepton::benchmarks
