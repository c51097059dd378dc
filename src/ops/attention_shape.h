// SPDX-License-Identifier: Apache-2.0
// What an Attention op's operands are, read off its specification, once for host and CUDA. ONNX Attention
// (opset 23) with inputs of rank 3: Q [T, H d], K [S, K d], V [S, K e] per sample, H heads of queries, K of
// keys and values (a key head serves H / K query heads), output [T, H e]; or all three side by side in one
// input [T, (H + K) d + K e], as one dense layer gives them. Called by attention.cpp and
// kernels/attention.cu.
#pragma once

#include <cstdint>

#include "ops/op.h"

namespace lepton::ops {

struct AttentionShape {
  /// Throws Error(deck) with an empty `where`.
  explicit AttentionShape(const OpSpec& spec);

  bool packed = false;  ///< one input
  bool causal = false;  ///< query i attends to keys 0 .. i
  int64_t queries = 0, keys = 0;
  int64_t heads = 0, key_heads = 0;
  int64_t size = 0, value_size = 0;  ///< of a head: d and e
  float scale = 0;                   ///< of the scores; default 1 / sqrt(d)
  /// Where Q, K and V begin in a row of their input, and the elements of such a row.
  int64_t begin[3] = {}, row[3] = {};
  int64_t heads_per_key() const { return heads / key_heads; }
};

}  // namespace lepton::ops
