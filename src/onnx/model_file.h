// SPDX-License-Identifier: Apache-2.0
// An ONNX file: its bytes, with tensors that it keeps in files beside it put in, and its message, checked for
// what every reader needs: that it is whole, and written for operators (an opset) that are known here. Called
// by train (rank 0 reads, all parse), the importer and inspect.
#pragma once

#include <string>
#include <vector>

#include "onnx/messages.h"

namespace lepton::onnx {

constexpr int64_t opset_least = 13, opset_most = 21;

/// The whole model. Throws Error(no_input), and Error(data) for files that are no ONNX models or not whole.
std::string read_model(const std::string& path);

/// Throws Error(data) at `path` for bytes that are no model, Error(deck) for another opset.
messages::ModelProto parse_model(const std::string& path, const std::string& bytes);

/// What a file holds, for inspect.
struct Summary {
  std::string producer;
  int64_t opset = 0;
  std::vector<std::string> inputs, outputs;                  ///< "x [N, 3, 32, 32]"
  std::vector<std::pair<std::string, int64_t>> operators;    ///< how many nodes of each, by name
  std::vector<std::pair<std::string, std::string>> tensors;  ///< initializers and their shapes
  int64_t values = 0;                                        ///< numbers in them
};
Summary summarise(const std::string& path);

/// The opset of ONNX's own operators; 0: it names none.
int64_t opset_of(const messages::ModelProto& model);
/// "[N, 3, 32, 32]": names of dimensions that are free, "?" for those without one.
std::string declared_shape(const messages::ValueInfoProto& value);

}  // namespace lepton::onnx
