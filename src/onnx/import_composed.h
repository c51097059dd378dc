// SPDX-License-Identifier: Apache-2.0
// Rules for operators that Lepton has not but as several others; inside of module onnx, called by the table
// of import_rules.cpp.
#pragma once

#include "onnx/importer.h"

namespace lepton::onnx {

void depth_to_space_rule(Importer& importer, const ImportNode& node);
void erfc_rule(Importer& importer, const ImportNode& node);
void hard_swish_rule(Importer& importer, const ImportNode& node);
void is_nan_rule(Importer& importer, const ImportNode& node);
void logic_rule(Importer& importer, const ImportNode& node);
void reduce_l2_rule(Importer& importer, const ImportNode& node);
void reduce_min_rule(Importer& importer, const ImportNode& node);
void sum_rule(Importer& importer, const ImportNode& node);
void tile_rule(Importer& importer, const ImportNode& node);

}  // namespace lepton::onnx
