// SPDX-License-Identifier: Apache-2.0
// Units on the debug device, without a worker: their reports and sums against the CPU's loss and gradients of
// the same rows, in any order and any number of times; the layer at which something non-finite appears; the
// bytes that they take.
#include "train/device_units.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "device_round.h"

namespace lepton::train {
namespace {

/// Units of a round on each rank's own device. All three of them: rows of other nodes' units are not here, so
/// `mine` says which.
struct UnitsBench {
  explicit UnitsBench(const SmallRuns& runs, const std::string& deck,
                      exact::RoundKind kind = exact::RoundKind::train, bool confusion = false,
                      const std::vector<Override>& more = {})
      : round(runs, 1, deck, kind, confusion, computing_on("debug", more)),
        state(*round.job.device),
        header(round.job.node.control().header),
        free_before(state.engine().backend->properties().bytes_free),
        units(round.resources, round.job.sizes) {
    state.upload_state(0);
    begin();
  }
  /// Reports, magnitudes and sums are zero, scales those of the round.
  void begin() {
    Queue& queue = *state.engine().queue;
    const ops::DeviceSums sums = state.sums();
    const auto tensors = layout().tensors().size();
    const std::vector<int32_t> scales(tensors, round_scale);
    state.upload(std::as_bytes(std::span(scales)), const_cast<int32_t*>(sums.scales));
    queue.clear(sums.magnitudes, tensors * sizeof(uint32_t));
    queue.clear(sums.elements, static_cast<size_t>(layout().elements()) * sizeof(int64_t));
    queue.clear(sums.checksums, static_cast<size_t>(layout().blocks()) * sizeof(int64_t));
    queue.clear(state.reports(), static_cast<size_t>(round.job.sizes.max_units) * sizeof(ops::UnitReport));
    if (units.counts_bytes() > 0) queue.clear(units.counts(), units.counts_bytes());
  }
  const ArenaLayout& layout() const { return round.job.graph.layout; }
  void start(int64_t number, uint32_t report) { units.start(header, number, report, {}, data_s); }
  std::vector<ops::UnitReport> reports(int64_t count) { return fetched(state, state.reports(), count); }
  std::vector<int64_t> sums() { return fetched(state, state.sums().elements, layout().elements()); }
  int64_t samples_of(int unit) const { return round.begins[unit + 1] - round.begins[unit]; }

  Round round;
  DeviceState& state;
  RoundHeader header;
  const size_t free_before;
  DeviceUnits units;
  double data_s = 0;
};

/// Quantises what the host's executor hands out.
class DeviceSumSink : public model::GradientSink {
 public:
  explicit DeviceSumSink(const ArenaLayout& layout)
      : layout_(layout),
        sums(static_cast<size_t>(layout.elements()), 0),
        largest(layout.tensors().size(), 0) {}
  void gradient(int tensor, int64_t first, std::span<const float> values) override {
    const ArenaTensor& t = layout_.tensors()[static_cast<size_t>(tensor)];
    const std::span<int64_t> to =
        std::span<int64_t>(sums).subspan(static_cast<size_t>(t.offset + first), values.size());
    uint32_t& most = largest[static_cast<size_t>(tensor)];
    most = std::max(most, ops::quantise_add(values, round_scale, to).magnitude_bits);
  }

 private:
  const ArenaLayout& layout_;

 public:
  std::vector<int64_t> sums;
  std::vector<uint32_t> largest;
};

/// The same units on the host, one after another.
struct UnitsByHand {
  explicit UnitsByHand(UnitsBench& bench)
      : sink(bench.layout()),
        executor(bench.round.job.graph, bench.round.deck.run.seed, bench.round.job.sizes.training, {}) {}
  ops::UnitLoss add(UnitsBench& bench, int unit) {
    const Round& round = bench.round;
    const int64_t first = round.begins[unit], n = bench.samples_of(unit);
    std::vector<const std::byte*> rows;
    for (int64_t i = 0; i < n; ++i) rows.push_back(round.job.exchange.row(0, first + i));
    const data::Assembler& assembler = *round.job.assemblers[0];
    assembler.inputs(rows, nullptr, executor.input(n, true));
    std::vector<int32_t> classes(static_cast<size_t>(n));
    std::vector<float> values(static_cast<size_t>(n));  // one output
    const bool ids = round.job.dataset.target_kind() == data::TargetKind::classes;
    if (ids)
      assembler.classes(rows, classes);
    else
      assembler.values(rows, values);
    const std::span<const int64_t> samples =
        std::span<const int64_t>(round.ids).subspan(static_cast<size_t>(first), static_cast<size_t>(n));
    const float* parameters = bench.round.job.node.parameters(0).data();
    const std::span<const float> scores = executor.forward(n, true, parameters, samples, 7);
    const ops::Targets targets =
        ids ? ops::Targets{classes, {}} : ops::Targets{{}, std::span<const float>(values)};
    const ops::UnitLoss loss = round.job.loss.unit(scores, targets, executor.output_gradient(n));
    executor.backward(n, parameters, samples, 7, sink);
    return loss;
  }
  DeviceSumSink sink;
  model::Executor executor;
};

void expect_same_loss(const ops::UnitLoss& a, const ops::UnitLoss& b) {
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(a.correct, b.correct);
  EXPECT_EQ(a.correct_top, b.correct_top);
  EXPECT_EQ(a.absolute_error, b.absolute_error);
  EXPECT_EQ(a.squared_error, b.squared_error);
  EXPECT_EQ(a.target, b.target);
  EXPECT_EQ(a.target_squared, b.target_squared);
}

TEST(DeviceUnits, ReportAndAddWhatTheHostGives) {
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "conv.toml", "graph.toml", "wide.toml", "regression.toml"}) {
    UnitsBench bench(runs, deck, exact::RoundKind::train, false,
                     deck == std::string("regression.toml") ? as_round : std::vector<Override>());
    UnitsByHand hand(bench);
    uint32_t place = 0;
    for (const int unit : bench.round.mine) bench.start(unit, place++);
    const std::vector<ops::UnitReport> reports = bench.reports(place + 1);
    EXPECT_EQ(reports[place].unit_plus_1, 0) << "nobody's report";
    for (uint32_t i = 0; i < place; ++i) {
      SCOPED_TRACE(std::string(deck) + ", unit " + std::to_string(bench.round.mine[i]));
      EXPECT_EQ(reports[i].unit_plus_1, bench.round.mine[i] + 1);
      EXPECT_EQ(reports[i].blame, 0U);
      expect_same_loss(reports[i].loss, hand.add(bench, bench.round.mine[i]));
    }
    EXPECT_EQ(bench.sums(), hand.sink.sums) << deck;
    EXPECT_EQ(fetched(bench.state, bench.state.sums().magnitudes, std::ssize(hand.sink.largest)),
              hand.sink.largest)
        << deck;
    const std::vector<int64_t> checksums =
        fetched(bench.state, bench.state.sums().checksums, bench.layout().blocks());
    for (int64_t b = 0; b < bench.layout().blocks(); ++b) {
      uint64_t sum = 0;
      for (int64_t i = b * block_elements; i < std::min((b + 1) * block_elements, bench.layout().elements());
           ++i)
        sum += static_cast<uint64_t>(hand.sink.sums[static_cast<size_t>(i)]);
      EXPECT_EQ(checksums[static_cast<size_t>(b)], static_cast<int64_t>(sum)) << deck << ", block " << b;
    }
  }
}

// Two places for rows and one for what a recording reads: whoever forgets a wait in one direction gives rows
// of one unit to another.
TEST(DeviceUnits, ManyUnitsInFlightKeepApart) {
  const SmallRuns runs;
  UnitsBench bench(runs, "conv.toml");
  const std::vector<int>& mine = bench.round.mine;
  if (mine.empty()) return;
  constexpr uint32_t rounds = 8;
  const auto places = static_cast<uint32_t>(bench.round.job.sizes.max_units);
  std::vector<std::vector<double>> losses(3);
  for (uint32_t r = 0; r < rounds; ++r) {
    for (size_t i = 0; i < mine.size(); ++i)
      bench.units.start(bench.header, mine[i], (r * 3 + static_cast<uint32_t>(i)) % places, {}, bench.data_s);
    const std::vector<ops::UnitReport> reports = bench.reports(places);
    for (size_t i = 0; i < mine.size(); ++i) {
      const ops::UnitReport& report = reports[(r * 3 + i) % places];
      EXPECT_EQ(report.unit_plus_1, mine[i] + 1);
      losses[i].push_back(report.loss.loss);
    }
  }
  UnitsByHand hand(bench);
  for (size_t i = 0; i < mine.size(); ++i) {
    const double expected = hand.add(bench, mine[i]).loss;
    for (const double loss : losses[i]) EXPECT_EQ(loss, expected);
  }
  std::vector<int64_t> times = hand.sink.sums;
  for (int64_t& sum : times) sum *= rounds;
  EXPECT_EQ(bench.sums(), times);
}

TEST(DeviceUnits, ReadTheSlotOfTheHeader) {
  const SmallRuns runs;
  UnitsBench bench(runs, "dense.toml");
  if (bench.round.mine.empty()) return;
  const int unit = bench.round.mine[0];
  bench.start(unit, 0);
  bench.header.slot = 1;  // parameters there are zero: all classes are equally likely
  bench.start(unit, 1);
  bench.header.slot = 0;
  bench.start(unit, 2);
  const std::vector<ops::UnitReport> reports = bench.reports(3);
  EXPECT_NEAR(reports[1].loss.loss, static_cast<double>(bench.samples_of(unit)) * std::log(4.0), 1e-5);
  EXPECT_NE(reports[0].loss.loss, reports[1].loss.loss);
  EXPECT_EQ(reports[0].loss.loss, reports[2].loss.loss);
}

TEST(DeviceUnits, EvaluationFillsTheConfusionMatrixAndNoSums) {
  const SmallRuns runs;
  UnitsBench bench(runs, "dense.toml", exact::RoundKind::test, true);
  ASSERT_EQ(bench.units.counts_bytes(), 16 * sizeof(int64_t));
  int64_t samples = 0, correct = 0, diagonal = 0, all = 0;
  for (const int unit : bench.round.mine) {
    bench.start(unit, 0);
    correct += bench.reports(1)[0].loss.correct;
    samples += bench.samples_of(unit);
  }
  const std::vector<int64_t> counts = fetched(bench.state, bench.units.counts(), 16);
  for (size_t i = 0; i < 16; ++i) {
    all += counts[i];
    if (i % 5 == 0) diagonal += counts[i];
  }
  EXPECT_EQ(all, samples);
  EXPECT_EQ(diagonal, correct);
  EXPECT_EQ(bench.sums(), std::vector<int64_t>(static_cast<size_t>(bench.layout().elements()), 0));
}

TEST(DeviceUnits, FindTheLayerThatIsNotFinite) {
  const SmallRuns runs;
  UnitsBench bench(runs, "dense.toml");
  if (bench.round.mine.empty()) return;
  const int unit = bench.round.mine[0];
  EXPECT_EQ(bench.units.first_non_finite(bench.header, unit), -1);
  const ArenaTensor& weight = bench.layout().tensors()[2];
  bench.round.job.node.parameters(0)[static_cast<size_t>(weight.offset)] = INFINITY;
  bench.state.upload_parameters(0);
  bench.start(unit, 0);
  EXPECT_FALSE(std::isfinite(bench.reports(1)[0].loss.loss));
  const int node = bench.units.first_non_finite(bench.header, unit);
  ASSERT_GE(node, 0);
  EXPECT_EQ(bench.round.job.graph.nodes[static_cast<size_t>(node)].name, "dense_2");
}

TEST(DeviceUnits, BytesAreWhatTheDeviceLoses) {
  constexpr int64_t page = 4096, arrays = 7;
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "conv.toml"})
    for (const bool confusion : {false, true}) {
      UnitsBench bench(runs, deck, exact::RoundKind::train, confusion);
      const auto lost =
          static_cast<int64_t>(bench.free_before - bench.state.engine().backend->properties().bytes_free);
      const int64_t stated =
          DeviceUnits::bytes(bench.round.job.graph, bench.round.job.dataset, bench.round.job.sizes,
                             bench.round.job.loss, bench.round.job.tally, *bench.state.engine().arithmetic);
      EXPECT_GE(lost, stated) << deck << ": more is stated than taken";
      EXPECT_LE(lost, stated + arrays * page) << deck << ": more is taken than stated";
    }
}

}  // namespace
}  // namespace lepton::train
