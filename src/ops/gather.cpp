// SPDX-License-Identifier: Apache-2.0
// Gather (ONNX, axis = 0) of the rows of a parameter [V, D]: an embedding. Its input holds row numbers [T] as
// float32, which has all whole numbers below 2^24; output [T, D]. Numbers are checked when the data are read
// (data/store), where each is to be a row, and here: Error(data). The gradient is that of the rows that occur
// alone: positions are sorted by (row, position), rows summed in that order. Made by the table, run by
// model/executor. Twin: kernels/gather.cu.
#include <algorithm>

#include "base/simd.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

constexpr int64_t rows_most = int64_t{1} << 24;  // whole numbers in float32

LEPTON_SIMD void add_to(int64_t count, const float* from, float* into) {
  for (int64_t i = 0; i < count; ++i) into[i] += from[i];
}

class GatherOp : public Op {
 public:
  explicit GatherOp(const OpSpec& spec)
      : count_(spec.samples * element_count(spec.inputs[0])),
        rows_(spec.parameters[0][0]),
        width_(spec.parameters[0][1]) {
    if (!spec.training) return;
    MemoryPlan memory;
    order_ = memory.add(static_cast<size_t>(count_) * sizeof(Place));
    touched_ = memory.add(static_cast<size_t>(most_touched()) * sizeof(int64_t));
    touched_count_ = memory.add(sizeof(int64_t));
    saved_bytes_ = memory.bytes();
  }

  void forward(const OpForward& run) override {
    for (int64_t i = 0; i < count_; ++i)
      std::copy_n(run.parameters[0] + row_of(run.inputs[0][i]) * width_, width_, run.output + i * width_);
  }

  void backward(const OpBackward& run) override {
    CHECK(!run.input_gradients[0], "row numbers have no gradient");
    auto* order = reinterpret_cast<Place*>(run.saved + order_);
    for (int64_t i = 0; i < count_; ++i) order[i] = {row_of(run.inputs[0][i]), i};
    std::sort(order, order + count_, [](const Place& a, const Place& b) {
      return a.row != b.row ? a.row < b.row : a.position < b.position;
    });
    auto* touched = reinterpret_cast<int64_t*>(run.saved + touched_);
    int64_t found = 0;
    for (int64_t i = 0; i < count_; ++i) {
      const float* from = run.output_gradient + order[i].position * width_;
      if (i > 0 && order[i].row == order[i - 1].row) {
        add_to(width_, from, run.parameter_gradients[0] + (found - 1) * width_);
      } else {
        touched[found] = order[i].row;
        std::copy_n(from, width_, run.parameter_gradients[0] + found++ * width_);
      }
    }
    *reinterpret_cast<int64_t*>(run.saved + touched_count_) = found;
  }

  GradientParts gradient_parts() const override {
    return {.count = 1, .elements = most_touched() * width_, .rows = true};
  }
  GradientRows gradient_rows(const OpBackward& run) const override {
    const auto found = *reinterpret_cast<const int64_t*>(run.saved + touched_count_);
    return {{reinterpret_cast<const int64_t*>(run.saved + touched_), static_cast<size_t>(found)}, width_};
  }
  BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  struct Place {
    int64_t row, position;
  };
  int64_t most_touched() const { return std::min(count_, rows_); }
  int64_t row_of(float number) const {
    REQUIRE(number >= 0 && number < static_cast<float>(rows_), Exit::data, "",
            "a table of " + std::to_string(rows_) + " rows is asked for row " + std::to_string(number),
            "Rows count from 0: an input's numbers do not fit the network.");
    return static_cast<int64_t>(number);
  }

  int64_t count_, rows_, width_;
  size_t order_ = 0, touched_ = 0, touched_count_ = 0;
};

}  // namespace

Shape infer_gather(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  require_shape(int_attribute(spec.attributes, "axis", 0) == 0, "Gather takes rows only (axis = 0)");
  require_shape(spec.parameters.size() == 1 && spec.parameters[0].size() == 2,
                "Gather needs a table [rows, width]");
  require_shape(spec.parameters[0][0] <= rows_most,
                "Gather takes rows by numbers in float32: no more than 16,777,216");
  require_shape(input.size() == 1, "Gather needs row numbers [T] per sample, not " + shape_text(input));
  return {input[0], spec.parameters[0][1]};
}

std::unique_ptr<Op> make_gather(const OpSpec& spec) {
  return std::make_unique<GatherOp>(spec);
}

}  // namespace lepton::ops
