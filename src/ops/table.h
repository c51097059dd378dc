// SPDX-License-Identifier: Apache-2.0
// The table of operators: one row each, with its parameters, its shape rule and its maker. The graph builder
// asks it for shapes, the executor for ops; a new operator is a row here and a file beside it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/layouts.h"

namespace lepton::ops {

struct OperatorRow {
  const char* type;     ///< ONNX name
  int inputs;           ///< activation inputs, at least
  int statistics;       ///< how many of its last parameters are running statistics (BatchNormalization: 2)
  const char* summary;  ///< one sentence for the reference
  /// Output shape from attributes, input shapes and parameter shapes; throws Error(deck) with an empty
  /// `where` and a text that holds both shapes when they do not fit (the caller adds the layer's name and
  /// position).
  Shape (*infer)(const OpSpec&);
  /// What it takes and gives, from spec.layouts, how its inputs lie now.
  Layouts (*lay)(const OpSpec&);
  std::unique_ptr<Op> (*make)(const OpSpec&);
  bool (*fuses)(const std::string& activation);  ///< can it take this activation as its epilogue?
  int inputs_most = inputs;
  bool takes(size_t count) const {
    return static_cast<int>(count) >= inputs && static_cast<int>(count) <= inputs_most;
  }
};

const OperatorRow* find_operator(const std::string& type);
std::vector<std::string> operator_names();
/// Plans an op. CHECKs that the type exists and that spec.output is what infer gives.
std::unique_ptr<Op> make_op(const OpSpec& spec);

/// Sets oneDNN to one thread for the calling thread (one unit per thread; bits do not depend on the count),
/// and signals to a stack of their own. Must run in each compute thread before it plans or runs an op.
void prepare_compute_thread();
/// Why ops of this machine cannot multiply in this precision under the cap `isa`: a clause; "": they can.
/// bf16 needs instructions of its own: without them oneDNN only emulates it.
std::string precision_refusal(const std::string& isa, Precision precision);
/// Caps oneDNN's instruction set; must run before the first op is planned. isa: "auto" | "avx2" | "avx512".
/// `precision`: the most that ops will be planned for, which must not be refused. Returns the effective
/// instruction set's name. Throws Error(deck) when the machine lacks what is asked.
std::string cap_instruction_set(const std::string& isa, Precision precision = Precision::fp32);
/// "oneDNN 2.6.3": part of the arithmetic class.
std::string math_library_version();

}  // namespace lepton::ops
