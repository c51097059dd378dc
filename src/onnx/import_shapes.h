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
/// The same numbers, the file's dimensions being these; the batch joined with others as it is.
Value with_dimensions(Importer& importer, const std::string& name, const Value& value,
                      const std::vector<Count>& counts);
/// Of a value's dimensions in the file, from 0 on; neither outside nor the batch's.
int64_t axis_in(const Importer& importer, const Value& value, int64_t axis, const char* of_batch);
/// The value repeated along dimensions of 1, and along new ones in front.
Value expanded(Importer& importer, const std::string& name, const Value& value, std::vector<Count> asked);
/// An operator of ours that works along axes, by the node's other inputs and attributes.
Value reduced(Importer& importer, const ImportNode& node, const std::string& type, Operands operands);
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
void gather_nd_rule(Importer& importer, const ImportNode& node);          ///< import_parts.cpp, like the next
void sequence_at_rule(Importer& importer, const ImportNode& node);        ///< import_parts.cpp
void split_rule(Importer& importer, const ImportNode& node);              ///< import_parts.cpp
void split_to_sequence_rule(Importer& importer, const ImportNode& node);  ///< import_parts.cpp
void expand_rule(Importer& importer, const ImportNode& node);
void concat_rule(Importer& importer, const ImportNode& node);
void reduce_rule(Importer& importer, const ImportNode& node);

}  // namespace lepton::onnx
