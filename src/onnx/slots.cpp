// SPDX-License-Identifier: Apache-2.0
// The tables of inputs; see the header.
#include "onnx/slots.h"

#include <array>
#include <charconv>
#include <map>
#include <set>

namespace lepton::onnx {

const std::vector<AttributeSlot>& attribute_slots() {
  using enum AttributeSlot::Kind;
  static const std::vector<AttributeSlot> table = {
      {"Clip", 1, "min", number},
      {"Clip", 2, "max", number},
      {"Dropout", 1, "ratio", number},
      {"Dropout", 2, "training_mode", integer},
      {"Expand", 1, "shape", integers},
      {"Pad", 1, "pads", integers},
      {"Pad", 2, "constant_value", number},
      {"Pad", 3, "axes", integers},
      {"ReduceL2", 1, "axes", integers, 18},
      {"ReduceMax", 1, "axes", integers, 18},
      {"ReduceMean", 1, "axes", integers, 18},
      {"ReduceMin", 1, "axes", integers, 18},
      {"ReduceSum", 1, "axes", integers},
      {"Reshape", 1, "shape", integers},
      {"Slice", 1, "starts", integers},
      {"Slice", 2, "ends", integers},
      {"Slice", 3, "axes", integers},
      {"Slice", 4, "steps", integers},
      {"Split", 1, "split", integers},
      {"Squeeze", 1, "axes", integers},
      {"Unsqueeze", 1, "axes", integers},
  };
  return table;
}

const AttributeSlot* find_slot(const std::string& type, int input) {
  for (const AttributeSlot& slot : attribute_slots())
    if (slot.type == type && slot.input == input) return &slot;
  return nullptr;
}

bool is_parameter_slot(const std::string& type, int input) {
  static const std::set<std::string> behind_the_first = {"BatchNormalization",
                                                         "Conv",
                                                         "ConvTranspose",
                                                         "Gemm",
                                                         "GroupNormalization",
                                                         "InstanceNormalization",
                                                         "LayerNormalization",
                                                         "MatMul",
                                                         "PRelu",
                                                         "RMSNormalization"};
  if (type == "GRU" || type == "LSTM" || type == "RNN") return input >= 1 && input <= 3;  // W, R and B
  return type == "Gather" ? input == 0 : input > 0 && behind_the_first.contains(type);
}

bool is_product(const std::string& type) {
  return type == "Conv" || type == "ConvTranspose" || type == "Gemm" || type == "MatMul";
}
bool is_bias(const std::string& type, int input) {
  return is_product(type) && input == 2;
}

size_t place_of_lengths(const std::string& type, size_t values) {
  static const std::set<std::string> last = {"GRU", "GlobalAveragePool", "GlobalMaxPool", "LSTM", "RNN"};
  return last.contains(type) || (type == "Attention" && values % 2 == 0) ? values - 1 : 0;
}

int64_t operator_since(const std::string& type) {
  static const std::map<std::string, int64_t> later = {
      {"Attention", 23},          {"Gelu", 20}, {"GroupNormalization", 21}, {"HardSwish", 14},
      {"LayerNormalization", 17}, {"Mish", 18}, {"RMSNormalization", 23},   {"Swish", 24}};
  const auto found = later.find(type);
  return found == later.end() ? 1 : found->second;
}

double shortest(float value) {
  std::array<char, 64> text;
  const auto written = std::to_chars(text.data(), text.data() + text.size(), value);
  double number = value;
  std::from_chars(text.data(), written.ptr, number);
  return number;
}

}  // namespace lepton::onnx
