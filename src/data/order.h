// SPDX-License-Identifier: Apache-2.0
// Order: the permutation of an epoch as a function of (seed, epoch, N), evaluated per index in O(1) memory: a
// Feistel network over the next power of four with cycle walking (Black and Rogaway 2002, "Ciphers with
// arbitrary finite domains"). Every sample is used exactly once per epoch. `window`: blocks of consecutive
// samples are permuted, then samples within windows of whole blocks. A mathematical key: it never depends on
// ranks or memory.
#pragma once

#include <cstdint>
#include <utility>

#include "data/spec.h"

namespace lepton::data {

/// A keyed bijection of [0, n).
class Permutation {
 public:
  Permutation(uint64_t key, int64_t n);
  int64_t operator()(int64_t index) const;
  int64_t inverse(int64_t image) const;
  int64_t size() const { return n_; }

 private:
  uint64_t key_;
  int64_t n_;
  int half_bits_;
};

class EpochOrder {
 public:
  EpochOrder(Shuffle shuffle, uint64_t seed, int64_t samples, int64_t window, int64_t block);
  /// The sample id at `position` of `epoch`, both from 0.
  int64_t sample(int64_t epoch, int64_t position) const;
  int64_t samples() const { return samples_; }

 private:
  int64_t window_sample(int64_t epoch, int64_t position) const;

  Shuffle shuffle_;
  uint64_t seed_;
  int64_t samples_, block_, blocks_, window_blocks_;
};

}  // namespace lepton::data
