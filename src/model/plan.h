// SPDX-License-Identifier: Apache-2.0
// Plan: the graph made ready for one unit size, in training or inference: activations fused into the node
// before, ops planned, and every array placed in one buffer by liveness. Time runs 0 .. S-1 over the forward
// steps, S is the loss, S+1 .. 2S the backward steps from last to first. Invariants: an array is never
// overwritten while a later step still reads it; all pointers but the parameters' are fixed by bind(); a plan
// is used by one thread. Called by model/executor.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/graph.h"
#include "model/memory_plan.h"
#include "ops/arithmetic.h"

namespace lepton::model {

/// Index into the plan's live ranges; -1: no array.
using RangeIndex = int;

/// A later contribution to a gradient that several nodes give: into += from.
struct GradientAddition {
  RangeIndex into, from;
  int64_t count;
};

/// One op with what its runs need. Vectors are filled once, so that a run allocates nothing.
struct Step {
  int node = 0;  ///< index in the graph; of a fused pair the one that is no activation
  std::unique_ptr<ops::Op> op;
  bool backward = false;                ///< a gradient must come back through or to this step
  std::vector<int> inputs, parameters;  ///< values; arena tensors
  int output = 0;

  RangeIndex output_range = -1, saved_range = -1, output_gradient_range = -1;
  std::vector<RangeIndex> input_ranges, statistics_ranges, input_gradient_ranges;
  std::vector<size_t> parameter_gradient_offsets;  ///< bytes in the plan's gradient range
  std::vector<GradientAddition> additions;

  // Bound to memory.
  std::vector<const float*> input_pointers, backward_input_pointers, parameter_pointers;
  std::vector<float*> statistics_pointers, input_gradient_pointers, parameter_gradient_pointers;
  ops::OpForward forward_run;
  ops::OpBackward backward_run;
};

class Plan {
 public:
  /// `seed` keys dropout. Plans ops, so the calling thread must be the one that runs them.
  Plan(const Graph& graph, uint64_t seed, int64_t samples, bool training,
       ops::Arithmetic& arithmetic = ops::host_arithmetic());

  size_t bytes() const { return memory_.bytes; }
  /// Points everything into `workspace` (bytes() long, aligned to 64).
  void bind(std::byte* workspace);

  /// Forward of one step; `arena` holds all tensors of the graph's layout.
  void run_forward(Step& step, const float* arena, const ops::UnitContext& unit);
  /// Backward of one step, sums of gradients included; parameter gradients lie in
  /// step.parameter_gradient_pointers.
  void run_backward(Step& step, const float* arena, const ops::UnitContext& unit);

  std::vector<Step>& steps() { return steps_; }
  int64_t samples() const { return samples_; }
  std::span<float> value(int index) const;                       ///< samples x elements; while it lives
  std::span<float> scores_gradient() const;                      ///< training only
  std::span<const LiveRange> ranges() const { return ranges_; }  ///< for tests
  const MemoryPlan& memory() const { return memory_; }

 private:
  int time_of_backward(size_t step) const {
    return 2 * static_cast<int>(steps_.size()) - static_cast<int>(step);
  }
  int64_t elements(int value) const;
  size_t bytes_of(int value) const { return static_cast<size_t>(elements(value)) * sizeof(float); }
  RangeIndex add_range(size_t bytes, int begin, int end);
  void extend(RangeIndex range, int time);
  void fuse_and_make_ops(uint64_t seed);
  ops::OpSpec op_spec(const Node& node, const Node* activation, uint64_t random_key) const;
  std::vector<int> last_uses() const;
  void place_values();
  void place_gradients();
  RangeIndex place_input_gradient(Step& step, size_t input, int time);
  void place_workspaces();
  void bind_step(Step& step);
  float* pointer(RangeIndex range) const;
  void set_parameters(Step& step, const float* arena) const;

  const Graph& graph_;
  ops::Arithmetic& arithmetic_;
  int64_t samples_;
  bool training_;
  std::vector<bool> needs_gradient_;
  std::vector<Step> steps_;
  std::vector<LiveRange> ranges_;
  std::vector<RangeIndex> value_ranges_, gradient_ranges_;  ///< per value
  RangeIndex scratch_range_ = -1, parameter_gradient_range_ = -1;
  MemoryPlan memory_;
  std::byte* workspace_ = nullptr;
};

}  // namespace lepton::model
