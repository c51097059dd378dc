// SPDX-License-Identifier: Apache-2.0
// The weights of an ONNX file by name, for networks that are built from layers: what an import would take for
// parameters and running statistics, in the form that Lepton has them in. The rest of the network does not
// matter. Called by train/initial_weights.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tensor/shape.h"

namespace lepton::onnx {

struct Weights {
  Shape shape;
  std::vector<float> values;
};

/// Initializers of numbers that some node takes, without those that are an attribute in Lepton or one number
/// of a formula. Those of a MatMul, or of a Gemm with transB = 0, come as [out, in]. Throws Error(no_input),
/// Error(data) for files that are no ONNX models, Error(deck) for other opsets and for tensors of types that
/// are not read.
std::map<std::string, Weights> read_weights(const std::string& path);

}  // namespace lepton::onnx
