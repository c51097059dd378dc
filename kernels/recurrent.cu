// SPDX-License-Identifier: Apache-2.0
// RNN, LSTM and GRU, the twin of src/ops/recurrent.cpp; formulas there. Products are those of dense layers
// (matmul.cu), one for all steps where that is possible, in the network's precision; what a cell does with
// their results is one kernel a step (recurrent_cells.cu). Products want operands that begin on 16 bytes, so
// what is read or written at an odd place (the second direction's parameters, one step's states) goes through
// copies in scratch. Created by make_recurrent, for kernels/engine.cu.
#include <algorithm>

#include "kernels/operators.h"
#include "kernels/recurrent_cells.h"
#include "ops/operators.h"

namespace lepton::cuda {

namespace {

using Cell = ops::RecurrentShape::Cell;

/// Rows of a sample side by side to rows of a step side by side, or back; back perhaps added to what is
/// there.
__global__ void __launch_bounds__(threads) to_steps_kernel(int64_t count, int64_t samples, int64_t steps,
                                                           int64_t width, const float* from, float* to) {
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i >= count) return;
  const int64_t row = i / width, t = row / samples, sample = row % samples;
  to[i] = from[(sample * steps + t) * width + i % width];
}
__global__ void __launch_bounds__(threads)
    from_steps_kernel(int64_t count, int64_t samples, int64_t steps, int64_t width, bool more,
                      const float* from, float* to) {
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i >= count) return;
  const int64_t row = i / width, t = row / samples, sample = row % samples;
  float& into = to[(sample * steps + t) * width + i % width];
  into = more ? into + from[i] : from[i];
}

/// to[c, r] = from[r, c]
__global__ void __launch_bounds__(threads)
    turn_kernel(int64_t count, int64_t rows, int64_t columns, const float* from, float* to) {
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i < count) to[i] = from[i % rows * columns + i / rows];
}

/// The bias of all gates, and behind it what a candidate's share that is reset has for itself.
__global__ void __launch_bounds__(threads)
    bias_kernel(int64_t width, int64_t units, bool reset_after, const float* given, float* bias) {
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i >= width + units) return;
  const int64_t both = reset_after ? 2 * units : width;
  if (!given)
    bias[i] = 0.0f;
  else if (i < width)
    bias[i] = i < both ? given[i] + given[width + i] : given[i];
  else
    bias[i] = reset_after ? given[i + both] : 0.0f;
}

class RecurrentOp : public ops::Op {
 public:
  RecurrentOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        shape_(spec),
        samples_(spec.samples),
        rows_(spec.samples * shape_.steps),
        training_(spec.training) {
    plan_kept();
    plan_forward();
    if (training_) plan_backward(spec.input_needs_gradient[0]);
  }

  void forward(const ops::OpForward& run) override {
    std::byte* const kept = training_ ? run.saved : run.scratch + kept_begin_;
    const int64_t elements = rows_ * shape_.inputs;
    to_steps_kernel<<<blocks_for(elements, threads), threads, 0, context_.stream>>>(
        elements, samples_, shape_.steps, shape_.inputs, run.inputs[0], ops::floats_at(kept, x_));
    check_launch("to_steps");
    if (shape_.lengths) copy(samples_, run.inputs[1], ops::floats_at(kept, lengths_));
    for (int64_t d = 0; d < shape_.directions; ++d) forward_direction(run, kept, d);
  }

  void backward(const ops::OpBackward& run) override {
    for (int64_t d = 0; d < shape_.directions; ++d) {
      backward_steps(run, d);
      input_gradients(run, d);
      recurrent_gradients(run, d);
    }
  }

  ops::BackwardNeeds backward_needs() const override { return {.inputs = false, .output = false}; }

 private:
  /// Of one direction, from forward to backward: gates, the state before each step, cells (one more).
  struct Kept {
    size_t gates = 0, before = 0, cells = 0, more = 0;
  };

  void plan_kept() {
    ops::MemoryPlan kept;
    x_ = kept.add_floats(rows_ * shape_.inputs);
    if (shape_.lengths) lengths_ = kept.add_floats(samples_);
    const int64_t elements = rows_ * shape_.units;
    for (int64_t d = 0; d < shape_.directions; ++d) {
      if (d > 0 && !training_) {
        kept_[d] = kept_[0];
        continue;
      }
      kept_[d].gates = kept.add_floats(rows_ * shape_.width());
      kept_[d].before = kept.add_floats(elements);
      if (shape_.cell == Cell::lstm) kept_[d].cells = kept.add_floats(elements + samples_ * shape_.units);
      if (shape_.cell == Cell::gru) kept_[d].more = kept.add_floats(elements);
    }
    if (training_)
      saved_bytes_ = kept.bytes();
    else
      kept_begin_ = scratch_.add(kept.bytes());
  }

  bool reset_before() const { return shape_.cell == Cell::gru && !shape_.reset_after; }
  int64_t joint() const { return (reset_before() ? 2 : shape_.gates) * shape_.units; }

  /// A dense layer without activation; its weights [out, in].
  std::unique_ptr<ops::Op> dense(int64_t rows, int64_t in, int64_t out, bool bias, bool training = false,
                                 bool input_gradient = false) {
    ops::OpSpec spec{.type = "Gemm",
                     .samples = rows,
                     .training = training,
                     .inputs = {{in}},
                     .parameters = {{out, in}},
                     .output = {out},
                     .input_needs_gradient = {input_gradient}};
    if (bias) spec.parameters.push_back({out});
    auto op = make_matmul(context_, spec);
    product_bytes_ = std::max(product_bytes_, op->scratch_bytes());
    return op;
  }

  void plan_forward() {
    const int64_t units = shape_.units, width = shape_.width();
    input_ = dense(rows_, shape_.inputs, width, true);
    state_ = dense(samples_, units, joint(), false);
    if (reset_before()) candidate_ = dense(samples_, units, units, false);
    ops::MemoryPlan memory = scratch_;
    weights_ = memory.add_floats(width * shape_.inputs);
    recurrent_ = memory.add_floats(width * units);
    recurrent_candidate_ = memory.add_floats(units * units);
    bias_ = memory.add_floats(width + units);
    sums_ = memory.add_floats(samples_ * width);
    now_ = memory.add_floats(samples_ * units);
    reset_now_ = memory.add_floats(samples_ * units);
    forward_product_ = memory.add(product_bytes_);
    scratch_bytes_ = memory.bytes();
  }

  void plan_backward(bool input_gradient) {
    const int64_t units = shape_.units, width = shape_.width(), elements = samples_ * units;
    product_bytes_ = 0;
    input_backward_ = dense(rows_, shape_.inputs, width, false, true, input_gradient);
    recurrent_backward_ = dense(rows_, units, width, false, true);
    if (shape_.cell == Cell::gru) candidate_backward_ = dense(rows_, units, units, false, true);
    state_gradient_ = dense(samples_, joint(), units, false);
    if (reset_before()) candidate_gradient_ = dense(samples_, units, units, false);
    ops::MemoryPlan memory = scratch_;
    weights_back_ = memory.add_floats(width * shape_.inputs);
    turned_ = memory.add_floats(width * units);
    turned_candidate_ = memory.add_floats(units * units);
    for (size_t* offset : {&dstate_, &dcell_, &carried_, &dcandidate_now_, &dreset_})
      *offset = memory.add_floats(elements);
    dsums_ = memory.add_floats(samples_ * width);
    dcandidate_ = memory.add_floats(rows_ * units);
    dx_ = memory.add_floats(rows_ * shape_.inputs);
    dweights_ = memory.add_floats(width * std::max(shape_.inputs, units));
    sum_scratch_ =
        memory.add(std::max(sum_rows_scratch_bytes(rows_, width), sum_rows_scratch_bytes(rows_, units)));
    backward_product_ = memory.add(product_bytes_);
    scratch_bytes_ = std::max(scratch_bytes_, memory.bytes());
  }

  void copy(int64_t count, const float* from, float* to) const {
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(float), cudaMemcpyDeviceToDevice,
                          context_.stream),
          "cudaMemcpyAsync");
  }
  void clear(int64_t count, float* values) const {
    check(cudaMemsetAsync(values, 0, static_cast<size_t>(count) * sizeof(float), context_.stream),
          "cudaMemsetAsync");
  }
  /// to[columns, rows] = from[rows, columns]
  void turn(int64_t rows, int64_t columns, const float* from, float* to) const {
    turn_kernel<<<blocks_for(rows * columns, threads), threads, 0, context_.stream>>>(rows * columns, rows,
                                                                                      columns, from, to);
    check_launch("turn");
  }

  /// y = x W^T (+ bias)
  void multiply(ops::Op& op, const float* x, const float* weights, const float* bias, float* y,
                std::byte* scratch) const {
    const float* const inputs[] = {x};
    const float* const parameters[] = {weights, bias};
    op.forward({.inputs = inputs,
                .parameters = std::span(parameters, bias ? 2 : 1),
                .output = y,
                .statistics = {},
                .scratch = scratch});
  }
  /// dW = dy^T x, and dx = dy W where it is asked for.
  void differentiate(ops::Op& op, const float* x, const float* weights, const float* dy, float* dx,
                     float* dweights, std::byte* scratch) const {
    const float* const inputs[] = {x};
    const float* const parameters[] = {weights};
    float* const input_gradients[] = {dx};
    float* const parameter_gradients[] = {dweights};
    op.backward({.inputs = inputs,
                 .parameters = parameters,
                 .output_gradient = dy,
                 .input_gradients = input_gradients,
                 .parameter_gradients = parameter_gradients,
                 .scratch = scratch});
  }

  /// What both directions of a run have at a step.
  RecurrentCellStep step_at(std::byte* kept, int64_t d, int64_t k) const {
    const int64_t elements = samples_ * shape_.units;
    const bool backwards = shape_.backwards(d), last = k + 1 == shape_.steps;
    const int64_t t = backwards ? shape_.steps - 1 - k : k, behind = backwards ? t - 1 : t + 1;
    float *const before = ops::floats_at(kept, kept_[d].before), *const cells =
                                                                     ops::floats_at(kept, kept_[d].cells);
    RecurrentCellStep step;
    step.rows = samples_;
    step.units = shape_.units;
    step.steps = shape_.steps;
    step.t = t;
    step.lengths = shape_.lengths ? ops::floats_at(kept, lengths_) : nullptr;
    step.first = k == 0;
    step.backwards = backwards;
    step.sequence = shape_.sequence;
    step.output_width = shape_.output_width();
    step.output_begin = d * shape_.units;
    step.gates = ops::floats_at(kept, kept_[d].gates) + t * samples_ * shape_.width();
    step.before = before + t * elements;
    step.next = last ? nullptr : before + behind * elements;
    step.cell_before = cells + k * elements;  // cells lie in the order of the direction
    step.cell = cells + (k + 1) * elements;
    step.kept = ops::floats_at(kept, kept_[d].more) + t * elements;
    return step;
  }

  void forward_direction(const ops::OpForward& run, std::byte* kept, int64_t d) {
    const int64_t units = shape_.units, width = shape_.width(), elements = samples_ * units;
    const auto place = [&](size_t offset) { return ops::floats_at(run.scratch, offset); };
    std::byte* const product = run.scratch + forward_product_;
    copy(width * shape_.inputs, run.parameters[0] + d * width * shape_.inputs, place(weights_));
    const float* recurrent = run.parameters[1] + d * width * units;
    copy(joint() * units, recurrent, place(recurrent_));
    if (reset_before()) copy(units * units, recurrent + joint() * units, place(recurrent_candidate_));
    bias_kernel<<<blocks_for(width + units, threads), threads, 0, context_.stream>>>(
        width, units, shape_.reset_after, shape_.bias ? run.parameters[2] + d * 2 * width : nullptr,
        place(bias_));
    check_launch("recurrent_bias");
    multiply(*input_, ops::floats_at(kept, x_), place(weights_), place(bias_),
             ops::floats_at(kept, kept_[d].gates), product);
    for (int64_t k = 0; k < shape_.steps; ++k) {
      RecurrentCellStep step = step_at(kept, d, k);
      if (k == 0) {
        clear(elements, const_cast<float*>(step.before));
        if (shape_.cell == Cell::lstm) clear(elements, const_cast<float*>(step.cell_before));
      } else {
        multiply(*state_, place(now_), place(recurrent_), nullptr, place(sums_), product);
        step.sums = place(sums_);
      }
      step.bias = place(bias_) + width;
      step.now = place(now_);
      step.reset_now = place(reset_now_);
      step.output = run.output;
      forward_step(step, place(recurrent_candidate_), place(sums_), product);
    }
  }

  void forward_step(const RecurrentCellStep& step, const float* candidate_weights, float* sums,
                    std::byte* product) {
    if (shape_.cell == Cell::rnn) return rnn_forward(context_, step, shape_.relu);
    if (shape_.cell == Cell::lstm) return lstm_forward(context_, step);
    if (shape_.reset_after) return gru_forward(context_, step);
    gru_gates_forward(context_, step);
    if (!step.first) multiply(*candidate_, step.reset_now, candidate_weights, nullptr, sums, product);
    gru_candidate_forward(context_, step);
  }

  void backward_steps(const ops::OpBackward& run, int64_t d) {
    const int64_t units = shape_.units, elements = samples_ * units;
    const auto place = [&](size_t offset) { return ops::floats_at(run.scratch, offset); };
    std::byte* const product = run.scratch + backward_product_;
    const float* recurrent = run.parameters[1] + d * shape_.width() * units;
    turn(joint(), units, recurrent, place(turned_));
    if (reset_before()) turn(units, units, recurrent + joint() * units, place(turned_candidate_));
    clear(elements, place(dstate_));
    clear(elements, place(dcell_));
    for (int64_t k = shape_.steps - 1; k >= 0; --k) {
      RecurrentCellStep step = step_at(run.saved, d, k);
      step.output_gradient = run.output_gradient;
      step.carried = k + 1 < shape_.steps ? place(carried_) : nullptr;
      step.dstate = place(dstate_);
      step.dcell = place(dcell_);
      step.dsums = place(dsums_);
      step.dcandidate = place(dcandidate_) + step.t * elements;
      step.dcandidate_now = place(dcandidate_now_);
      backward_step(step, place(turned_candidate_), place(dreset_), product);
      if (k > 0) multiply(*state_gradient_, step.dsums, place(turned_), nullptr, place(carried_), product);
    }
  }

  void backward_step(const RecurrentCellStep& step, const float* candidate_weights, float* dreset,
                     std::byte* product) {
    if (shape_.cell == Cell::rnn) return rnn_backward(context_, step, shape_.relu);
    if (shape_.cell == Cell::lstm) return lstm_backward(context_, step);
    if (shape_.reset_after) return gru_backward(context_, step);
    gru_candidate_backward(context_, step);
    if (!step.first)
      multiply(*candidate_gradient_, step.dcandidate_now, candidate_weights, nullptr, dreset, product);
    gru_gates_backward(context_, step, step.first ? nullptr : dreset);
  }

  void input_gradients(const ops::OpBackward& run, int64_t d) {
    const int64_t count = shape_.width() * shape_.inputs, elements = rows_ * shape_.inputs;
    float *const weights = ops::floats_at(run.scratch, weights_back_),
                 *const dweights = ops::floats_at(run.scratch, dweights_),
                 *const dx = run.input_gradients[0] ? ops::floats_at(run.scratch, dx_) : nullptr;
    copy(count, run.parameters[0] + d * count, weights);
    differentiate(*input_backward_, ops::floats_at(run.saved, x_), weights,
                  ops::floats_at(run.saved, kept_[d].gates), dx, dweights, run.scratch + backward_product_);
    copy(count, dweights, run.parameter_gradients[0] + d * count);
    if (!dx) return;
    from_steps_kernel<<<blocks_for(elements, threads), threads, 0, context_.stream>>>(
        elements, samples_, shape_.steps, shape_.inputs, d > 0, dx, run.input_gradients[0]);
    check_launch("from_steps");
  }

  void recurrent_gradients(const ops::OpBackward& run, int64_t d) {
    const int64_t units = shape_.units, width = shape_.width(), count = width * units;
    std::byte *const product = run.scratch + backward_product_, *const sums = run.scratch + sum_scratch_;
    const float *dz = ops::floats_at(run.saved, kept_[d].gates),
                *before = ops::floats_at(run.saved, kept_[d].before),
                *more = ops::floats_at(run.saved, kept_[d].more);
    float* const dweights = ops::floats_at(run.scratch, dweights_);
    differentiate(*recurrent_backward_, before, nullptr, dz, nullptr, dweights, product);
    copy(count, dweights, run.parameter_gradients[1] + d * count);
    if (shape_.cell == Cell::gru) {  // the candidate's rows again: they come from other operands
      const float* dc = shape_.reset_after ? more : ops::floats_at(run.scratch, dcandidate_);
      differentiate(*candidate_backward_, shape_.reset_after ? before : more, nullptr, dc, nullptr, dweights,
                    product);
      copy(units * units, dweights, run.parameter_gradients[1] + (d + 1) * count - units * units);
    }
    if (!shape_.bias) return;
    float* const db = run.parameter_gradients[2] + d * 2 * width;
    sum_rows(context_, rows_, width, dz, sums, db);
    copy(width, db, db + width);
    if (shape_.reset_after) sum_rows(context_, rows_, units, more, sums, db + 2 * width - units);
  }

  const Context& context_;
  ops::RecurrentShape shape_;
  int64_t samples_, rows_;  ///< rows: of all steps
  bool training_;
  ops::MemoryPlan scratch_;  ///< what is kept, without a backward
  size_t x_ = 0, lengths_ = 0, kept_begin_ = 0, product_bytes_ = 0;
  Kept kept_[2];
  std::unique_ptr<ops::Op> input_, state_, candidate_;
  std::unique_ptr<ops::Op> input_backward_, recurrent_backward_, candidate_backward_, state_gradient_,
      candidate_gradient_;
  size_t weights_ = 0, recurrent_ = 0, recurrent_candidate_ = 0, bias_ = 0, sums_ = 0, now_ = 0,
         reset_now_ = 0, forward_product_ = 0;
  size_t weights_back_ = 0, turned_ = 0, turned_candidate_ = 0, dstate_ = 0, dcell_ = 0, carried_ = 0,
         dcandidate_now_ = 0, dreset_ = 0, dsums_ = 0, dcandidate_ = 0, dx_ = 0, dweights_ = 0,
         sum_scratch_ = 0, backward_product_ = 0;
};

}  // namespace

std::unique_ptr<ops::Op> make_recurrent(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<RecurrentOp>(context, spec);
}

}  // namespace lepton::cuda
