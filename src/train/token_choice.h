// SPDX-License-Identifier: Apache-2.0
// TokenChoice: which token follows, by its scores. A pure function of (scores, seed, number of the draw).
// Called by generate.
#pragma once

#include <cstdint>
#include <span>

namespace lepton::train {

struct TokenChoice {
  double temperature = 1;  ///< divides scores; 0: the largest score wins (the first of equal ones)
  int64_t top_k = 0;       ///< draws among so many of the largest only; 0: among all
  uint64_t seed = 1;

  /// Draw `number`. With p_i proportional to e^(score_i / temperature).
  int64_t choose(std::span<const float> scores, uint64_t number) const;
};

}  // namespace lepton::train
