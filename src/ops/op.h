// SPDX-License-Identifier: Apache-2.0
// Op: one node of the graph, planned once for one number of samples and one thread, run many times.
// Activations lie sample by sample, each plain or channels last (tensor/shape.h); shapes here are in ONNX
// order without the batch dimension ([C, H, W]) in both. Parameters keep their ONNX layout (Conv
// weights OIHW, Gemm weights [out, in]: transB = 1) in the arena; an op that computes in another layout packs
// them in its scratch for each unit.
// Invariants: forward and backward allocate nothing; one op object is used by one thread; bits depend on the
// operands alone. Created by make_op (table.h), called by model/executor.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "ops/precision.h"
#include "ops/sparse_matrix.h"
#include "tensor/shape.h"

namespace lepton::ops {

using Attribute = std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>, std::shared_ptr<const SparseMatrix>>;
using Attributes = std::map<std::string, Attribute>;

int64_t int_attribute(const Attributes&, const std::string& name, int64_t otherwise);
double float_attribute(const Attributes&, const std::string& name, double otherwise);
std::string string_attribute(const Attributes&, const std::string& name, const std::string& otherwise);
/// CHECKs that it is there.
const SparseMatrix& matrix_attribute(const Attributes&, const std::string& name);
std::vector<int64_t> ints_attribute(const Attributes&, const std::string& name,
                                    const std::vector<int64_t>& otherwise);
std::vector<std::string> texts_attribute(const Attributes&, const std::string& name,
                                         const std::vector<std::string>& otherwise);
std::vector<double> floats_attribute(const Attributes&, const std::string& name,
                                     const std::vector<double>& otherwise);

/// What an op is planned for.
struct OpSpec {
  std::string type = {};       ///< ONNX operator name: "Gemm", "Conv", "Relu", ...
  Attributes attributes = {};  ///< ONNX names and meaning
  std::string activation =
      {};  ///< fused behind the op (table.h says which): "" or "Relu", "Tanh", "Gelu", ...
  Attributes activation_attributes = {};
  int64_t samples = 0;             ///< n of the unit
  bool training = false;           ///< false: no backward will be called; batch norm uses running statistics
  std::vector<Shape> inputs = {};  ///< activations, without batch
  std::vector<Shape> parameters = {};  ///< as in the arena
  Shape output = {};
  std::vector<Layout> layouts = {};  ///< of inputs
  Layout output_layout = Layout::plain;
  std::vector<bool> input_needs_gradient = {};  ///< per activation input: false for the network's own input
  uint64_t random_key = 0;                ///< stream_key(seed, dropout, layer), for ops that draw numbers
  Precision precision = Precision::fp32;  ///< of products; who plans (Arithmetic) sets it
};

/// One unit as random ops see it, who read it when they run: in the memory of their device.
struct UnitContext {
  std::span<const int64_t> sample_ids;  ///< n ids
  const uint32_t* step = nullptr;
};

/// Pointers for one run. `=` semantics throughout: every output and gradient is overwritten, in whole.
struct OpForward {
  std::span<const float* const> inputs;
  std::span<const float* const> parameters;  ///< running statistics included, in table order
  float* output = nullptr;
  std::span<float* const>
      statistics;              ///< training batch norm: n * batch mean, n * batch variance; else empty
  std::byte* saved = nullptr;  ///< kept until backward
  std::byte* scratch = nullptr;
  const UnitContext* unit = nullptr;
};

struct OpBackward {
  std::span<const float* const> inputs;  ///< null where backward_needs() does not ask for inputs
  std::span<const float* const> parameters;
  const float* output = nullptr;  ///< null unless asked for
  const float* output_gradient = nullptr;
  std::span<float* const> input_gradients;  ///< null where not needed
  std::span<float* const>
      parameter_gradients;  ///< sums over the unit's samples, ONNX layout; null for statistics
  std::byte* saved = nullptr;
  std::byte* scratch = nullptr;
  const UnitContext* unit = nullptr;
};

struct BackwardNeeds {
  bool inputs = false, output = false;
};

/// How the gradient of parameter 0 comes: in one piece from backward(); in parts of `elements` (the last one
/// shorter), so that each is summed while in cache; or, where a unit touches few of many rows, by rows, which
/// take up to `elements` together.
struct GradientParts {
  int64_t count = 1, elements = 0;
  bool rows = false;
};

/// The rows of parameter 0 that a unit touched, ascending, each once; all others are zero. Values lie in
/// parameter_gradients[0], row behind row.
struct GradientRows {
  std::span<const int64_t> rows;
  int64_t width = 0;  ///< elements of a row
};

class Op {
 public:
  virtual ~Op() = default;
  virtual void forward(const OpForward& run) = 0;
  virtual void backward(const OpBackward& run) = 0;
  virtual BackwardNeeds backward_needs() const = 0;
  virtual GradientParts gradient_parts() const { return {}; }
  /// With several parts, after backward(), which leaves parameter 0 out: writes this part to
  /// parameter_gradients[0], over the one before. Every part once, in any order.
  virtual void backward_part(const OpBackward&, int64_t /*part*/) {}
  /// With gradient_parts().rows, after backward().
  virtual GradientRows gradient_rows(const OpBackward&) const { return {}; }
  /// May the output lie where input 0 lies (forward), and input gradient 0 where the output gradient lies?
  virtual bool in_place() const { return false; }

  size_t saved_bytes() const { return saved_bytes_; }      ///< multiples of 64
  size_t scratch_bytes() const { return scratch_bytes_; }  ///< the larger of forward's and backward's

 protected:
  size_t saved_bytes_ = 0, scratch_bytes_ = 0;
};

}  // namespace lepton::ops
