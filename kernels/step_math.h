// SPDX-License-Identifier: Apache-2.0
// The CUDA twins of what a training step needs beside ops (src/ops/step_math.h has their meaning). One file
// each: loss.cu, quantise.cu, update.cu (verify and update), parameters_hash.cu, add_sums.cu.
#pragma once

#include "kernels/context.h"
#include "ops/step_math.h"

namespace lepton::cuda {

void loss(const Context&, const ops::LossRun&);
void quantise_add(const Context&, const ops::QuantiseRun&);
void verify(const Context&, const ops::VerifyRun&);
void update(const Context&, const ops::UpdateRun&);
void hash_blocks(const Context&, const float* arena, int64_t elements, int64_t first_block, int64_t end_block,
                 uint64_t* hashes);
void add_sums(const Context&, int64_t* sums, const int64_t* more, int64_t count);

}  // namespace lepton::cuda
