// SPDX-License-Identifier: Apache-2.0
// Executor: runs the graph on units for one compute thread. For each unit size that will occur it holds one
// plan (model/plan): planned ops, fusions and a memory plan in which activations and gradients share one
// buffer by liveness. Invariants: nothing is allocated in a run; a parameter's gradient is handed to the sink
// as soon as it is complete, while hot in cache, from one buffer of at most the size of the largest node's;
// the bits of everything handed out depend on (parameters, inputs, sample ids, step, seed) alone. On a device
// with queues all of it is enqueued, and everything that is handed in and out lies there. Called by train's
// compute threads.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include "model/graph.h"
#include "ops/arithmetic.h"
#include "tensor/buffer.h"

namespace lepton::model {

class Plan;
struct Run;  // a unit under way

/// Where gradients go (bound by train to exact/accumulator). Running statistics' sums come the same way.
class GradientSink {
 public:
  virtual ~GradientSink() = default;
  /// A node's sum over the unit for elements `first`, first + 1, ... of an arena tensor: in one call or in
  /// several that follow each other; valid during the call only. Nodes that share a tensor each give their
  /// own, which add up; frozen tensors have none. Of running_mean and running_var: n times the unit's mean
  /// and (unbiased) variance. Order of calls: nodes from last to first, their tensors in order but for one
  /// that comes in parts, which is last, or by rows, ascending, which is first.
  virtual void gradient(int tensor, int64_t first, std::span<const float> values) = 0;
  /// Instead of them for so many elements of a tensor that the unit did not touch.
  virtual void zero_gradient(int /*tensor*/, int64_t /*count*/) {}
  /// With which of `count` parts of a tensor to begin (the others follow in turn), so that threads that add
  /// at the same time do not follow on each other's heels.
  virtual int64_t first_part(int64_t /*count*/) const { return 0; }
};

class Executor;

/// One of the units that one thread trains together, each with an executor of its own.
struct UnitRun {
  Executor* executor = nullptr;
  int64_t n = 0;
  std::span<const int64_t> sample_ids;
  GradientSink* sink = nullptr;
};

class Executor {
 public:
  static constexpr size_t most_together = 4;  ///< units

  /// Plans for training with these unit sizes and for inference with these; either list may be empty. `seed`
  /// keys dropout. Must be constructed in the thread that runs it (after ops::prepare_compute_thread);
  /// `graph` must outlive it.
  Executor(const Graph& graph, uint64_t seed, std::span<const int64_t> training_sizes,
           std::span<const int64_t> inference_sizes, ops::Arithmetic& arithmetic = ops::host_arithmetic());
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Where the caller assembles an input of the unit, by its place in Graph::inputs: n x its elements,
  /// channels last. Lies in the shared buffer: writing it ends the life of everything that earlier runs
  /// returned, and a run may overwrite it.
  std::span<float> input(int index, int64_t n, bool training);
  std::span<float> input(int64_t n, bool training) { return input(0, n, training); }  ///< the first
  /// Runs forward with parameters at `arena`; returns the scores.
  std::span<const float> forward(int64_t n, bool training, const float* arena,
                                 std::span<const int64_t> sample_ids, uint32_t step);
  /// What the last forward gave, n x outputs, valid until the next input is written.
  std::span<const float> scores(int64_t n, bool training);
  /// Where the caller (the loss) writes the scores' gradient after a training forward of n samples.
  std::span<float> output_gradient(int64_t n);
  /// Backward of the last forward, which must have been a training run of n samples; hands all gradients (and
  /// batch statistics) to the sink.
  void backward(int64_t n, const float* arena, std::span<const int64_t> sample_ids, uint32_t step,
                GradientSink& sink);
  /// The same for several units of one graph: training forward, and after the losses backward, layer by layer
  /// and part by part, so that parameters and what the sink adds to come from far memory once for all. Bits
  /// are those of one after another. What `step` points to is read when the ops run, as ids are: on a device
  /// both lie in its memory.
  static void forward_together(std::span<const UnitRun> units, bool training, const float* arena,
                               const uint32_t* step);
  static void backward_together(std::span<const UnitRun> units, const float* arena, const uint32_t* step);

  /// For diagnosis: runs forward node by node and returns the index of the first node whose output holds Inf
  /// or NaN (of a fused pair the first), or -1. The input must have been assembled again.
  int first_non_finite(int64_t n, bool training, const float* arena, std::span<const int64_t> sample_ids,
                       const uint32_t* step);

  /// Called behind every node (once for all units of a run together), so that the main thread can move
  /// messages; empty: nothing.
  void set_between_nodes(std::function<void()> between_nodes) { between_nodes_ = std::move(between_nodes); }

  /// Bytes of activations, gradients, saved data and scratch, the largest plan (all plans share one buffer).
  size_t workspace_bytes() const;
  /// The same without constructing the buffers: for `check` and for the memory test before training.
  static size_t workspace_bytes(const Graph& graph, std::span<const int64_t> training_sizes,
                                std::span<const int64_t> inference_sizes,
                                ops::Arithmetic& arithmetic = ops::host_arithmetic());

 private:
  using Plans = std::map<std::pair<int64_t, bool>, std::unique_ptr<Plan>>;
  static Plans make_plans(const Graph& graph, uint64_t seed, std::span<const int64_t> training_sizes,
                          std::span<const int64_t> inference_sizes, ops::Arithmetic& arithmetic);
  Plan& plan(int64_t n, bool training);
  /// In `room`, of most_together.
  static std::span<const Run> runs_of(std::span<const UnitRun> units, bool training, const uint32_t* step,
                                      std::span<Run> room);

  const Graph& graph_;
  ops::Arithmetic& arithmetic_;
  Plans plans_;
  Buffer workspace_;  // shared by all plans: one runs at a time
  Plan* ready_for_backward_ = nullptr;
  std::function<void()> between_nodes_;
};

}  // namespace lepton::model
