// SPDX-License-Identifier: Apache-2.0
// RNN, LSTM and GRU (ONNX), each direction by itself; see recurrent_shape.h for what they take and give. With
// x_t the input and h_t the state of a step, the samples of the unit being the rows:
//   z_t = x_t W^T + b  for all steps by one product,  then step by step  z_t + h_(t-1) R^T  and the cell
//   (recurrent_rows.h; of a GRU without reset_after the candidate's share is a product of its own).
// Backward, with dz_t the gradients of the gates' sums, which take the place of the gates:
//   step by step back  dh_(t-1) += dz_t R,  then for all steps at once
//   dX = dZ W,   dW = dZ^T X,   dR = dZ^T H,   dB = sums of dZ.
// For that everything lies step by step in memory, rows of samples side by side, and so X is copied. Products
// by oneDNN, in fp32 whatever the network's precision: what is rounded in one step comes back in the next.
// Made by the table, run by model/executor. Twin: kernels/recurrent.cu.
#include <algorithm>

#include "ops/operands.h"
#include "ops/recurrent_rows.h"
#include "ops/recurrent_shape.h"

namespace lepton::ops {

namespace {

using Cell = RecurrentShape::Cell;
using onednn::Tag;

/// to[rows, columns] = from^T[rows, inner] of[inner, columns]; rows of `from` begin `from_row` elements
/// apart.
onednn::Planned turned_product(int64_t rows, int64_t inner, int64_t columns, int64_t from_row) {
  return onednn::matmul(onednn::strided({rows, inner}, {1, from_row}),
                        onednn::desc({inner, columns}, Tag::ab), {}, onednn::desc({rows, columns}, Tag::ab),
                        {});
}

class RecurrentOp : public Op {
 public:
  explicit RecurrentOp(const OpSpec& spec)
      : shape_(spec), samples_(spec.samples), rows_(spec.samples * shape_.steps), training_(spec.training) {
    plan_kept();
    MemoryPlan memory;
    if (!training_) kept_begin_ = memory.add(kept_bytes_);
    plan_forward(memory);
    if (training_) plan_backward(spec.input_needs_gradient[0]);
  }

  void forward(const OpForward& run) override {
    std::byte* const kept = training_ ? run.saved : run.scratch + kept_begin_;
    to_steps(run.inputs[0], floats_at(kept, x_));
    if (shape_.lengths)
      for (int64_t r = 0; r < samples_; ++r)
        lengths(kept)[r] = sequence_length(run.inputs[1][r], shape_.steps);
    for (int64_t d = 0; d < shape_.directions; ++d) forward_direction(run, kept, d);
  }

  void backward(const OpBackward& run) override {
    CHECK(!shape_.lengths || !run.input_gradients[1], "lengths have no gradient");
    for (int64_t d = 0; d < shape_.directions; ++d) {
      backward_steps(run, d);
      parameter_gradients(run, d);
      if (!run.input_gradients[0]) continue;
      float* const dx = floats_at(run.scratch, dx_);
      std::byte* const pad = run.scratch + backward_pad_;
      input_gradient_.pack(run.parameters[0] + d * shape_.width() * shape_.inputs, run.scratch, pad);
      input_gradient_.run(floats_at(run.saved, kept_[d].gates), dx, pad);
      from_steps(dx, d > 0, run.input_gradients[0]);
    }
  }

  BackwardNeeds backward_needs() const override { return {.inputs = false, .output = false}; }

 private:
  /// Of one direction, from forward to backward. Of states and cells there is one more than steps.
  struct Kept {
    size_t gates = 0, states = 0, cells = 0, more = 0;
  };

  /// Without a backward directions have one place.
  void plan_kept() {
    MemoryPlan kept;
    x_ = kept.add_floats(rows_ * shape_.inputs);
    if (shape_.lengths) lengths_ = kept.add(static_cast<size_t>(samples_) * sizeof(int64_t));
    const int64_t elements = rows_ * shape_.units, states = elements + samples_ * shape_.units;
    for (int64_t d = 0; d < shape_.directions; ++d) {
      if (d > 0 && !training_) {
        kept_[d] = kept_[0];
        continue;
      }
      kept_[d].gates = kept.add_floats(rows_ * shape_.width());
      kept_[d].states = kept.add_floats(states);
      if (shape_.cell == Cell::lstm) kept_[d].cells = kept.add_floats(states);
      if (shape_.cell == Cell::gru) kept_[d].more = kept.add_floats(elements);
    }
    kept_bytes_ = kept.bytes();
    if (training_) saved_bytes_ = kept_bytes_;
  }

  /// A GRU that resets the state before the product: gates and candidate are products apart.
  bool reset_before() const { return shape_.cell == Cell::gru && !shape_.reset_after; }
  /// Gates that are multiplied together.
  int64_t joint() const { return (reset_before() ? 2 : shape_.gates) * shape_.units; }

  void plan_forward(MemoryPlan memory) {
    const int64_t units = shape_.units, width = shape_.width();
    input_ = PackedProduct(rows_, shape_.inputs, width, shape_.inputs, true, shape_.bias);
    state_ = PackedProduct(samples_, units, joint(), units, true);
    if (reset_before()) candidate_ = PackedProduct(samples_, units, units, units, true);
    sums_ = memory.add_floats(samples_ * width);
    bias_ = memory.add_floats(width + units);
    size_t pad = 0;
    for (PackedProduct* product : {&input_, &state_, &candidate_}) {
      product->place(memory);
      pad = std::max(pad, product->scratchpad_bytes());
    }
    forward_pad_ = memory.add(pad);
    scratch_bytes_ = memory.bytes();
  }

  void plan_backward(bool input_gradient) {
    const int64_t units = shape_.units, width = shape_.width();
    MemoryPlan memory;
    if (input_gradient) {
      input_gradient_ = PackedProduct(rows_, width, shape_.inputs, width, false);
      dx_ = memory.add_floats(rows_ * shape_.inputs);
    }
    state_gradient_ = PackedProduct(samples_, joint(), units, width, false);
    weights_product_ = turned_product(width, rows_, shape_.inputs, width);
    recurrent_product_ = turned_product(shape_.cell == Cell::gru ? 2 * units : width, rows_, units, width);
    if (shape_.cell == Cell::gru)
      candidate_product_ = turned_product(units, rows_, units, shape_.reset_after ? units : width);
    if (reset_before()) candidate_gradient_ = PackedProduct(samples_, units, units, width, false);
    sums_gradient_ = memory.add_floats(samples_ * width);
    for (size_t* offset : {&dstate_, &dcell_, &carried_}) *offset = memory.add_floats(samples_ * units);
    size_t pad = std::max({weights_product_.scratchpad_bytes, recurrent_product_.scratchpad_bytes,
                           candidate_product_.scratchpad_bytes});
    for (PackedProduct* product : {&input_gradient_, &state_gradient_, &candidate_gradient_}) {
      product->place(memory);
      pad = std::max(pad, product->scratchpad_bytes());
    }
    backward_pad_ = memory.add(pad);
    scratch_bytes_ = std::max(scratch_bytes_, memory.bytes());
  }

  /// Steps behind which every sample of the unit is over: they are not computed.
  int64_t end_of(std::byte* kept) const {
    return shape_.lengths ? *std::max_element(lengths(kept), lengths(kept) + samples_) : shape_.steps;
  }
  /// Which step of so many a direction takes as number k.
  int64_t step_of(int64_t d, int64_t k, int64_t end) const { return shape_.backwards(d) ? end - 1 - k : k; }

  int64_t* lengths(std::byte* kept) const { return reinterpret_cast<int64_t*>(kept + lengths_); }

  /// Rows of a sample side by side to rows of a step side by side.
  void to_steps(const float* from, float* to) const {
    for (int64_t t = 0; t < shape_.steps; ++t)
      for (int64_t r = 0; r < samples_; ++r)
        std::copy_n(from + (r * shape_.steps + t) * shape_.inputs, shape_.inputs,
                    to + (t * samples_ + r) * shape_.inputs);
  }
  /// Back, added to what is there if `more`.
  void from_steps(const float* from, bool more, float* to) const {
    for (int64_t r = 0; r < samples_; ++r)
      for (int64_t t = 0; t < shape_.steps; ++t) {
        const float* row = from + (t * samples_ + r) * shape_.inputs;
        float* into = to + (r * shape_.steps + t) * shape_.inputs;
        if (more)
          add_state_gradients(1, shape_.inputs, row, nullptr, 0, into);
        else
          std::copy_n(row, shape_.inputs, into);
      }
  }

  /// What the cell works on at step t of a direction.
  RecurrentStep step_at(std::byte* kept, int64_t d, int64_t t) const {
    const int64_t elements = samples_ * shape_.units;
    const int64_t before = (shape_.backwards(d) ? t + 1 : t) * elements,
                  behind = (shape_.backwards(d) ? t : t + 1) * elements;
    float *const states = floats_at(kept, kept_[d].states), *const cells = floats_at(kept, kept_[d].cells);
    return {.rows = samples_,
            .units = shape_.units,
            .lengths = shape_.lengths ? lengths(kept) : nullptr,
            .step = t,
            .gates = floats_at(kept, kept_[d].gates) + t * samples_ * shape_.width(),
            .before = states + before,
            .state = states + behind,
            .cell_before = cells + before,
            .cell = cells + behind,
            .kept = floats_at(kept, kept_[d].more) + t * elements};
  }

  /// B of the input's product, and behind it the candidate's share that is reset.
  void make_bias(const float* given, float* bias) const {
    const int64_t width = shape_.width(), units = shape_.units;
    std::fill_n(bias, width + units, 0.0f);
    if (!given) return;
    const int64_t both = shape_.reset_after ? 2 * units : width;
    for (int64_t i = 0; i < width; ++i) bias[i] = i < both ? given[i] + given[width + i] : given[i];
    if (shape_.reset_after) std::copy_n(given + width + both, units, bias + width);
  }

  void forward_direction(const OpForward& run, std::byte* kept, int64_t d) {
    const int64_t units = shape_.units, width = shape_.width(), elements = samples_ * units;
    std::byte* const pad = run.scratch + forward_pad_;
    float *const bias = floats_at(run.scratch, bias_), *const sums = floats_at(run.scratch, sums_);
    make_bias(shape_.bias ? run.parameters[2] + d * 2 * width : nullptr, bias);
    input_.pack(run.parameters[0] + d * width * shape_.inputs, run.scratch, pad);
    input_.run(floats_at(kept, x_), floats_at(kept, kept_[d].gates), pad, bias);
    const float* recurrent = run.parameters[1] + d * width * units;
    state_.pack(recurrent, run.scratch, pad);
    if (candidate_) candidate_.pack(recurrent + joint() * units, run.scratch, pad);
    const int64_t end = end_of(kept);
    clear_states(kept_[d].states, kept, d, end);
    if (shape_.cell == Cell::lstm) clear_states(kept_[d].cells, kept, d, end);
    std::fill_n(sums, samples_ * width, 0.0f);  // the first step's: there is no state before
    for (int64_t k = 0; k < end; ++k) {
      const int64_t t = step_of(d, k, end);
      RecurrentStep step = step_at(kept, d, t);
      step.bias = bias + width;
      if (k > 0) state_.run(step.before, sums, pad);
      forward_step(step, k > 0, sums, pad);
      if (shape_.sequence) put_states(step.state, t, d, run.output);
    }
    for (int64_t t = end; shape_.sequence && t < shape_.steps; ++t)
      put_states(floats_at(kept, kept_[d].states) + shape_.steps * elements, t, d, run.output);
    if (!shape_.sequence) put_last_states(kept, d, run.output);
  }

  /// What no step before `end` writes: the state before the first one, and all behind the end.
  void clear_states(size_t states, std::byte* kept, int64_t d, int64_t end) const {
    const int64_t elements = samples_ * shape_.units, behind = shape_.backwards(d) ? end : end + 1;
    float* const first = floats_at(kept, states);
    if (!shape_.backwards(d)) std::fill_n(first, elements, 0.0f);
    std::fill(first + behind * elements, first + (shape_.steps + 1) * elements, 0.0f);
  }

  void forward_step(const RecurrentStep& step, bool has_state, float* sums, std::byte* pad) {
    if (shape_.cell == Cell::rnn) return rnn_forward(step, shape_.relu, sums);
    if (shape_.cell == Cell::lstm) return lstm_forward(step, sums);
    if (shape_.reset_after) return gru_forward(step, sums);
    gru_gates_forward(step, sums);
    if (has_state) candidate_.run(step.kept, sums, pad);
    gru_candidate_forward(step, sums);
  }

  void put_states(const float* states, int64_t t, int64_t d, float* output) const {
    for (int64_t r = 0; r < samples_; ++r)
      std::copy_n(states + r * shape_.units, shape_.units,
                  output + (r * shape_.steps + t) * shape_.output_width() + d * shape_.units);
  }

  void put_last_states(std::byte* kept, int64_t d, float* output) const {
    const float* states = floats_at(kept, kept_[d].states);
    for (int64_t r = 0; r < samples_; ++r) {
      const int64_t end = shape_.lengths ? lengths(kept)[r] : shape_.steps;
      const int64_t place = shape_.backwards(d) ? 0 : end;
      std::copy_n(states + (place * samples_ + r) * shape_.units, shape_.units,
                  output + r * shape_.output_width() + d * shape_.units);
    }
  }

  void backward_steps(const OpBackward& run, int64_t d) {
    const int64_t units = shape_.units, elements = samples_ * units;
    std::byte* const pad = run.scratch + backward_pad_;
    float *const dstate = floats_at(run.scratch, dstate_), *const dcell = floats_at(run.scratch, dcell_),
                 *const carried = floats_at(run.scratch, carried_);
    const float* recurrent = run.parameters[1] + d * shape_.width() * units;
    state_gradient_.pack(recurrent, run.scratch, pad);
    if (candidate_gradient_) candidate_gradient_.pack(recurrent + joint() * units, run.scratch, pad);
    std::fill_n(dstate, elements, 0.0f);
    std::fill_n(dcell, elements, 0.0f);
    const int64_t end = end_of(run.saved);
    for (int64_t k = end - 1; k >= 0; --k) {
      const int64_t t = step_of(d, k, end);
      const RecurrentStep step = step_at(run.saved, d, t);
      add_output_gradient(run, d, t, k + 1 < end ? carried : nullptr, dstate);
      const float* dsums = backward_step(step, k > 0, dstate, dcell, run.scratch);
      if (k > 0) state_gradient_.run(dsums, carried, pad);
    }
    // Rows of steps that were not computed count nothing in the products over all steps.
    const int64_t left = (shape_.steps - end) * samples_, done = end * samples_;
    std::fill_n(floats_at(run.saved, kept_[d].gates) + done * shape_.width(), left * shape_.width(), 0.0f);
    if (shape_.cell == Cell::gru)
      std::fill_n(floats_at(run.saved, kept_[d].more) + done * units, left * units, 0.0f);
  }

  /// dstate += carried (may be null) + what the output's gradient says of step t.
  void add_output_gradient(const OpBackward& run, int64_t d, int64_t t, const float* carried,
                           float* dstate) const {
    const int64_t width = shape_.output_width(), units = shape_.units;
    const float* dy = run.output_gradient + d * units;
    if (shape_.sequence)
      return add_state_gradients(samples_, units, carried, dy + t * width, shape_.steps * width, dstate);
    add_state_gradients(samples_, units, carried, nullptr, 0, dstate);
    for (int64_t r = 0; r < samples_; ++r) {
      const int64_t end = shape_.lengths ? lengths(run.saved)[r] : shape_.steps;
      const int64_t last = shape_.backwards(d) ? 0 : end - 1;
      if (t == last) add_state_gradients(1, units, nullptr, dy + r * width, 0, dstate + r * units);
    }
  }

  /// Returns what is to be multiplied by R for the state before.
  const float* backward_step(const RecurrentStep& step, bool has_state, float* dstate, float* dcell,
                             std::byte* scratch) {
    float* const dsums = floats_at(scratch, sums_gradient_);
    if (shape_.cell == Cell::rnn) {
      rnn_backward(step, shape_.relu, dstate);
    } else if (shape_.cell == Cell::lstm) {
      lstm_backward(step, dstate, dcell);
    } else if (shape_.reset_after) {
      gru_backward(step, dstate, dsums);
      return dsums;
    } else {
      gru_candidate_backward(step, dstate);
      if (has_state)
        candidate_gradient_.run(step.gates + joint(), dsums, scratch + backward_pad_);
      else
        std::fill_n(dsums, samples_ * shape_.units, 0.0f);
      gru_gates_backward(step, dsums, dstate);
    }
    return step.gates;
  }

  void parameter_gradients(const OpBackward& run, int64_t d) {
    const int64_t units = shape_.units, width = shape_.width();
    std::byte* const pad = run.scratch + backward_pad_;
    const float *dz = floats_at(run.saved, kept_[d].gates), *more = floats_at(run.saved, kept_[d].more);
    const float* before = step_at(run.saved, d, 0).before;
    float* const dr = run.parameter_gradients[1] + d * width * units;
    weights_product_.primitive.run(
        {dz, floats_at(run.saved, x_), run.parameter_gradients[0] + d * width * shape_.inputs, pad});
    recurrent_product_.primitive.run({dz, before, dr, pad});
    if (shape_.cell == Cell::gru) {
      const int64_t gates = 2 * units;
      candidate_product_.primitive.run({shape_.reset_after ? more : dz + gates,
                                        shape_.reset_after ? before : more, dr + gates * units, pad});
    }
    if (!shape_.bias) return;
    float* const db = run.parameter_gradients[2] + d * 2 * width;
    sum_rows(rows_, width, dz, db);
    std::copy_n(db, width, db + width);
    if (shape_.reset_after) sum_rows(rows_, units, more, db + 2 * width - units);
  }

  RecurrentShape shape_;
  int64_t samples_, rows_;  ///< rows: of all steps
  bool training_;
  size_t x_ = 0, lengths_ = 0, kept_bytes_ = 0;  ///< x: step by step
  Kept kept_[2];
  PackedProduct input_, state_, candidate_, input_gradient_, state_gradient_, candidate_gradient_;
  onednn::Planned weights_product_, recurrent_product_, candidate_product_;
  size_t kept_begin_ = 0, sums_ = 0, bias_ = 0, forward_pad_ = 0;
  size_t dx_ = 0, sums_gradient_ = 0, dstate_ = 0, dcell_ = 0, carried_ = 0, backward_pad_ = 0;
};

}  // namespace

Shape infer_recurrent(const OpSpec& spec) {
  const RecurrentShape shape(spec);
  if (shape.sequence) return {shape.steps, shape.output_width()};
  return {shape.output_width()};
}

std::unique_ptr<Op> make_recurrent(const OpSpec& spec) {
  return std::make_unique<RecurrentOp>(spec);
}

}  // namespace lepton::ops
