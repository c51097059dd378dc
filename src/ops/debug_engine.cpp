// SPDX-License-Identifier: Apache-2.0
// The host's ops and loops as work of the debug device. What a run is described by is copied when it is
// enqueued, as arguments of a kernel are. Opened by train.
#include "ops/debug_engine.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ops/operators.h"
#include "ops/parameters_hash.h"
#include "ops/quantise.h"
#include "ops/table.h"
#include "tensor/debug_device.h"

namespace lepton::ops {

namespace {

/// Where work goes, and whose memory it may name.
struct Site {
  DebugDevice& device;
  Queue& queue;

  void need(const void* memory, int64_t bytes, const char* what) const {
    CHECK(memory == nullptr || bytes <= 0 || device.holds(memory, static_cast<size_t>(bytes)),
          std::string(what) + " does not lie in device memory");
  }
  template <class T>
  void need(const T* memory, int64_t count, const char* what) const {
    need(static_cast<const void*>(memory), count * static_cast<int64_t>(sizeof(T)), what);
  }
  /// What is known of these only when the work runs (how many segments, which report) is not tested.
  void need(const UnitTag* tag, const UnitReport* reports) const {
    need(tag, 1, "the unit's tag");
    need(reports, 1, "the reports");
  }
  void need(const BlockTable& table) const {
    need(table.segments, 1, "the segments");
    need(table.segment_begin, (table.elements + block_elements - 1) / block_elements + 1, "the segments");
    need(table.rules, 1, "the tensors' rules");
  }
  void enqueue(std::function<void()> work) const { device.enqueue(queue, std::move(work)); }
};

template <class T>
std::vector<T> copied(std::span<const T> values) {
  return {values.begin(), values.end()};
}

/// An op of the host whose runs are enqueued.
class DebugOp : public Op {
 public:
  DebugOp(const Site& site, const OpSpec& spec, Arithmetic& planner)
      : site_(site), spec_(spec), op_(planner.make_op(spec)) {
    saved_bytes_ = op_->saved_bytes();
    scratch_bytes_ = op_->scratch_bytes();
    if (op_->gradient_parts().rows)
      scratch_bytes_ += static_cast<size_t>(op_->gradient_parts().elements) * sizeof(float);
  }

  void forward(const OpForward& run) override {
    need_values(run.inputs, run.parameters, run.unit);
    need_work(run.output, run.saved, run.scratch);
    const size_t before = spec_.parameters.size() - run.statistics.size();
    for (size_t i = 0; i < run.statistics.size(); ++i)
      site_.need(run.statistics[i], element_count(spec_.parameters[before + i]), "a statistic");
    site_.enqueue([this, run, inputs = copied(run.inputs), parameters = copied(run.parameters),
                   statistics = std::vector<float*>(run.statistics.begin(), run.statistics.end()),
                   unit = *run.unit] {
      OpForward own = run;
      own.inputs = inputs;
      own.parameters = parameters;
      own.statistics = statistics;
      own.unit = &unit;
      op_->forward(own);
    });
  }

  void backward(const OpBackward& run) override {
    need_values(run.inputs, run.parameters, run.unit);
    need_work(run.output, run.saved, run.scratch);
    site_.need(run.output_gradient, spec_.samples * element_count(spec_.output), "a gradient");
    for (size_t i = 0; i < run.input_gradients.size(); ++i)
      site_.need(run.input_gradients[i], spec_.samples * element_count(spec_.inputs[i]), "a gradient");
    for (size_t i = 0; i < run.parameter_gradients.size(); ++i)
      site_.need(run.parameter_gradients[i], gradient_elements(i), "a parameter's gradient");
    site_.enqueue(
        [this, run, inputs = copied(run.inputs), parameters = copied(run.parameters),
         input_gradients = std::vector<float*>(run.input_gradients.begin(), run.input_gradients.end()),
         parameter_gradients =
             std::vector<float*>(run.parameter_gradients.begin(), run.parameter_gradients.end()),
         unit = *run.unit] {
          OpBackward own = run;
          own.inputs = inputs;
          own.parameters = parameters;
          own.input_gradients = input_gradients;
          own.parameter_gradients = parameter_gradients;
          own.unit = &unit;
          if (op_->gradient_parts().rows)
            backward_of_rows(own, parameter_gradients);
          else
            op_->backward(own);
        });
  }

  /// Who enqueues cannot ask for rows that are not known yet: they are spread.
  GradientParts gradient_parts() const override {
    return op_->gradient_parts().rows ? GradientParts{} : op_->gradient_parts();
  }
  void backward_part(const OpBackward& run, int64_t part) override {
    need_work(run.output, run.saved, run.scratch);
    site_.need(run.parameter_gradients[0], gradient_elements(0), "a parameter's gradient");
    site_.enqueue(
        [this, run, part, inputs = copied(run.inputs), gradient = run.parameter_gradients[0]]() mutable {
          OpBackward own = run;
          own.inputs = inputs;
          own.parameter_gradients = {&gradient, 1};
          op_->backward_part(own, part);
        });
  }
  BackwardNeeds backward_needs() const override { return op_->backward_needs(); }
  bool in_place() const override { return op_->in_place(); }

 private:
  void backward_of_rows(OpBackward& run, std::vector<float*> gradients) const {
    float* const whole = std::exchange(gradients[0], floats_at(run.scratch, op_->scratch_bytes()));
    run.parameter_gradients = gradients;
    op_->backward(run);
    const GradientRows touched = op_->gradient_rows(run);
    std::fill_n(whole, element_count(spec_.parameters[0]), 0.0f);
    for (size_t i = 0; i < touched.rows.size(); ++i)
      std::copy_n(gradients[0] + static_cast<int64_t>(i) * touched.width, touched.width,
                  whole + touched.rows[i] * touched.width);
  }

  /// How much of a parameter's gradient is written at a time.
  int64_t gradient_elements(size_t parameter) const {
    const GradientParts parts = gradient_parts();
    return parameter == 0 && parts.count > 1 ? parts.elements : element_count(spec_.parameters[parameter]);
  }
  void need_work(const float* output, const std::byte* saved, const std::byte* scratch) const {
    site_.need(output, spec_.samples * element_count(spec_.output), "an output");
    site_.need(saved, static_cast<int64_t>(saved_bytes_), "what an op keeps");
    site_.need(scratch, static_cast<int64_t>(scratch_bytes_), "an op's scratch");
  }
  void need_values(std::span<const float* const> inputs, std::span<const float* const> parameters,
                   const UnitContext* unit) const {
    for (size_t i = 0; i < inputs.size(); ++i)
      site_.need(inputs[i], spec_.samples * element_count(spec_.inputs[i]), "an input");
    for (size_t i = 0; i < parameters.size(); ++i)
      site_.need(parameters[i], element_count(spec_.parameters[i]), "a parameter");
    site_.need(unit->sample_ids.data(), spec_.samples, "the list of sample ids");
    site_.need(unit->step, 1, "the number of the step");
  }

  const Site& site_;
  OpSpec spec_;
  std::unique_ptr<Op> op_;
};

class DebugArithmetic : public Arithmetic {
 public:
  DebugArithmetic(const Site& site, Precision precision)
      : site_(site), planner_(host_arithmetic(precision)) {}
  Device device() const override { return {DeviceKind::debug, 0, &site_.device}; }
  std::unique_ptr<Op> make_op(const OpSpec& spec) override {
    return std::make_unique<DebugOp>(site_, spec, planner_);
  }
  void add(float* into, const float* from, int64_t count) override {
    site_.need(into, count, "a sum");
    site_.need(from, count, "an addend");
    site_.enqueue([=] { host_arithmetic().add(into, from, count); });
  }
  bool all_finite(const float* values, int64_t count) override {
    bool finite = true;
    site_.need(values, count, "an array");
    site_.enqueue([&finite, values, count] { finite = host_arithmetic().all_finite(values, count); });
    site_.queue.synchronize();
    return finite;
  }

 private:
  Site site_;
  Arithmetic& planner_;
};

class DebugStepMath : public StepMath {
 public:
  explicit DebugStepMath(const Site& site) : site_(site) {}
  void loss(const LossRun& run) override;
  void quantise_add(const QuantiseRun& run) override;
  void verify(const VerifyRun& run) override;
  void update(const UpdateRun& run) override;
  void hash_blocks(const float* arena, int64_t elements, int64_t first_block, int64_t end_block,
                   uint64_t* hashes) override;
  void add_sums(int64_t* sums, const int64_t* more, int64_t count) override;

 private:
  Site site_;
};

template <class T>
std::span<T> span_of(T* data, int64_t count) {
  return {data, data ? static_cast<size_t>(count) : 0};
}

/// A part of each sample's scores, side by side.
std::vector<float> part_of(const LossRun& run, const float* scores) {
  std::vector<float> part;
  for (int64_t i = 0; i < run.samples; ++i)
    part.insert(part.end(), scores + run.scores_at(i), scores + run.scores_at(i) + run.outputs);
  return part;
}

/// One of several losses of a unit.
UnitLoss loss_of_part(const LossRun& run, const Loss& loss, const Targets& targets) {
  const std::vector<float> scores = part_of(run, run.scores);
  std::vector<float> gradient(run.gradient ? scores.size() : 0);
  const UnitLoss sums = loss.unit(scores, targets, gradient);
  for (size_t i = 0; i < gradient.size(); ++i) {
    const auto k = static_cast<int64_t>(i);
    run.gradient[run.scores_at(k / run.outputs) + k % run.outputs] = gradient[i] * run.part.factor;
  }
  return sums;
}

void DebugStepMath::loss(const LossRun& run) {
  const int64_t numbers = run.samples * run.outputs,
                reach = run.samples > 0 ? run.scores_at(run.samples - 1) + run.outputs : 0;
  site_.need(run.scores, reach, "the scores");
  site_.need(run.classes, run.samples, "the classes");
  site_.need(run.values, numbers, "the targets");
  site_.need(run.gradient, reach, "the scores' gradient");
  site_.need(run.part.sums, run.part.losses, "the sums of losses");
  site_.need(run.class_weights, run.outputs, "the weights of classes");
  site_.need(run.counts, run.tally.size(), "the counts of metrics");
  site_.need(run.per_sample, run.samples, "the losses of samples");
  site_.need(run.tag, run.reports);
  site_.enqueue([=] {
    const std::span<const double> weights = span_of(run.class_weights, run.outputs);
    const Loss loss(run.spec, run.outputs, {run.term_positions, false, {weights.begin(), weights.end()}});
    const Targets targets{span_of(run.classes, run.samples), span_of(run.values, numbers)};
    UnitReport& report = run.reports[run.tag->report];
    report.unit_plus_1 = run.tag->unit + 1;
    if (run.part.row > 0) {
      run.part.sums[run.tag->report * run.part.losses + run.part.number] = loss_of_part(run, loss, targets);
      return;
    }
    const std::span<const float> scores = span_of(run.scores, numbers);
    report.loss = loss.unit(scores, targets, span_of(run.gradient, numbers));
    if (run.counts) loss.count(run.tally, scores, targets, span_of(run.counts, run.tally.size()));
  });
}

/// Calls visit(block, first element, end) for the parts of [begin, end) that lie in one block each.
template <class Visit>
void for_blocks(int64_t begin, int64_t end, const Visit& visit) {
  for (int64_t from = begin; from < end;) {
    const int64_t block = from / block_elements, to = std::min((block + 1) * block_elements, end);
    visit(block, from, to);
    from = to;
  }
}

void DebugStepMath::quantise_add(const QuantiseRun& run) {
  site_.need(run.values, run.count, "a gradient");
  site_.need(run.sums.elements + run.begin, run.count, "the sums");
  site_.need(run.sums.checksums, (run.begin + run.count - 1) / block_elements + 1, "the checksums");
  site_.need(run.sums.magnitudes, run.tensor + 1, "the magnitudes");
  site_.need(run.sums.scales, run.tensor + 1, "the scales");
  site_.need(run.tag, run.reports);
  constexpr uint32_t infinity = 0x7f800000;
  site_.enqueue([=] {
    UnitReport& report = run.reports[run.tag->report];
    for_blocks(run.begin, run.begin + run.count, [&](int64_t block, int64_t from, int64_t to) {
      const Quantised added =
          ops::quantise_add(span_of(run.values + (from - run.begin), to - from), run.sums.scales[run.tensor],
                            span_of(run.sums.elements + from, to - from));
      run.sums.checksums[block] =
          static_cast<int64_t>(static_cast<uint64_t>(run.sums.checksums[block]) + added.check);
      uint32_t& largest = run.sums.magnitudes[run.tensor];
      if (added.magnitude_bits >= infinity)
        report.blame = std::max(report.blame, ~static_cast<uint32_t>(run.tensor));
      else
        largest = std::max(largest, added.magnitude_bits);
    });
  });
}

/// The rounded gradient sums of a segment, in `room`.
std::span<float> rounded(const DeviceSums& sums, const Segment& segment, std::span<float> room) {
  const std::span<float> gradient = room.first(static_cast<size_t>(segment.end - segment.begin));
  dequantise(span_of<const int64_t>(sums.elements + segment.begin, segment.end - segment.begin),
             sums.scales[segment.tensor], gradient);
  return gradient;
}

template <class Visit>
void for_segments(const BlockTable& table, int64_t block, const Visit& visit) {
  for (int64_t s = table.segment_begin[block]; s < table.segment_begin[block + 1]; ++s)
    visit(table.segments[s], table.rules[table.segments[s].tensor]);
}

void DebugStepMath::verify(const VerifyRun& run) {
  site_.need(run.table);
  site_.need(run.sums.elements, run.table.elements, "the sums");
  site_.need(run.sums.checksums, run.end_block, "the checksums");
  site_.need(run.sums.scales, 1, "the scales");
  site_.need(run.checks, run.end_block - run.first_block, "what is found of blocks");
  site_.enqueue([=] {
    std::array<float, block_elements> room;
    for (int64_t b = run.first_block; b < run.end_block; ++b) {
      const int64_t begin = b * block_elements, end = std::min(begin + block_elements, run.table.elements);
      BlockCheck& check = run.checks[b - run.first_block];
      check.stated = run.sums.checksums[b];
      check.found =
          static_cast<int64_t>(checksum(span_of<const int64_t>(run.sums.elements + begin, end - begin)));
      if (!run.norms) continue;
      check.norm = 0;
      for_segments(run.table, b, [&](const Segment& segment, const TensorRule& rule) {
        if (!rule.statistic) check.norm += sum_of_squares(rounded(run.sums, segment, room));
      });
    }
  });
}

void DebugStepMath::update(const UpdateRun& run) {
  const int64_t slice = run.first_block * block_elements,
                slice_end = std::min(run.end_block * block_elements, run.table.elements);
  site_.need(run.table);
  site_.need(run.sums.elements, run.table.elements, "the sums");
  site_.need(run.sums.scales, 1, "the scales");
  site_.need(run.parameters, run.table.elements, "the parameters");
  site_.need(run.parameters_new, run.table.elements, "the new parameters");
  for (size_t m = 0; m < 2; ++m) {
    site_.need(run.moments[m], slice_end - slice, "the moments");
    site_.need(run.moments_new[m], slice_end - slice, "the new moments");
  }
  site_.enqueue([=] {
    std::array<float, block_elements> room;
    for (int64_t b = run.first_block; b < run.end_block; ++b)
      for_segments(run.table, b, [&](const Segment& segment, const TensorRule& rule) {
        const int64_t begin = segment.begin, count = segment.end - segment.begin;
        SegmentState state;
        state.gradient = rounded(run.sums, segment, room);
        state.parameters = span_of(run.parameters + begin, count);
        state.parameters_new = span_of(run.parameters_new + begin, count);
        for (size_t m = 0; m < 2; ++m) {
          if (!run.moments[m]) continue;
          state.moments[m] = span_of(run.moments[m] + (begin - slice), count);
          state.moments_new[m] = span_of(run.moments_new[m] + (begin - slice), count);
        }
        ops::update_segment(run.rule, rule, state);
      });
  });
}

void DebugStepMath::hash_blocks(const float* arena, int64_t elements, int64_t first_block, int64_t end_block,
                                uint64_t* hashes) {
  site_.need(arena, elements, "the parameters");
  site_.need(hashes + first_block, end_block - first_block, "the hashes");
  site_.enqueue([=] {
    for (int64_t b = first_block; b < end_block; ++b)
      hashes[b] = parameters_block_hash(span_of(arena, elements), b);
  });
}

void DebugStepMath::add_sums(int64_t* sums, const int64_t* more, int64_t count) {
  site_.need(sums, count, "the sums");
  site_.need(more, count, "another node's sums");
  site_.enqueue([=] {
    for (int64_t i = 0; i < count; ++i)
      sums[i] = static_cast<int64_t>(static_cast<uint64_t>(sums[i]) + static_cast<uint64_t>(more[i]));
  });
}

}  // namespace

Engine open_debug_engine(size_t bytes_max, uint64_t seed, Precision precision) {
  auto device = std::make_unique<DebugDevice>(bytes_max, seed);
  Engine engine;
  engine.queue = device->make_queue();
  const Site site{*device, *engine.queue};
  engine.arithmetic = std::make_unique<DebugArithmetic>(site, precision);
  engine.step_math = std::make_unique<DebugStepMath>(site);
  engine.backend = std::move(device);
  engine.libraries = math_library_version() + ", " + precision_name(precision);
  return engine;
}

}  // namespace lepton::ops
