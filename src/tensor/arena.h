// SPDX-License-Identifier: Apache-2.0
// ArenaLayout: where every parameter and running statistic lies in one contiguous float32 array. The same
// layout serves parameters, moments (float32) and the gradient accumulator (int64), so that "element i" means
// the same everywhere. Invariants: tensors in graph order, parameters first, statistics behind them; each
// starts at a multiple of 16 elements; padding is zero for ever. The arena is cut into fixed blocks of
// `block_elements`, the grain of locks, checksums, norms, slices and hashes; a block may hold several
// tensors, hence segments: the non-empty intersections of blocks and tensors, in order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/shape.h"

namespace lepton {

constexpr int64_t block_elements = 4096;

enum class TensorRole { parameter, statistic };

struct ArenaTensor {
  std::string name;  ///< "dense_1.weight", as in safetensors and ONNX
  Shape shape;       ///< as stored: ONNX order, row-major
  TensorRole role = TensorRole::parameter;
  bool decays = false;  ///< L2 and weight decay apply (weights, not biases or normalisation parameters)
  double l2 = 0;        ///< the layer's own L2 factor: adds l2 * w to the mean gradient
  bool frozen = false;  ///< keeps its values: has no gradient, and no update touches it
  int64_t offset = 0;   ///< first element in the arena
  int64_t count = 0;
};

struct Segment {
  int tensor = 0;
  int64_t begin = 0, end = 0;  ///< arena elements; lies within one block
};

class ArenaLayout {
 public:
  /// Appends a tensor; statistics must come after all parameters. Returns its index.
  int add(std::string name, Shape shape, TensorRole role, bool decays, double l2 = 0, bool frozen = false);
  /// Builds the segments; no add() afterwards.
  void finish();

  const std::vector<ArenaTensor>& tensors() const { return tensors_; }
  int64_t elements() const { return elements_; }  ///< padding included
  int64_t parameter_count() const;                ///< without padding and statistics
  int64_t blocks() const { return (elements_ + block_elements - 1) / block_elements; }
  /// Segments of block b are [segment_begin(b), segment_begin(b + 1)).
  const std::vector<Segment>& segments() const { return segments_; }
  int64_t segment_begin(int64_t block) const { return segment_begin_[block]; }

 private:
  std::vector<ArenaTensor> tensors_;
  std::vector<Segment> segments_;
  std::vector<int64_t> segment_begin_;
  int64_t elements_ = 0;
};

}  // namespace lepton
