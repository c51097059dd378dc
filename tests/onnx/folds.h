// SPDX-License-Identifier: Apache-2.0
// For the tests of folding: a node on constants.
#pragma once

#include "onnx/fold.h"
#include "onnx/run.h"

namespace lepton::onnx {

inline Constant list(const std::vector<int64_t>& numbers) {
  std::vector<Count> counts;
  for (const int64_t number : numbers) counts.push_back({number});
  return integer_constant({std::ssize(numbers)}, counts);
}

inline Constant folded(const std::string& type, const std::vector<Constant>& inputs,
                       const ops::Attributes& attributes = {}) {
  messages::NodeProto node;
  node.set_op_type(type);
  for (const auto& [name, value] : attributes) write_attribute(name, value, node);
  std::vector<const Constant*> pointers;
  for (const Constant& input : inputs) pointers.push_back(&input);
  return fold(node, pointers);
}

inline void expect_no_fold(const std::string& what, const std::string& type,
                           const std::vector<Constant>& inputs, const ops::Attributes& attributes = {}) {
  expect_error_of([&] { folded(type, inputs, attributes); }, Exit::deck, {what});
}

}  // namespace lepton::onnx
