// SPDX-License-Identifier: Apache-2.0
// What the operators that multiply (matmul, conv, recurrent) share: an operand in the order and type that a
// primitive wants, copied into scratch where that is not the caller's, and the bias gradient. Nothing is
// allocated in a run.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ops/onednn.h"
#include "ops/operators.h"

namespace lepton::ops {

/// In which operands are multiplied.
inline onednn::Type operand_type(Precision precision) {
  return precision == Precision::bf16 ? onednn::Type::bf16 : onednn::Type::f32;
}

/// An operand, or a weight gradient, which lies in one layout and type and is wanted in another.
class Packed {
 public:
  Packed() = default;
  static Packed operand(const onednn::Desc& own, const onednn::Desc& wanted) {
    return Packed(own, wanted, wanted);
  }
  static Packed result(const onednn::Desc& own, const onednn::Desc& wanted) {
    return Packed(wanted, own, wanted);
  }

  size_t scratchpad_bytes() const { return reorder_.scratchpad_bytes; }
  /// Takes its place in scratch, where it needs one.
  void place(MemoryPlan& memory) {
    if (reorder_.primitive) offset_ = memory.add(bytes_);
  }
  /// Where the wanted form lies: where the own one does, or in scratch; packed already or not.
  const void* where(const float* own, const std::byte* scratch) const {
    return reorder_.primitive ? static_cast<const void*>(scratch + offset_) : own;
  }
  /// Of an operand: makes the wanted form, and returns where it lies. `pad`: scratchpad.
  const void* pack(const float* own, std::byte* scratch, std::byte* pad) {
    if (reorder_.primitive) reorder_.primitive.run({own, scratch + offset_, pad});
    return where(own, scratch);
  }
  /// Of a result: where its wanted form is to be written.
  void* target(float* own, std::byte* scratch) const {
    return reorder_.primitive ? static_cast<void*>(scratch + offset_) : own;
  }
  /// Of a result that lies at target(): brings it to `own`.
  void unpack(float* own, const std::byte* scratch, std::byte* pad) {
    if (reorder_.primitive) reorder_.primitive.run({where(own, scratch), own, pad});
  }

 private:
  Packed(const onednn::Desc& from, const onednn::Desc& to, const onednn::Desc& wanted)
      : reorder_(onednn::reorder(from, to)), bytes_(onednn::bytes(wanted)) {}

  onednn::Reorder reorder_;
  size_t bytes_ = 0, offset_ = 0;
};

/// to[rows, columns] = from[rows, inner] M[inner, columns] (+ bias), M being brought into the order that
/// oneDNN likes once for all runs of a direction.
class PackedProduct {
 public:
  PackedProduct() = default;
  /// `from_row`: elements from one row of `from` to the next. M lies as [inner, columns] or `turned`.
  PackedProduct(int64_t rows, int64_t inner, int64_t columns, int64_t from_row, bool turned,
                bool bias = false)
      : bias_(bias) {
    const onednn::Dims dims = {inner, columns};
    product_ =
        onednn::matmul(onednn::strided({rows, inner}, {from_row, 1}), onednn::desc(dims, onednn::Tag::any),
                       bias ? onednn::desc({1, columns}, onednn::Tag::ab) : onednn::Desc(),
                       onednn::desc({rows, columns}, onednn::Tag::ab), {});
    const auto own = turned ? onednn::strided(dims, {1, inner}) : onednn::desc(dims, onednn::Tag::ab);
    packed_ = Packed::operand(own, product_.weights);
  }

  explicit operator bool() const { return static_cast<bool>(product_.primitive); }
  size_t scratchpad_bytes() const { return std::max(product_.scratchpad_bytes, packed_.scratchpad_bytes()); }
  void place(MemoryPlan& memory) { packed_.place(memory); }
  void pack(const float* matrix, std::byte* scratch, std::byte* pad) {
    matrix_ = packed_.pack(matrix, scratch, pad);
  }
  void run(const float* from, float* to, std::byte* pad, const float* bias = nullptr) {
    if (bias_)
      product_.primitive.run({from, matrix_, to, pad, bias});
    else
      product_.primitive.run({from, matrix_, to, pad});
  }

 private:
  bool bias_ = false;
  onednn::Planned product_;
  Packed packed_;
  const void* matrix_ = nullptr;  ///< since pack()
};

/// The bias gradient: sum[c] = sum over rows of z[r, c], rows in order.
void sum_rows(int64_t rows, int64_t columns, const float* z, float* sum);

}  // namespace lepton::ops
