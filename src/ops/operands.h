// SPDX-License-Identifier: Apache-2.0
// What the operators that multiply (matmul, conv) share: an operand in the order and type that a primitive
// wants, copied into scratch where that is not the caller's, and the bias gradient. Nothing is allocated in a
// run.
#pragma once

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

/// The bias gradient: sum[c] = sum over rows of z[r, c], rows in order.
void sum_rows(int64_t rows, int64_t columns, const float* z, float* sum);

}  // namespace lepton::ops
