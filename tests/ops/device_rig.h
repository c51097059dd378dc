// SPDX-License-Identifier: Apache-2.0
// An engine with memory for tests: arrays go up and come down through pinned memory; an op of it with memory
// for one unit. What holds for every device is tested on the debug device and on CUDA's ("cuda" in the
// test's name), where it is skipped, visibly, if there is none.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "ops/cuda_module.h"
#include "ops/debug_engine.h"
#include "ops/harness.h"
#include "tensor/buffer.h"

namespace lepton::ops::testing {

/// An engine, and memory on it that lives until clear().
class Rig {
 public:
  explicit Rig(uint64_t seed = 1) : engine(open_debug_engine(size_t{64} << 20, seed)) { prepare_thread(); }
  explicit Rig(const std::string& device, Precision precision = Precision::fp32)
      : engine(device == "cuda" ? cuda_module()->open(0, precision)
                                : open_debug_engine(size_t{64} << 20, 1, precision)) {
    prepare_thread();
  }

  /// Poisoned with 0xff. Null for nothing.
  template <class T = float>
  T* room(int64_t count, MemoryKind kind = MemoryKind::device) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    T* const memory = keep<T>(bytes, kind);
    std::byte* const pinned = kind == MemoryKind::pinned ? reinterpret_cast<std::byte*>(memory)
                                                         : keep<std::byte>(bytes, MemoryKind::pinned);
    if (bytes == 0) return memory;
    std::memset(pinned, 0xff, bytes);
    if (kind == MemoryKind::device) engine.queue->copy(memory, pinned, bytes);
    return memory;
  }
  template <class T>
  void write(T* to, const std::vector<T>& values) {
    T* const pinned = room<T>(std::ssize(values), MemoryKind::pinned);
    std::copy(values.begin(), values.end(), pinned);
    engine.queue->copy(to, pinned, values.size() * sizeof(T));
  }
  template <class T>
  T* up(const std::vector<T>& values) {
    T* const to = room<T>(std::ssize(values));
    write(to, values);
    return to;
  }
  template <class T>
  std::vector<T> down(const T* from, int64_t count) {
    T* const pinned = room<T>(count, MemoryKind::pinned);
    engine.queue->copy(pinned, from, static_cast<size_t>(count) * sizeof(T));
    engine.queue->synchronize();
    return {pinned, pinned + count};
  }

  /// Ends the life of all rooms: the debug device opens and closes every one of them for every task.
  void clear() {
    engine.queue->synchronize();
    kept_.clear();
  }

  Engine engine;

 private:
  template <class T>
  T* keep(size_t bytes, MemoryKind kind) {
    kept_.emplace_back(engine.device(), bytes, "test", kind);
    return kept_.back().as<T>().data();
  }
  std::deque<Buffer> kept_;
};

/// An op of the engine with memory for one unit, as testing::run_op has it on the host.
class DeviceRun {
 public:
  DeviceRun(Rig& rig, const OpSpec& spec)
      : rig_(rig),
        spec_(spec),
        op_(rig.engine.arithmetic->make_op(spec)),
        own_(spec.parameters.size() - static_cast<size_t>(find_operator(spec.type)->statistics)) {
    for (size_t i = 0; i < spec.inputs.size(); ++i) {
      const int64_t count = spec.samples * element_count(spec.inputs[i]);
      inputs_.push_back(rig.room(count));
      const bool needed = spec.training && spec.input_needs_gradient[i];
      input_gradients_.push_back(needed ? rig.room(count) : nullptr);
    }
    for (size_t i = 0; i < spec.parameters.size(); ++i) {
      parameters_.push_back(rig.room(element_count(spec.parameters[i])));
      parameter_gradients_.push_back(i < own_ ? rig.room(element_count(spec.parameters[i])) : nullptr);
      if (i >= own_ && spec.training) statistics_.push_back(rig.room(element_count(spec.parameters[i])));
    }
    output_ = rig.room(outputs());
    output_gradient_ = rig.room(outputs());
    ids_ = rig.room<int64_t>(spec.samples);
    step_ = rig.room<uint32_t>(1);
    saved_ = rig.room<std::byte>(static_cast<int64_t>(op_->saved_bytes()));
    scratch_ = rig.room<std::byte>(static_cast<int64_t>(op_->scratch_bytes()));
    if (op_->gradient_parts().count > 1) gathered_ = rig.room(element_count(spec.parameters[0]));
  }

  void upload(const Operands& operands) {
    for (size_t i = 0; i < inputs_.size(); ++i) rig_.write(inputs_[i], operands.inputs[i]);
    for (size_t i = 0; i < parameters_.size(); ++i) rig_.write(parameters_[i], operands.parameters[i]);
    rig_.write(output_gradient_, operands.output_gradient);
    rig_.write(ids_, operands.sample_ids);
    rig_.write(step_, std::vector<uint32_t>{operands.step});
  }

  void enqueue() {
    const std::vector<const float*> inputs(inputs_.begin(), inputs_.end()), nothing(inputs.size(), nullptr),
        parameters(parameters_.begin(), parameters_.end());
    const UnitContext unit{{ids_, static_cast<size_t>(spec_.samples)}, step_};
    op_->forward({inputs, parameters, output_, statistics_, saved_, scratch_, &unit});
    if (!spec_.training) return;
    const BackwardNeeds needs = op_->backward_needs();
    const OpBackward run{needs.inputs ? inputs : nothing,
                         parameters,
                         needs.output ? output_ : nullptr,
                         output_gradient_,
                         input_gradients_,
                         parameter_gradients_,
                         saved_,
                         scratch_,
                         &unit};
    op_->backward(run);
    const GradientParts parts = op_->gradient_parts();
    for (int64_t part = 0; gathered_ && part < parts.count; ++part) {
      op_->backward_part(run, part);
      const int64_t begin = part * parts.elements,
                    count = std::min(parts.elements, element_count(spec_.parameters[0]) - begin);
      rig_.engine.queue->copy(gathered_ + begin, parameter_gradients_[0],
                              static_cast<size_t>(count) * sizeof(float));
    }
  }

  Results results() {
    Results results;
    results.output = rig_.down(output_, outputs());
    for (size_t i = 0; i < statistics_.size(); ++i)
      results.statistics.push_back(rig_.down(statistics_[i], element_count(spec_.parameters[own_ + i])));
    for (size_t i = 0; spec_.training && i < inputs_.size(); ++i)
      if (input_gradients_[i])
        results.input_gradients.push_back(
            rig_.down(input_gradients_[i], spec_.samples * element_count(spec_.inputs[i])));
    for (size_t i = 0; spec_.training && i < own_; ++i)
      results.parameter_gradients.push_back(rig_.down(
          i == 0 && gathered_ ? gathered_ : parameter_gradients_[i], element_count(spec_.parameters[i])));
    return results;
  }

 private:
  int64_t outputs() const { return spec_.samples * element_count(spec_.output); }

  Rig& rig_;
  OpSpec spec_;
  std::unique_ptr<Op> op_;
  size_t own_;  // parameters that are not statistics
  std::vector<float*> inputs_, parameters_, statistics_, input_gradients_, parameter_gradients_;
  float *output_ = nullptr, *output_gradient_ = nullptr, *gathered_ = nullptr;
  int64_t* ids_ = nullptr;
  uint32_t* step_ = nullptr;
  std::byte *saved_ = nullptr, *scratch_ = nullptr;
};

/// Base of the tests of every device.
class OnDevice : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string absence;
    if (GetParam() == "cuda" && cuda_devices(absence).empty()) GTEST_SKIP() << "no CUDA device: " << absence;
  }
};
inline std::string device_name(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}
inline auto every_device() {
  return ::testing::Values("debug", "cuda");
}

/// Equal bytes: NaN equals itself, and 0 is not -0.
template <class T>
void expect_bits(const std::vector<T>& got, const std::vector<T>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_EQ(std::memcmp(&got[i], &want[i], sizeof(T)), 0) << what << ", element " << i;
}

}  // namespace lepton::ops::testing
