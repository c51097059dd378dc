// SPDX-License-Identifier: Apache-2.0
// What the files of single operators give to the CUDA engine: one maker per row of src/ops/table.cpp. The
// context outlives the op. Specs have passed the host's shape rules.
#pragma once

#include <memory>

#include "kernels/context.h"
#include "ops/activation.h"
#include "ops/op.h"

namespace lepton::cuda {

std::unique_ptr<ops::Op> make_matmul(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_conv(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_max_pool(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_average_pool(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_global_average_pool(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_global_max_pool(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_volume_conv(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_conv_transpose(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_transpose(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_concat(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_batch_norm(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_layer_norm(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_dropout(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_reshape(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_activation(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_prelu(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_softmax(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_add(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_elementwise(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_expand(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_reduce(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_remap(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_product(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_group_norm(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_gather(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_sparse_product(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_attention(const Context&, const ops::OpSpec&);
std::unique_ptr<ops::Op> make_recurrent(const Context&, const ops::OpSpec&);

// Shared by several operators.

/// y = f(x), elementwise; y may be x.
void activate(const Context&, const ops::Activation&, int64_t count, const float* x, float* y);
/// As ops::activation_gradient.
void activation_gradient(const Context&, const ops::Activation&, int64_t count, const float* x,
                         const float* y, const float* dy, float* dx);
/// into += from
void add(const Context&, float* into, const float* from, int64_t count);
/// sum[c] = sum over rows of z[r, c] in an order that depends on (rows, columns) alone; `scratch` has
/// sum_rows_scratch_bytes. For bias gradients.
size_t sum_rows_scratch_bytes(int64_t rows, int64_t columns);
void sum_rows(const Context&, int64_t rows, int64_t columns, const float* z, std::byte* scratch, float* sum);

}  // namespace lepton::cuda
