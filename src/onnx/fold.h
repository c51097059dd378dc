// SPDX-License-Identifier: Apache-2.0
// Folding: what nodes of an ONNX file compute from constants alone, shapes above all, is computed at import
// by ONNX's definitions. Called by the importer.
#pragma once

#include <span>

#include "onnx/constant.h"

namespace lepton::onnx {

/// Whether nodes of this operator, all of whose inputs are constant, can be folded.
bool folds(const std::string& type);
/// The node's value; a null pointer stands for an input that is left out. Throws Error(deck), with an empty
/// `where`, on what contradicts the definition, and on products and quotients of the batch size that are no
/// multiple of it.
Constant fold(const messages::NodeProto& node, std::span<const Constant* const> inputs);

const messages::AttributeProto* find_attribute(const messages::NodeProto& node, const std::string& name);
int64_t node_int(const messages::NodeProto& node, const std::string& name, int64_t otherwise);

}  // namespace lepton::onnx
