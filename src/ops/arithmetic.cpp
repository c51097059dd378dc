// SPDX-License-Identifier: Apache-2.0
// The host's arithmetic: nothing of it changes, so that one of each precision serves all threads. Called by
// model's executor.
#include "ops/arithmetic.h"

#include "base/error.h"
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
  explicit HostArithmetic(Precision precision) : precision_(precision) {}
  Device device() const override { return {}; }
  std::unique_ptr<Op> make_op(const OpSpec& spec) override {
    OpSpec own = spec;
    own.precision = precision_;
    return ops::make_op(own);
  }
  void add(float* into, const float* from, int64_t count) override { add_in_place(into, from, count); }
  // x * 0 is 0 or -0 for finite x and NaN else; a sum of zeros stays zero. Vectorises, unlike a test per
  // element.
  bool all_finite(const float* values, int64_t count) override {
    float zero = 0;
    for (int64_t i = 0; i < count; ++i) zero += values[i] * 0.0F;
    return zero == 0.0F;
  }

 private:
  Precision precision_;
};

}  // namespace

Arithmetic& host_arithmetic(Precision precision) {
  static HostArithmetic fp32(Precision::fp32), bf16(Precision::bf16);
  CHECK(precision != Precision::tf32, "no CPU multiplies in tf32");
  return precision == Precision::bf16 ? bf16 : fp32;
}

}  // namespace lepton::ops
