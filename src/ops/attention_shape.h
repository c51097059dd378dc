// SPDX-License-Identifier: Apache-2.0
// What an Attention op's operands are, read off its specification, once for host and CUDA. ONNX Attention
// (opset 23) with inputs of rank 3: Q [T, H d], K [S, K d], V [S, K e] per sample, H heads of queries, K of
// keys and values (a key head serves H / K query heads), output [T, H e]; or all three side by side in one
// input [T, (H + K) d + K e], as one dense layer gives them. Behind either may come one more, in float32:
// A length for each sample, [1]. Behind Q, K and V it is ONNX's nonpad_kv_seqlen (opset 24): keys at or
// behind it get no weight, queries are what they are; not with is_causal, whose triangle ONNX then lays at
// the end of the keys. Behind one input it is the length of that sequence: its rows at or behind it are no
// queries either, they give 0 and get no gradient.
// A mask for each sample, [S] (of one key: a length, which says the same of 0 and 1): keys where it is 0 get
// no weight, queries are what they are. It is what ONNX's attn_mask of bool says, once for all queries.
// Where no key is left the output is 0. Called by attention.cpp and kernels/attention.cu.
#pragma once

#include <cstdint>

#include "ops/op.h"
#include "ops/sequence_length.h"

namespace lepton::ops {

struct AttentionShape {
  /// Throws Error(deck) with an empty `where`.
  explicit AttentionShape(const OpSpec& spec);

  bool packed = false;   ///< one input
  bool lengths = false;  ///< the last input
  bool mask = false;     ///< the last input
  bool causal = false;   ///< query i attends to keys 0 .. i
  int64_t queries = 0, keys = 0;
  int64_t heads = 0, key_heads = 0;
  int64_t size = 0, value_size = 0;  ///< of a head: d and e
  float scale = 0;                   ///< of the scores; default 1 / sqrt(d)
  /// Where Q, K and V begin in a row of their input, and the elements of such a row.
  int64_t begin[3] = {}, row[3] = {};
  int64_t heads_per_key() const { return heads / key_heads; }
  /// Of a sample of the given length.
  LEPTON_HD int64_t keys_of(float length) const { return sequence_length(length, keys); }
  LEPTON_HD int64_t queries_of(float length) const {
    const int64_t seen = keys_of(length);
    return packed || seen == 0 ? seen : queries;
  }
};

}  // namespace lepton::ops
