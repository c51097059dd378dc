// SPDX-License-Identifier: Apache-2.0
// Runs one operator as the executor would and compares it with a plain reference in double: forward values,
// and gradients against central differences of the reference. All memory is poisoned with NaN before every
// run and guarded behind its end, and what an op did not ask for is null, so that the contracts of op.h are
// tested with every case: `=` semantics, scratch without memory, backward_needs. Used by all tests of
// operators.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "base/error.h"
#include "ops/table.h"

namespace lepton::ops::testing {

using Numbers = std::vector<double>;
using Floats = std::vector<float>;
/// The whole unit's output (memory order) from its inputs (memory order) and parameters (ONNX order).
using Reference =
    std::function<Numbers(const std::vector<Numbers>& inputs, const std::vector<Numbers>& parameters)>;

Floats random_floats(int64_t count, uint32_t seed, float low = -1, float high = 1);

/// The cap holds for the process, so the first test that asks decides. Whose tests ctest runs, has a process
/// for each.
Precision capped_for(Precision wanted);

/// What a compute thread does before it plans.
void prepare_thread();

Numbers widen(const Floats& values);

/// Memory of a given size, aligned, poisoned, with a guard that check() inspects.
class Poisoned {
 public:
  explicit Poisoned(size_t bytes) : bytes_(bytes), memory_(bytes + 128, std::byte{0xff}) {}
  std::byte* data() {
    const size_t address = reinterpret_cast<size_t>(memory_.data());
    return memory_.data() + (64 - address % 64) % 64;
  }
  float* floats() { return reinterpret_cast<float*>(data()); }
  bool guard_intact() {
    for (const std::byte* p = data() + bytes_; p < memory_.data() + memory_.size(); ++p)
      if (*p != std::byte{0xff}) return false;
    return true;
  }

 private:
  size_t bytes_;
  std::vector<std::byte> memory_;
};

struct Operands {
  std::vector<Floats> inputs, parameters;
  Floats output_gradient;
  std::vector<int64_t> sample_ids;
  uint32_t step = 3;
};

struct Results {
  Floats output;
  std::vector<Floats> statistics, input_gradients, parameter_gradients;
};

/// Fills spec.output by the table's shape rule, and what a test left open.
OpSpec completed(OpSpec spec);

Operands random_operands(const OpSpec& spec, uint32_t seed = 1);

/// A forward, and in training a backward, on fresh poisoned memory.
Results run_op(Op& op, const OpSpec& spec, const Operands& operands);

Results run_op(const OpSpec& spec, const Operands& operands);

/// |got - want| <= tolerance * the largest |want| (at least 1e-3), for every element; NaN never is near.
void expect_near(const Floats& got, const Numbers& want, double tolerance, const char* what);

/// Derivatives of sum(output_gradient * reference) with respect to `values` by central differences.
Numbers differences(Numbers& values, const std::function<double()>& objective, double step = 1e-6);

/// Forward against the reference; in training all gradients against its differences; repeated runs to the
/// bit.
void check_op(const OpSpec& open, const Reference& reference, double tolerance = 2e-6,
              const Operands* given = nullptr);

/// Infers the shape and expects a refusal as Error(deck) whose text holds `part`.
void expect_refused(const OpSpec& spec, const std::string& part);

}  // namespace lepton::ops::testing
