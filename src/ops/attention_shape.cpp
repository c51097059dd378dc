// SPDX-License-Identifier: Apache-2.0
// Reading an Attention op's specification; see the header. Part of the CUDA module too.
#include "ops/attention_shape.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "ops/operators.h"

namespace lepton::ops {

AttentionShape::AttentionShape(const OpSpec& spec) {
  heads = int_attribute(spec.attributes, "q_num_heads", 1);
  key_heads = int_attribute(spec.attributes, "kv_num_heads", heads);
  causal = int_attribute(spec.attributes, "is_causal", 0) != 0;
  packed = spec.inputs.size() <= 2;
  require_shape(heads >= 1 && key_heads >= 1 && heads % key_heads == 0,
                "Attention of " + std::to_string(heads) + " heads of queries and " +
                    std::to_string(key_heads) + " of keys: the latter must divide the former");
  for (size_t i = 0; i < (packed ? 1 : 3); ++i)
    require_shape(spec.inputs[i].size() == 2,
                  "Attention needs sequences [T, F], not " + shape_text(spec.inputs[i]));
  queries = spec.inputs[0][0];
  keys = packed ? queries : spec.inputs[1][0];
  if (spec.inputs.size() % 2 == 0) {
    lengths = spec.inputs.back() == Shape{1};
    mask = !lengths && spec.inputs.back() == Shape{keys};
    require_shape(
        lengths || mask,
        "Attention takes Q, K and V, or one input that holds all three, and behind them one length per "
        "sample, [1], or a mask of the keys, " +
            shape_text({keys}) + ", not " + shape_text(spec.inputs.back()));
  }
  const auto head_size = [&](int64_t width, int64_t count) {
    require_shape(width % count == 0, "Attention cannot cut rows of " + std::to_string(width) + " into " +
                                          std::to_string(count) + " heads");
    return width / count;
  };
  if (packed) {
    size = value_size = head_size(spec.inputs[0][1], heads + 2 * key_heads);
    std::fill(row, row + 3, spec.inputs[0][1]);
    begin[1] = heads * size;
    begin[2] = begin[1] + key_heads * size;
  } else {
    for (size_t i = 0; i < 3; ++i) row[i] = spec.inputs[i][1];
    size = head_size(row[0], heads);
    value_size = head_size(row[2], key_heads);
    require_shape(spec.inputs[1][0] == spec.inputs[2][0] && head_size(row[1], key_heads) == size,
                  "Attention of Q " + shape_text(spec.inputs[0]) + ", K " + shape_text(spec.inputs[1]) +
                      " and V " + shape_text(spec.inputs[2]) + " with " + std::to_string(heads) +
                      " heads: they do not fit");
  }
  require_shape(!causal || queries == keys, "causal Attention needs as many queries as keys");
  require_shape(!causal || packed || !lengths,
                "causal Attention of Q, K and V is computed without lengths only");
  scale = static_cast<float>(
      float_attribute(spec.attributes, "scale", 1.0 / std::sqrt(static_cast<double>(size))));
}

}  // namespace lepton::ops
