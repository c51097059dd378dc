// SPDX-License-Identifier: Apache-2.0
// The geometry of a Concat: of each input, runs of elements that go one behind the other into those of the
// output. Shared with the CUDA twin.
#pragma once

#include <vector>

#include "ops/operators.h"

namespace lepton::ops {

struct ConcatShape {
  int64_t rows = 0;             ///< of the output, each made of one run of each input
  int64_t width = 0;            ///< of such a row
  std::vector<int64_t> widths;  ///< of the inputs' runs
  explicit ConcatShape(const OpSpec& spec);
};

}  // namespace lepton::ops
