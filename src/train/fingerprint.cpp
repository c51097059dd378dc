// SPDX-License-Identifier: Apache-2.0
// See the header. What is not asked for in a training step anyway is allocated here and freed again.
#include "train/fingerprint.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/hash.h"
#include "base/philox.h"
#include "model/executor.h"
#include "ops/random.h"

namespace lepton::train {

namespace {

constexpr uint32_t step = 1;

/// Hashes every gradient that it is handed.
class HashSink : public model::GradientSink {
 public:
  void gradient(int tensor, int64_t first, std::span<const float> values) override {
    hash_ = mix64(hash_ ^ hash64_of(values, static_cast<uint64_t>(tensor + first)));
  }
  void add(std::span<const float> values) { hash_ = mix64(hash_ ^ hash64_of(values)); }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0;
};

/// Fetches what lies on a device for another sink.
class FetchingSink : public model::GradientSink {
 public:
  FetchingSink(DeviceState& device, HashSink& sink) : device_(device), sink_(sink) {}
  void gradient(int tensor, int64_t first, std::span<const float> values) override {
    sink_.gradient(tensor, first, fetched(values));
  }
  std::span<const float> fetched(std::span<const float> values) {
    host_.resize(values.size());
    device_.download(values.data(), std::as_writable_bytes(std::span(host_)));
    return host_;
  }

 private:
  DeviceState& device_;
  HashSink& sink_;
  std::vector<float> host_;
};

std::vector<int64_t> first_ids(int64_t samples) {
  std::vector<int64_t> ids(static_cast<size_t>(samples));
  for (int64_t i = 0; i < samples; ++i) ids[static_cast<size_t>(i)] = i;
  return ids;
}

void fill(std::span<float> values, uint64_t stream) {
  ops::fill_uniform(values, stream_key(0, Purpose::fingerprint, stream), 1.f);
}

/// An input at random: whole numbers where the network takes those, of rows (from 0) or lengths (from 1). Of
/// which a network computes the numbers of rows, all are `row`.
void fill_input(const model::Graph& graph, int index, std::span<float> values, float row) {
  fill(values, index == 0 ? 0 : static_cast<uint64_t>(index) + 1);  // 1 is the scores' gradient
  const int input = graph.inputs[static_cast<size_t>(index)];
  const auto rows = static_cast<float>(model::table_rows(graph, input).safe),
             longest = static_cast<float>(model::longest_length(graph, input));
  const float count = rows > 0 ? rows : longest, least = rows > 0 ? 0.0f : 1.0f;
  if (count == 0) return;
  if (rows == 1) {
    std::ranges::fill(values, row);
    return;
  }
  for (float& value : values) value = least + std::min(std::floor((value + 1) / 2 * count), count - 1);
}

/// The first of 0, 1 and so on from which a network that computes the numbers of rows gets such as its tables
/// have.
float row_for(const model::Graph& graph, std::span<const float> parameters) {
  const auto computes = [&](int input) { return model::table_rows(graph, input).safe == 1; };
  if (std::ranges::none_of(graph.inputs, computes)) return 0;
  constexpr int most = 16;
  const std::vector<int64_t> one{1}, ids = first_ids(1);
  model::Executor executor(graph, 0, {}, one, ops::host_arithmetic(ops::Precision::fp32));
  for (int row = 0; row < most; ++row) {
    const auto number = static_cast<float>(row);
    for (int i = 0; i < std::ssize(graph.inputs); ++i)
      fill_input(graph, i, executor.input(i, 1, false), number);
    try {
      executor.forward(1, false, parameters.data(), ids, step);
      return number;
    } catch (const Error& error) {
      if (error.code() != Exit::data) throw;
    }
  }
  return 0;
}

}  // namespace

uint64_t fingerprint(const model::Graph& graph, int64_t samples, std::span<const float> parameters,
                     ops::Precision precision) {
  const std::vector<int64_t> sizes{samples}, ids = first_ids(samples);
  model::Executor executor(graph, 0, sizes, {}, ops::host_arithmetic(precision));
  const float row = row_for(graph, parameters);
  for (int i = 0; i < std::ssize(graph.inputs); ++i)
    fill_input(graph, i, executor.input(i, samples, true), row);
  HashSink sink;
  sink.add(executor.forward(samples, true, parameters.data(), ids, step));
  fill(executor.output_gradient(samples), 1);
  executor.backward(samples, parameters.data(), ids, step, sink);
  return sink.value();
}

uint64_t device_fingerprint(const model::Graph& graph, int64_t samples, std::span<const float> parameters,
                            DeviceState& device) {
  const ops::Engine& engine = device.engine();
  const std::vector<int64_t> sizes{samples}, ids = first_ids(samples);
  model::Executor executor(graph, 0, sizes, {}, *engine.arithmetic);
  const Buffer arena(engine.device(), parameters.size_bytes(), "parameters"),
      id_memory(engine.device(), ids.size() * sizeof(int64_t), "ids"),
      step_memory(engine.device(), sizeof step, "step");
  const auto upload = [&](auto values, void* to) { device.upload(std::as_bytes(values), to); };
  upload(parameters, arena.data());
  upload(std::span(ids), id_memory.data());
  upload(std::span(&step, 1), step_memory.data());
  std::vector<float> values;
  const float row = row_for(graph, parameters);
  for (int i = 0; i < std::ssize(graph.inputs); ++i) {
    values.resize(executor.input(i, samples, true).size());
    fill_input(graph, i, values, row);
    upload(std::span<const float>(values), executor.input(i, samples, true).data());
  }
  HashSink sink;
  FetchingSink fetching(device, sink);
  const model::UnitRun unit{&executor, samples, id_memory.as<const int64_t>(), &fetching};
  const float* on_device = arena.as<float>().data();
  const uint32_t* device_step = step_memory.as<uint32_t>().data();
  model::Executor::forward_together({&unit, 1}, true, on_device, device_step);
  sink.add(fetching.fetched(executor.scores(samples, true)));
  values.resize(executor.output_gradient(samples).size());
  fill(values, 1);
  upload(std::span<const float>(values), executor.output_gradient(samples).data());
  model::Executor::backward_together({&unit, 1}, on_device, device_step);
  return sink.value();
}

}  // namespace lepton::train
