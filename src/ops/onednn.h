// SPDX-License-Identifier: Apache-2.0
// The boundary to oneDNN: the only file that knows whether it speaks to 2.x or 3.x. One CPU engine, one
// stream per thread, scratchpads owned by the caller. A Primitive binds its memory descriptors once; a run
// only sets pointers that changed, so that nothing of ours is allocated in it. Invariants: every primitive is
// made and run with one OpenMP thread (prepare_compute_thread). Called by matmul, conv and table.
#pragma once

#include <cstdint>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <span>
#include <vector>

#include "ops/activation.h"

namespace lepton::ops::onednn {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using Tag = dnnl::memory::format_tag;

/// The type of an operand's elements.
enum class Type { f32, bf16 };
size_t bytes(Type type);

Desc desc(const Dims& dims, Tag tag, Type type = Type::f32);
Desc strided(const Dims& dims, const Dims& strides, Type type = Type::f32);
size_t bytes(const Desc& desc);
/// Of images {n, c, h, w} and volumes {n, c, d, h, w}.
Tag channels_last(const Dims& dims);

/// A primitive with its arguments' descriptors in a fixed order (the scratchpad is one of them).
class Primitive {
 public:
  Primitive();
  Primitive(const dnnl::primitive& primitive, const std::vector<std::pair<int, Desc>>& arguments);
  ~Primitive();
  Primitive(Primitive&&) noexcept;
  Primitive& operator=(Primitive&&) noexcept;
  explicit operator bool() const { return impl_ != nullptr; }
  /// Runs on this thread's stream and waits. pointers: one per argument, in the constructor's order.
  void run(std::initializer_list<const void*> pointers);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What it takes to plan a convolution. Images lie channels last, weights as oneDNN likes
/// them.
struct Convolution {
  Dims source, weights, destination;
  bool bias = false;
  Dims strides, dilations, pads_begin, pads_end;
  Activation activation;
  Type operands = Type::f32;  ///< of the two that are multiplied; sums, results and bias are float32
};

/// A planned primitive and the layout that oneDNN chose for the weights, where it was left to choose.
struct Planned {
  Primitive primitive;
  Desc weights;
  size_t scratchpad_bytes = 0;
};

/// Arguments: source, weights, destination, scratchpad [, bias].
Planned matmul(const Desc& source, const Desc& weights, const Desc& bias, const Desc& destination,
               const Activation& activation);
/// Arguments: source, weights, destination, scratchpad [, bias].
Planned convolution_forward(const Convolution& convolution, bool training);
/// Arguments: source gradient, weights, destination gradient, scratchpad.
Planned convolution_backward_data(const Convolution& convolution);
/// Arguments: source, weight gradient, destination gradient, scratchpad [, bias gradient].
Planned convolution_backward_weights(const Convolution& convolution);
/// Copies between layouts and types (to bf16: rounded to the nearest, ties to even); arguments: from, to,
/// scratchpad. Empty when the two are equal.
struct Reorder {
  Primitive primitive;
  size_t scratchpad_bytes = 0;
};
Reorder reorder(const Desc& from, const Desc& to);

}  // namespace lepton::ops::onednn
