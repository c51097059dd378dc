// SPDX-License-Identifier: Apache-2.0
// Constant: a tensor that an ONNX file holds or that follows from its shapes: numbers in float32, or
// integers, each of which may be a multiple of the batch size, which is not known. What trains (initializers)
// and what does not are both constants until an operator takes them. Read from messages here, computed by
// fold, used by the importer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onnx/messages.h"
#include "tensor/shape.h"

namespace lepton::onnx {

/// `number`, or that many times the batch size.
struct Count {
  int64_t number = 0;
  bool of_batch = false;
  bool operator==(const Count&) const = default;
};

struct Constant {
  Shape shape;  ///< {}: one number
  bool floating = false;
  std::vector<float> floats;    ///< of these two the one that `floating` says
  std::vector<Count> integers;  ///< types of integers and truth values
  std::string origin = "";      ///< the initializer whose elements these are; "": none
  /// Which of the initializer's elements each one is; empty: the same, in the same order.
  std::vector<int32_t> sources = {};
  std::vector<std::string> joined = {};  ///< initializers that are joined here, and nothing else
  bool open = false;                     ///< a shape alone: the file gives a name and no values
  int64_t batch_axis = -1;  ///< this dimension, of 1, stands for the samples, for which it is repeated

  /// Plain integers; throws Error(deck) for numbers of the other kind or that depend on the batch.
  std::vector<int64_t> numbers() const;
  int64_t elements() const { return element_count(shape); }
};

Constant integer_constant(Shape shape, std::vector<Count> values);
Constant float_constant(Shape shape, std::vector<float> values);

/// Of TensorProto's types those of floating numbers.
bool is_floating_type(int64_t type);
/// To float32, or to integers towards 0. Throws Error(deck) for numbers that these cannot hold.
Constant cast(const Constant& constant, bool floating);

/// Throws Error(deck), with an empty `where`, for types that no network needs and for sizes that contradict
/// each other.
Constant read_tensor(const messages::TensorProto& tensor);
void write_floats(const std::string& name, const Shape& shape, const float* values,
                  messages::TensorProto& tensor);
void write_integers(const std::string& name, const Shape& shape, const std::vector<int64_t>& values,
                    messages::TensorProto& tensor);

}  // namespace lepton::onnx
