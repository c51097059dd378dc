// SPDX-License-Identifier: Apache-2.0
// The host's arithmetic: holds nothing, so that one serves all threads. Called by model's executor.
#include "ops/arithmetic.h"

#include "base/simd.h"
#include "ops/table.h"

namespace lepton::ops {

namespace {

// Elementwise, so the clones for different instruction sets give the same bits.
LEPTON_SIMD void add_in_place(float* __restrict into, const float* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) into[i] += from[i];
}

class HostArithmetic : public Arithmetic {
 public:
  Device device() const override { return {}; }
  std::unique_ptr<Op> make_op(const OpSpec& spec) override { return ops::make_op(spec); }
  void add(float* into, const float* from, int64_t count) override { add_in_place(into, from, count); }
  // x * 0 is 0 or -0 for finite x and NaN else; a sum of zeros stays zero. Vectorises, unlike a test per
  // element.
  bool all_finite(const float* values, int64_t count) override {
    float zero = 0;
    for (int64_t i = 0; i < count; ++i) zero += values[i] * 0.0F;
    return zero == 0.0F;
  }
};

}  // namespace

Arithmetic& host_arithmetic() {
  static HostArithmetic host;
  return host;
}

}  // namespace lepton::ops
