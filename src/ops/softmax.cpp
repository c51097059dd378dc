// SPDX-License-Identifier: Apache-2.0
// Softmax and LogSoftmax over the last dimension of memory: features of a vector, channels of an image.
// y = e^(x - max) / sum, dx = y (dy - sum(dy y)); or y = x - max - ln(sum), dx = dy - e^y sum(dy). Sums in
// double in index order. Made by the table, run by model/executor.
#include "base/simd.h"
#include "ops/math.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

LEPTON_SIMD void exponentials(int64_t count, float shift, const float* x, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = math::exp(x[i] - shift);
}
LEPTON_SIMD void scale(int64_t count, float factor, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] *= factor;
}

class SoftmaxOp : public Op {
 public:
  explicit SoftmaxOp(const OpSpec& spec)
      : width_(innermost(spec.inputs[0], spec.layouts[0])),
        rows_(spec.samples * element_count(spec.inputs[0]) / width_) {}

  void forward(const OpForward& run) override {
    for (int64_t r = 0; r < rows_; ++r) {
      const float* x = run.inputs[0] + r * width_;
      float* y = run.output + r * width_;
      float largest = x[0];
      for (int64_t i = 1; i < width_; ++i) largest = x[i] > largest ? x[i] : largest;
      exponentials(width_, largest, x, y);
      double sum = 0;
      for (int64_t i = 0; i < width_; ++i) sum += static_cast<double>(y[i]);
      scale(width_, static_cast<float>(1.0 / sum), y);
    }
  }

  void backward(const OpBackward& run) override {
    if (!run.input_gradients[0]) return;
    for (int64_t r = 0; r < rows_; ++r) {
      const float *y = run.output + r * width_, *dy = run.output_gradient + r * width_;
      float* dx = run.input_gradients[0] + r * width_;
      double sum = 0;
      for (int64_t i = 0; i < width_; ++i) sum += static_cast<double>(dy[i]) * static_cast<double>(y[i]);
      for (int64_t i = 0; i < width_; ++i)
        dx[i] = static_cast<float>(static_cast<double>(y[i]) * (static_cast<double>(dy[i]) - sum));
    }
  }

  BackwardNeeds backward_needs() const override { return {.inputs = false, .output = true}; }
  bool in_place() const override { return true; }

 private:
  int64_t width_, rows_;
};

LEPTON_SIMD void log_softmax_row(int64_t count, float largest, double logarithm, const float* x, float* y) {
  for (int64_t i = 0; i < count; ++i)
    y[i] = static_cast<float>(static_cast<double>(x[i] - largest) - logarithm);
}
LEPTON_SIMD void log_softmax_gradient_row(int64_t count, float sum, const float* y, const float* dy,
                                          float* dx) {
  for (int64_t i = 0; i < count; ++i) dx[i] = dy[i] - math::exp(y[i]) * sum;
}

class LogSoftmaxOp : public Op {
 public:
  explicit LogSoftmaxOp(const OpSpec& spec)
      : width_(innermost(spec.inputs[0], spec.layouts[0])),
        rows_(spec.samples * element_count(spec.inputs[0]) / width_) {
    MemoryPlan scratch;
    scratch.add_floats(width_);
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const OpForward& run) override {
    float* powers = floats_at(run.scratch, 0);
    for (int64_t r = 0; r < rows_; ++r) {
      const float* x = run.inputs[0] + r * width_;
      float largest = x[0];
      for (int64_t i = 1; i < width_; ++i) largest = x[i] > largest ? x[i] : largest;
      exponentials(width_, largest, x, powers);
      double sum = 0;
      for (int64_t i = 0; i < width_; ++i) sum += static_cast<double>(powers[i]);
      // The largest gives 1, so less is a NaN, which log_double does not take.
      const double logarithm = sum >= 1.0 ? math::log_double(sum) : sum;
      log_softmax_row(width_, largest, logarithm, x, run.output + r * width_);
    }
  }

  void backward(const OpBackward& run) override {
    if (!run.input_gradients[0]) return;
    for (int64_t r = 0; r < rows_; ++r) {
      const float *y = run.output + r * width_, *dy = run.output_gradient + r * width_;
      double sum = 0;
      for (int64_t i = 0; i < width_; ++i) sum += static_cast<double>(dy[i]);
      log_softmax_gradient_row(width_, static_cast<float>(sum), y, dy, run.input_gradients[0] + r * width_);
    }
  }

  BackwardNeeds backward_needs() const override { return {.inputs = false, .output = true}; }
  bool in_place() const override { return true; }

 private:
  int64_t width_, rows_;
};

}  // namespace

Shape infer_softmax(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  const int64_t rank = static_cast<int64_t>(input.size());
  const int64_t axis = sample_axis(spec, "axis", -1);
  require_shape(axis == 0 || axis + 1 == rank, spec.type + " is computed over axis 1 or the last one of " +
                                                   shape_text(input) + ", not " + std::to_string(axis + 1));
  return input;
}

std::unique_ptr<Op> make_softmax(const OpSpec& spec) {
  if (spec.type == "LogSoftmax") return std::make_unique<LogSoftmaxOp>(spec);
  return std::make_unique<SoftmaxOp>(spec);
}

}  // namespace lepton::ops
