// SPDX-License-Identifier: Apache-2.0
// What the files of single operators give to the table (table.cpp): shape rules and makers, one pair per
// operator, and what they share. Shape rules throw Error(deck) with an empty `where`; makers may rely on
// them. Layouts: shapes of three dimensions [C, H, W] lie channels-last (H, W, C) in memory, all others as
// written.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "base/error.h"
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
Shape infer_pool(const OpSpec& spec);
std::unique_ptr<Op> make_max_pool(const OpSpec& spec);
std::unique_ptr<Op> make_average_pool(const OpSpec& spec);
Shape infer_global_pool(const OpSpec& spec);
std::unique_ptr<Op> make_global_pool(const OpSpec& spec);
Shape infer_batch_norm(const OpSpec& spec);
std::unique_ptr<Op> make_batch_norm(const OpSpec& spec);
Shape infer_layer_norm(const OpSpec& spec);
std::unique_ptr<Op> make_layer_norm(const OpSpec& spec);
Shape infer_dropout(const OpSpec& spec);
std::unique_ptr<Op> make_dropout(const OpSpec& spec);
Shape infer_flatten(const OpSpec& spec);
Shape infer_reshape(const OpSpec& spec);
std::unique_ptr<Op> make_reshape(const OpSpec& spec);
Shape infer_add(const OpSpec& spec);
std::unique_ptr<Op> make_add(const OpSpec& spec);
Shape infer_gather(const OpSpec& spec);
std::unique_ptr<Op> make_gather(const OpSpec& spec);
Shape infer_attention(const OpSpec& spec);
std::unique_ptr<Op> make_attention(const OpSpec& spec);
Shape infer_recurrent(const OpSpec& spec);
std::unique_ptr<Op> make_recurrent(const OpSpec& spec);

/// Refuses what a network or an ONNX file asks for and an operator does not have.
inline void require_shape(bool condition, const std::string& text) {
  REQUIRE(condition, Exit::deck, "", text, "");
}

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

/// A window that slides over an image: kernel, strides, pads and dilations from ONNX attributes, per axis (H,
/// W).
struct Window {
  int64_t kernel[2], stride[2], dilation[2], pad_begin[2], pad_end[2];
};
/// `kernel` is used where the attributes have no kernel_shape (empty: then it must be there). Throws
/// Error(deck).
Window parse_window(const OpSpec& spec, const std::vector<int64_t>& kernel);
/// Output height and width; `ceil_mode` counts a last, partly outside window. Throws Error(deck).
std::array<int64_t, 2> window_output(const OpSpec& spec, const Window& window, bool ceil_mode);

}  // namespace lepton::ops
