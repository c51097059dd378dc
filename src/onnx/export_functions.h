// SPDX-License-Identifier: Apache-2.0
// Operators of Lepton in terms of older ones of ONNX: bodies of functions in the domain lepton. Called by
// export.
#pragma once

#include <string>
#include <vector>

#include "onnx/messages.h"
#include "ops/op.h"

namespace lepton::onnx {

struct FunctionSpec {
  std::string type;            ///< operator of ours
  ops::Attributes attributes;  ///< of the node
  std::vector<Shape> inputs;   ///< its values, per sample
  size_t operands = 1;         ///< values and parameters together
  int64_t opset = 0;
};

/// Writes the body of a function with inputs x0, x1, ... and the output y. False: there is none.
bool write_function(const FunctionSpec& spec, messages::FunctionProto& function);

/// An attribute of ours in a node.
void write_attribute(const std::string& name, const ops::Attribute& value, messages::NodeProto& node);

}  // namespace lepton::onnx
