// SPDX-License-Identifier: Apache-2.0
// What the files of single operators give to the table (table.cpp): shape rules and makers, one pair per
// operator, and what they share. Shape rules throw Error(deck) with an empty `where`; makers may rely on
// them, and on their inputs lying as the table's rule of layouts says.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "ops/layouts.h"
#include "ops/op.h"

namespace lepton::ops {

Shape infer_same(const OpSpec& spec);  ///< the output is like input 0

Shape infer_activation(const OpSpec& spec);
std::unique_ptr<Op> make_activation(const OpSpec& spec);
Shape infer_prelu(const OpSpec& spec);
std::unique_ptr<Op> make_prelu(const OpSpec& spec);
Shape infer_softmax(const OpSpec& spec);
std::unique_ptr<Op> make_softmax(const OpSpec& spec);
Shape infer_matmul(const OpSpec& spec);
std::unique_ptr<Op> make_matmul(const OpSpec& spec);
Shape infer_conv(const OpSpec& spec);
std::unique_ptr<Op> make_conv(const OpSpec& spec);
Shape infer_conv_transpose(const OpSpec& spec);
std::unique_ptr<Op> make_conv_transpose(const OpSpec& spec);
Shape infer_pool(const OpSpec& spec);
std::unique_ptr<Op> make_max_pool(const OpSpec& spec);
std::unique_ptr<Op> make_average_pool(const OpSpec& spec);
Shape infer_global_pool(const OpSpec& spec);
std::unique_ptr<Op> make_global_average_pool(const OpSpec& spec);
std::unique_ptr<Op> make_global_max_pool(const OpSpec& spec);
Shape infer_batch_norm(const OpSpec& spec);
std::unique_ptr<Op> make_batch_norm(const OpSpec& spec);
Shape infer_layer_norm(const OpSpec& spec);
std::unique_ptr<Op> make_layer_norm(const OpSpec& spec);
Shape infer_dropout(const OpSpec& spec);
std::unique_ptr<Op> make_dropout(const OpSpec& spec);
Shape infer_flatten(const OpSpec& spec);
Shape infer_reshape(const OpSpec& spec);
std::unique_ptr<Op> make_reshape(const OpSpec& spec);
Shape infer_transpose(const OpSpec& spec);
std::unique_ptr<Op> make_transpose(const OpSpec& spec);
Shape infer_concat(const OpSpec& spec);
std::unique_ptr<Op> make_concat(const OpSpec& spec);
Shape infer_elementwise(const OpSpec& spec);
std::unique_ptr<Op> make_elementwise(const OpSpec& spec);
std::unique_ptr<Op> make_add(const OpSpec& spec);
Shape infer_expand(const OpSpec& spec);
std::unique_ptr<Op> make_expand(const OpSpec& spec);
Shape infer_reduce(const OpSpec& spec);
std::unique_ptr<Op> make_reduce(const OpSpec& spec);
Shape infer_squeeze(const OpSpec& spec);
Shape infer_unsqueeze(const OpSpec& spec);
Shape infer_remap(const OpSpec& spec);
std::unique_ptr<Op> make_remap(const OpSpec& spec);
Shape infer_product(const OpSpec& spec);
std::unique_ptr<Op> make_product(const OpSpec& spec);
Shape infer_group_norm(const OpSpec& spec);
std::unique_ptr<Op> make_group_norm(const OpSpec& spec);
Shape infer_gather(const OpSpec& spec);
std::unique_ptr<Op> make_gather(const OpSpec& spec);
Shape infer_sparse_product(const OpSpec& spec);
std::unique_ptr<Op> make_sparse_product(const OpSpec& spec);
Shape infer_attention(const OpSpec& spec);
std::unique_ptr<Op> make_attention(const OpSpec& spec);
Shape infer_recurrent(const OpSpec& spec);
std::unique_ptr<Op> make_recurrent(const OpSpec& spec);

/// Refuses what a network or an ONNX file asks for and an operator does not have.
inline void require_shape(bool condition, const std::string& text) {
  REQUIRE(condition, Exit::deck, "", text, "");
}

/// The axis that an attribute names, of a sample's dimensions and from 0 on; ONNX counts the batch dimension,
/// which is refused, and negative ones from the end.
int64_t sample_axis(const OpSpec& spec, const std::string& attribute, int64_t otherwise);
/// The same for a number at hand, among `rank` dimensions.
int64_t sample_axis_of(const OpSpec& spec, const std::string& attribute, int64_t axis, int64_t rank);

/// Layout of scratch or saved memory: parts in order, each aligned to 64 bytes.
class MemoryPlan {
 public:
  size_t add(size_t bytes) {
    const size_t offset = bytes_;
    bytes_ += (bytes + 63) / 64 * 64;
    return offset;
  }
  size_t add_floats(int64_t count) { return add(static_cast<size_t>(count) * sizeof(float)); }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

inline float* floats_at(std::byte* base, size_t offset) {
  return reinterpret_cast<float*>(base + offset);
}

constexpr size_t axes_max = 3;  ///< over which windows slide

/// A window that slides over what follows the channels of its input: kernel, strides, pads and dilations from
/// ONNX attributes, per axis, as many as the input has.
struct Window {
  size_t axes;
  int64_t kernel[axes_max], stride[axes_max], dilation[axes_max], pad_begin[axes_max], pad_end[axes_max];
  /// From the first to the last element of a window along an axis.
  int64_t reach(size_t axis) const { return (kernel[axis] - 1) * dilation[axis] + 1; }
};
/// The kernel's dimensions of weights.
std::vector<int64_t> kernel_of(const Shape& weights);
/// `kernel` is used where the attributes have no kernel_shape (empty: then it must be there). auto_pad is
/// resolved for the input's size. Throws Error(deck), also for inputs without axes or with too many.
Window parse_window(const OpSpec& spec, const std::vector<int64_t>& kernel);
/// Output sizes, per axis; `ceil_mode` counts a last, partly outside window. Throws Error(deck).
Shape window_output(const OpSpec& spec, const Window& window, bool ceil_mode);

}  // namespace lepton::ops
