// SPDX-License-Identifier: Apache-2.0
// The type in which products (Gemm, Conv) multiply. Parameters, activations, sums and the optimizer are
// float32 or wider whatever it is. Part of the arithmetic class.
#pragma once

namespace lepton::ops {

enum class Precision {
  /// float32 throughout.
  fp32,
  /// 10 bits of mantissa, on tensor cores; sums in float32. CUDA's alone.
  tf32,
  /// Operands rounded to bfloat16, sums in float32; convolutions on CUDA round their results, too. On CPUs
  /// that have instructions for it.
  bf16,
};

inline const char* precision_name(Precision precision) {
  return precision == Precision::fp32 ? "fp32" : precision == Precision::tf32 ? "tf32" : "bf16";
}

}  // namespace lepton::ops
