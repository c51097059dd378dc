// SPDX-License-Identifier: Apache-2.0
// Rules of the operators that change shapes, cut parts out or ask for sizes. Their axes and sizes count as
// the file's do, the batch's dimension among them, which Lepton has in front always. Inside of module onnx,
// called by way of the table in import_rules.cpp.
#pragma once

#include <vector>

#include "onnx/importer.h"

namespace lepton::onnx {

/// A value's dimensions in the file; the one with the batch is so many times its size.
std::vector<Count> dimensions(const Importer& importer, const Value& value);
/// The value with these dimensions in the file, which hold the same numbers, the batch as it is now.
void give_dimensions(Importer& importer, const ImportNode& node, const Value& value,
                     const std::vector<Count>& counts);

void shape_rule(Importer& importer, const ImportNode& node);
void size_rule(Importer& importer, const ImportNode& node);
void flatten_rule(Importer& importer, const ImportNode& node);
void reshape_rule(Importer& importer, const ImportNode& node);
void squeeze_rule(Importer& importer, const ImportNode& node);
void unsqueeze_rule(Importer& importer, const ImportNode& node);
void transpose_rule(Importer& importer, const ImportNode& node);
void gather_rule(Importer& importer, const ImportNode& node);
void slice_rule(Importer& importer, const ImportNode& node);
void split_rule(Importer& importer, const ImportNode& node);
void expand_rule(Importer& importer, const ImportNode& node);
void concat_rule(Importer& importer, const ImportNode& node);
void reduce_rule(Importer& importer, const ImportNode& node);

}  // namespace lepton::onnx
