// SPDX-License-Identifier: Apache-2.0
// What ONNX's inputs are to Lepton's operators: most are values or parameters; some, listed here, are numbers
// that Lepton has as attributes, by the name of the input. One table serves import and export.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/op.h"

namespace lepton::onnx {

/// Input number `input` of an operator is its attribute `name`, as an input since this opset.
struct AttributeSlot {
  std::string type;
  int input;
  std::string name;
  enum class Kind { integer, integers, number } kind;
  int64_t since = 1;
};
const std::vector<AttributeSlot>& attribute_slots();
const AttributeSlot* find_slot(const std::string& type, int input);

/// Whether input number `input` of an operator holds what is learned or measured, if not a value of the
/// network: weights, biases, scales, tables.
bool is_parameter_slot(const std::string& type, int input);
bool is_product(const std::string& type);          ///< with weights for its input 1
bool is_bias(const std::string& type, int input);  ///< of a product
/// Which of an operator's values in Lepton are lengths (of an Attention: or a mask), of so many; 0: none.
size_t place_of_lengths(const std::string& type, size_t values);

/// Since which opset ONNX has the operator (1: longer than it matters here).
int64_t operator_since(const std::string& type);

/// A float as the shortest decimal number that means it, in double: 0.1F as 0.1, which is what decks say.
double shortest(float value);

}  // namespace lepton::onnx
