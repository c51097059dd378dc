// SPDX-License-Identifier: Apache-2.0
// StepMath of every device against the host's functions on an arena of four blocks, bit for bit: losses,
// gradients into exact sums and their checksums, what is found of blocks, updates, hashes. The arena has a
// tensor that starts within a block and spans several, one without decay, and statistics.
#include "ops/step_math.h"

#include <bit>
#include <cmath>
#include <numeric>

#include "ops/device_rig.h"
#include "ops/harness.h"
#include "ops/loss_cases.h"
#include "ops/parameters_hash.h"
#include "ops/quantise.h"
#include "ops/update_rules.h"

namespace lepton::ops {
namespace {

using namespace testing;
using Words = std::vector<int64_t>;

constexpr int tensors = 5;
constexpr float infinity = std::numeric_limits<float>::infinity();

ArenaLayout five_tensors() {
  ArenaLayout layout;
  layout.add("a", {5000}, TensorRole::parameter, true, 0.01);
  layout.add("b", {7}, TensorRole::parameter, false, 0.01);
  layout.add("c", {9001}, TensorRole::parameter, true);
  layout.add("f", {101}, TensorRole::parameter, true, 0.01, true);
  layout.add("s", {33}, TensorRole::statistic, false);
  layout.finish();
  return layout;
}

/// The arena on an engine, and what its sums should be on the host.
class Arena {
 public:
  explicit Arena(const std::string& device) : rig(device) {
    Words begins;
    for (int64_t b = 0; b <= layout.blocks(); ++b) begins.push_back(layout.segment_begin(b));
    for (const ArenaTensor& t : layout.tensors())
      rules.push_back({t.role == TensorRole::statistic, t.decays, static_cast<float>(t.l2), t.frozen});
    table = {rig.up(layout.segments()), rig.up(begins), rig.up(rules), layout.elements()};
    sums = {rig.up(elements), rig.up(checksums()), rig.up(magnitudes), rig.up(scales)};
    tag = rig.up(std::vector<UnitTag>{{.unit = 41, .step = 5, .report = 2}});
    reports = rig.up(std::vector<UnitReport>(4));
  }

  const ArenaTensor& tensor(int t) const { return layout.tensors()[static_cast<size_t>(t)]; }
  QuantiseRun quantise(int t, int64_t first, const Floats& values) {
    return {t, tensor(t).offset + first, std::ssize(values), rig.up(values), sums, tag, reports};
  }
  /// Adds values to elements first, first + 1, ... of a tensor, here and there.
  void add(int t, int64_t first, const Floats& values) {
    const auto at = static_cast<size_t>(tensor(t).offset + first), index = static_cast<size_t>(t);
    const Quantised added =
        quantise_add(values, scales[index], std::span(elements).subspan(at, values.size()));
    if (added.magnitude_bits < std::bit_cast<uint32_t>(infinity))
      magnitudes[index] = std::max(magnitudes[index], added.magnitude_bits);
    math().quantise_add(quantise(t, first, values));
  }
  /// A unit's whole gradient.
  void add_unit(uint32_t seed) {
    for (int t = 0; t < tensors; ++t) add(t, 0, random_floats(tensor(t).count, seed + uint32_t(t)));
  }
  Words checksums() const {
    Words result;
    for (int64_t b = 0; b < layout.blocks(); ++b) result.push_back(static_cast<int64_t>(checksum(block(b))));
    return result;
  }
  std::span<const int64_t> block(int64_t b) const {
    const int64_t begin = b * block_elements, end = std::min(begin + block_elements, layout.elements());
    return std::span(elements).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  }
  Floats rounded(const Segment& segment) const {
    Floats gradient(static_cast<size_t>(segment.end - segment.begin));
    dequantise(std::span(elements).subspan(static_cast<size_t>(segment.begin), gradient.size()),
               scales[static_cast<size_t>(segment.tensor)], gradient);
    return gradient;
  }
  void expect_sums() {
    expect_bits(rig.down(sums.elements, layout.elements()), elements, "elements");
    expect_bits(rig.down(sums.checksums, layout.blocks()), checksums(), "checksums");
    expect_bits(rig.down(sums.magnitudes, tensors), magnitudes, "magnitudes");
  }
  std::vector<UnitReport> all_reports() { return rig.down(reports, 4); }
  std::vector<BlockCheck> verify(int64_t first, int64_t end, bool norms) {
    BlockCheck* const checks = rig.room<BlockCheck>(end - first);
    math().verify({table, sums, first, end, norms, checks});
    return rig.down(checks, end - first);
  }
  StepMath& math() { return *rig.engine.step_math; }

  Rig rig;
  ArenaLayout layout = five_tensors();
  std::vector<TensorRule> rules;
  std::vector<int32_t> scales = {40, 37, 42, 39, 35};
  Words elements = Words(static_cast<size_t>(layout.elements()));
  std::vector<uint32_t> magnitudes = std::vector<uint32_t>(tensors);
  BlockTable table;
  DeviceSums sums;
  UnitTag* tag;
  UnitReport* reports;
};

class StepMath : public OnDevice {};
INSTANTIATE_TEST_SUITE_P(Device, StepMath, every_device(), device_name);

TEST_P(StepMath, LossesAreTheHosts) {
  for (const LossCase& c : loss_cases()) {
    Arena arena(GetParam());
    const LossData data(c);
    const Loss loss(c.spec, c.outputs, c.targets);
    TallySpec tally{loss.tally_classes(), c.targets.class_weights.empty(), loss.ranks()};
    Floats gradient(data.scores.size());
    Words counts(static_cast<size_t>(tally.size()), 100);
    const UnitLoss want = loss.unit(data.scores, {data.classes, data.values}, gradient);
    if (!counts.empty()) loss.count(tally, data.scores, {data.classes, data.values}, counts);
    LossRun run = upload(arena.rig, c, data, arena.tag, arena.reports);
    run.gradient = arena.rig.room(std::ssize(gradient));
    run.tally = tally;
    if (!counts.empty()) run.counts = arena.rig.up(Words(counts.size(), 100));
    arena.math().loss(run);
    const std::string name = loss_names()[static_cast<size_t>(c.spec.kind)];
    expect_bits(arena.rig.down(run.gradient, std::ssize(gradient)), gradient, name);
    if (!counts.empty()) {
      expect_bits(arena.rig.down(run.counts, tally.size()), counts, name);
      const int64_t added = std::accumulate(counts.begin(), counts.end(), -100 * tally.size());
      const int64_t parts = LossData::samples * (takes_labels(c.spec.kind) ? c.outputs : 1);
      if (tally.confusion && !c.targets.may_ignore) {
        EXPECT_EQ(added, parts * (tally.roc ? 2 : 1)) << name;
      } else {
        EXPECT_GT(added, 0) << name;
      }
    }
    std::vector<UnitReport> reports(4);
    reports[2] = {want, 42, 0};
    const std::vector<UnitReport> got = arena.all_reports();
    for (size_t i = 0; i < 4; ++i) {
      expect_same_loss(got[i].loss, reports[i].loss, name);
      EXPECT_EQ(got[i].unit_plus_1, reports[i].unit_plus_1);
      EXPECT_EQ(got[i].blame, 0u);
    }
  }
}

// Of rows of scores a part, its gradient multiplied and nothing else of the row touched.
TEST_P(StepMath, ALossOfSeveralIsTheHostsOfItsPart) {
  constexpr int64_t before = 3, behind = 2;
  for (const LossCase& c : loss_cases()) {
    Arena arena(GetParam());
    const LossData data(c);
    const std::string name = loss_names()[static_cast<size_t>(c.spec.kind)];
    const int64_t positions = c.targets.positions > 1 ? c.targets.positions : 2,
                  width = positions * c.outputs, row = before + width + behind,
                  samples = LossData::samples / positions;
    Floats scores(static_cast<size_t>(samples * row), 9.0f), gradient(data.scores.size());
    const UnitLoss want =
        Loss(c.spec, c.outputs, c.targets).unit(data.scores, {data.classes, data.values}, gradient);
    Floats wanted(scores.size(), -7.0f);
    for (int64_t i = 0; i < samples; ++i)
      for (int64_t k = 0; k < width; ++k) {
        const auto at = static_cast<size_t>(i * row + before + k), from = static_cast<size_t>(i * width + k);
        scores[at] = data.scores[from];
        wanted[at] = gradient[from] * 0.3f;
      }
    LossRun run = upload(arena.rig, c, data, arena.tag, arena.reports);
    run.scores = arena.rig.up(scores) + before;
    float* const whole = arena.rig.up(Floats(scores.size(), -7.0f));
    run.gradient = whole + before;
    UnitLoss* const sums = arena.rig.room<UnitLoss>(4 * 3);
    arena.rig.write(sums, std::vector<UnitLoss>(4 * 3));
    run.part = {.row = row, .positions = positions, .factor = 0.3f, .number = 1, .losses = 3, .sums = sums};
    arena.math().loss(run);
    expect_bits(arena.rig.down(whole, std::ssize(wanted)), wanted, name);
    const std::vector<UnitLoss> got = arena.rig.down(sums, 4 * 3);
    for (size_t i = 0; i < got.size(); ++i)
      expect_same_loss(got[i], i == 2 * 3 + 1 ? want : UnitLoss{}, name + " " + std::to_string(i));
    EXPECT_EQ(arena.all_reports()[2].unit_plus_1, 42);
    run.gradient = nullptr;
    arena.math().loss(run);
    expect_same_loss(arena.rig.down(sums, 4 * 3)[2 * 3 + 1], want, name + " without a gradient");
  }
}

TEST_P(StepMath, ALossWithoutGradientOnlySums) {
  const LossCase c = loss_cases()[0];
  Arena arena(GetParam());
  const LossData data(c);
  arena.math().loss(upload(arena.rig, c, data, arena.tag, arena.reports));
  const UnitLoss want = Loss(c.spec, c.outputs).unit(data.scores, {data.classes, data.values}, {});
  expect_bits(std::vector{arena.all_reports()[2].loss}, {want}, "sums");
}

// One recording serves all units: what differs between them it finds in device memory.
TEST_P(StepMath, ARecordedUnitReportsWhereTheTagSaysThen) {
  const LossCase c = loss_cases()[0];
  Arena arena(GetParam());
  LossRun run = upload(arena.rig, c, LossData(c), arena.tag, arena.reports);
  run.gradient = arena.rig.room(LossData::samples * c.outputs);
  const Floats gradient = random_floats(9001, 8);
  const QuantiseRun quantise = arena.quantise(2, 0, gradient);
  const auto recording = arena.rig.engine.backend->record(*arena.rig.engine.queue, [&] {
    arena.math().loss(run);
    arena.math().quantise_add(quantise);
  });
  arena.rig.engine.queue->synchronize();
  EXPECT_EQ(arena.all_reports()[2].unit_plus_1, 0);  // nothing was done yet
  for (uint32_t unit = 0; unit < 3; ++unit) {
    const LossData data(c, unit + 1);
    arena.rig.write(const_cast<float*>(run.scores), data.scores);
    arena.rig.write(const_cast<int32_t*>(run.classes), data.classes);
    arena.rig.write(arena.tag, std::vector<UnitTag>{{.unit = 7 + unit, .step = 5, .report = 3 - unit}});
    recording->launch(*arena.rig.engine.queue);
    quantise_add(gradient, arena.scales[2], std::span(arena.elements).subspan(5024, 9001));
    const UnitReport got = arena.all_reports()[3 - unit];
    EXPECT_EQ(got.unit_plus_1, 8 + unit);
    const UnitLoss want = Loss(c.spec, c.outputs).unit(data.scores, {data.classes, data.values}, {});
    expect_bits(std::vector{got.loss}, {want}, "unit " + std::to_string(unit));
  }
  expect_bits(arena.rig.down(arena.sums.elements, arena.layout.elements()), arena.elements, "three times");
  EXPECT_EQ(arena.all_reports()[0].unit_plus_1, 0);
}

TEST_P(StepMath, GradientsAreAddedAsOnTheHost) {
  Arena arena(GetParam());
  arena.add_unit(1);
  arena.expect_sums();
  arena.add_unit(11);
  arena.add(2, 100, random_floats(8190, 3, -5, 5));  // parts of a tensor, over the ends of blocks
  arena.add(1, 6, {-7});
  arena.add(0, 4096, {0.5f});  // the first element of a block
  arena.expect_sums();
  for (const UnitReport& report : arena.all_reports()) EXPECT_EQ(report.blame, 0u);
}

TEST_P(StepMath, TheLowestTensorThatIsNotFiniteIsBlamed) {
  for (const float bad : {NAN, -NAN, infinity, -infinity})
    for (const size_t at : {size_t{0}, size_t{3000}, size_t{9000}}) {
      Arena arena(GetParam());
      Floats values = random_floats(9001, 4);
      values[at] = bad;
      arena.math().quantise_add(arena.quantise(2, 0, values));
      EXPECT_EQ(arena.all_reports()[2].blame, ~2u);
      arena.math().quantise_add(arena.quantise(0, 17, {1, 2, bad}));
      EXPECT_EQ(arena.all_reports()[2].blame, ~0u);
      arena.math().quantise_add(arena.quantise(1, 0, {bad}));
      EXPECT_EQ(arena.all_reports()[2].blame, ~0u);
      for (const size_t other : {0, 1, 3}) EXPECT_EQ(arena.all_reports()[other].blame, 0u);
      for (const uint32_t magnitude : arena.rig.down(arena.sums.magnitudes, tensors))
        EXPECT_LE(magnitude, std::bit_cast<uint32_t>(1.0f));  // finite ones only
    }
}

TEST_P(StepMath, WhatOverflowsLeavesElementsAndChecksumsConsistent) {
  Arena arena(GetParam());
  arena.add_unit(1);
  arena.add(2, 4000, {1e30f, -3e38f, 1});
  arena.add(2, 4000, {1e30f, 2e38f, 1});
  arena.expect_sums();
  EXPECT_EQ(arena.rig.down(arena.sums.magnitudes, tensors)[2], std::bit_cast<uint32_t>(3e38f));
  EXPECT_EQ(arena.all_reports()[2].blame, 0u);
  arena.math().quantise_add(arena.quantise(0, 0, {NAN, infinity, -infinity}));
  for (const BlockCheck& check : arena.verify(0, 4, false)) EXPECT_EQ(check.stated, check.found);
}

TEST_P(StepMath, VerifyFindsChecksumsAndNorms) {
  Arena arena(GetParam());
  arena.add_unit(1);
  const std::vector<BlockCheck> checks = arena.verify(0, 4, true), part = arena.verify(1, 3, true);
  for (int64_t b = 0; b < 4; ++b) {
    double norm = 0;
    for (int64_t s = arena.layout.segment_begin(b); s < arena.layout.segment_begin(b + 1); ++s) {
      const Segment& segment = arena.layout.segments()[static_cast<size_t>(s)];
      if (segment.tensor != 4) norm += sum_of_squares(arena.rounded(segment));  // no statistics
    }
    const BlockCheck& check = checks[static_cast<size_t>(b)];
    EXPECT_EQ(check.stated, arena.checksums()[static_cast<size_t>(b)]);
    EXPECT_EQ(check.found, check.stated);
    EXPECT_EQ(check.norm, norm);
    EXPECT_GT(check.norm, 0);
  }
  expect_bits(part, {checks[1], checks[2]}, "blocks 1 and 2");
}

TEST_P(StepMath, VerifyWithoutNormsLeavesThem) {
  Arena arena(GetParam());
  arena.add_unit(1);
  BlockCheck* const checks = arena.rig.up(std::vector<BlockCheck>(4, {1, 2, 3.5}));
  arena.math().verify({arena.table, arena.sums, 0, 4, false, checks});
  for (const BlockCheck& check : arena.rig.down(checks, 4)) {
    EXPECT_EQ(check.stated, check.found);
    EXPECT_EQ(check.norm, 3.5);
  }
}

TEST_P(StepMath, AFlippedBitShows) {
  Arena arena(GetParam());
  arena.add_unit(1);
  for (const int64_t element : {int64_t{0}, int64_t{4095}, int64_t{4096}, arena.layout.elements() - 1})
    for (const int bit : {0, 31, 62, 63}) {
      const auto flip = [&] {
        int64_t word = arena.rig.down(arena.sums.elements + element, 1)[0];
        word ^= static_cast<int64_t>(uint64_t{1} << bit);
        arena.rig.write(arena.sums.elements + element, Words{word});
      };
      flip();
      const std::vector<BlockCheck> checks = arena.verify(0, 4, false);
      for (int64_t b = 0; b < 4; ++b) {
        const BlockCheck& check = checks[static_cast<size_t>(b)];
        EXPECT_EQ(check.stated == check.found, b != element / block_elements);
      }
      flip();
    }
}

Floats poison(int64_t count) {
  return Floats(static_cast<size_t>(count), std::bit_cast<float>(~0u));
}

/// Blocks [first, end), as a node's slice of the arena.
void check_update(const std::string& device, UpdateKind kind, int64_t first, int64_t end) {
  Arena arena(device);
  arena.add_unit(1);
  arena.add_unit(11);
  const int64_t elements = arena.layout.elements(), slice = first * block_elements,
                length = std::min(end * block_elements, elements) - slice;
  const size_t moments = kind == UpdateKind::sgd_plain ? 0 : kind == UpdateKind::sgd ? 1 : 2;
  const Floats w = random_floats(elements, 20),
               m[2] = {random_floats(length, 21, 0, 1), random_floats(length, 22, 0, 1)};
  Floats w_new = poison(elements), m_new[2] = {poison(length), poison(length)};
  for (int64_t s = arena.layout.segment_begin(first); s < arena.layout.segment_begin(end); ++s) {
    const Segment& segment = arena.layout.segments()[static_cast<size_t>(s)];
    Floats gradient = arena.rounded(segment);
    const auto begin = static_cast<size_t>(segment.begin), at = begin - static_cast<size_t>(slice);
    SegmentState state{gradient,
                       std::span(w).subspan(begin, gradient.size()),
                       std::span(w_new).subspan(begin, gradient.size()),
                       {},
                       {}};
    for (size_t i = 0; i < moments; ++i) {
      state.moments[i] = std::span(m[i]).subspan(at, gradient.size());
      state.moments_new[i] = std::span(m_new[i]).subspan(at, gradient.size());
    }
    update_segment(rule_of(kind), arena.rules[static_cast<size_t>(segment.tensor)], state);
  }
  UpdateRun run{arena.table, arena.sums, first, end, rule_of(kind), arena.rig.up(w), nullptr, {}, {}};
  run.parameters_new = arena.rig.room(elements);
  for (size_t i = 0; i < moments; ++i) {
    run.moments[i] = arena.rig.up(m[i]);
    run.moments_new[i] = arena.rig.room(length);
  }
  arena.math().update(run);
  expect_bits(arena.rig.down(run.parameters_new, elements), w_new, "parameters");
  for (size_t i = 0; i < moments; ++i)
    expect_bits(arena.rig.down(run.moments_new[i], length), m_new[i], "moments");
}

TEST_P(StepMath, UpdatesAreTheHosts) {
  for (const UpdateKind kind : {UpdateKind::sgd_plain, UpdateKind::sgd, UpdateKind::adam})
    for (const auto& [first, end] : {std::pair{0, 4}, {1, 3}, {3, 4}, {2, 2}})
      check_update(GetParam(), kind, first, end);
}

TEST_P(StepMath, HashesAreTheHosts) {
  Arena arena(GetParam());
  const Floats w = random_floats(arena.layout.elements(), 20);
  uint64_t* const hashes = arena.rig.room<uint64_t>(4);
  arena.math().hash_blocks(arena.rig.up(w), arena.layout.elements(), 1, 4, hashes);
  EXPECT_EQ(arena.rig.down(hashes, 4),
            (std::vector<uint64_t>{~uint64_t{0}, parameters_block_hash(w, 1), parameters_block_hash(w, 2),
                                   parameters_block_hash(w, 3)}));
}

}  // namespace
}  // namespace lepton::ops
