// SPDX-License-Identifier: Apache-2.0
// Every row is resident on its owner, with its bytes; what is settled from the data does not depend on the
// ranks; bad rows and labels are one agreed error with the lowest row.
#include "data/store.h"

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/hash.h"
#include "base/philox.h"
#include "comm/worlds.h"
#include "data/datasets.h"
#include "data/stored_rows.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

constexpr int64_t rows_a = 700, rows_b = 333, width = 12;

/// Awkward float32 values: 24 random bits, 40 binary orders of magnitude.
float value_at(int64_t at) {
  const int64_t bits = static_cast<int64_t>(mix64(static_cast<uint64_t>(at)) >> 40) - (int64_t{1} << 23);
  return static_cast<float>(std::ldexp(static_cast<double>(bits), static_cast<int>(at % 40) - 40));
}

/// Two files of float32 images with awkward values and labels; `bad`: rows (over both) that hold NaN.
std::vector<std::string> make_files(const SharedScratch& scratch, const std::vector<int64_t>& bad = {}) {
  std::vector<std::string> files;
  for (const auto& [name, first, rows] :
       {std::tuple("a.h5", int64_t{0}, rows_a), std::tuple("b.h5", rows_a, rows_b)}) {
    std::vector<double> x, y;
    for (int64_t i = 0; i < rows * width; ++i) x.push_back(value_at(first * width + i));
    for (int64_t i = 0; i < rows; ++i) y.push_back(static_cast<double>((first + i) % 7));
    for (const int64_t row : bad)
      if (row >= first && row < first + rows)
        x[static_cast<size_t>((row - first) * width + row % width)] = std::nan("");
    const bool second = first > 0;
    files.push_back(scratch.make(
        name, {{"x", f32, {rows, 3, 2, 2}, x, second ? Shape{16, 3, 2, 2} : Shape{}, second ? 1 : -1},
               {"y", u8, {rows}, y}}));
  }
  return files;
}

/// What may not depend on ranks, nodes or machines.
struct Settled {
  Statistics statistics;
  uint64_t fingerprint = 0;
  int64_t outputs = 0, samples = 0;
  bool operator==(const Settled&) const = default;
};

Settled fill_and_check(const comm::World& world, const DataSpec& spec) {
  Dataset dataset(world, spec);
  const SampleStore store(world, dataset, shm, nullptr);
  EXPECT_EQ(store.row_bytes(0), width * 4 + 1u);
  const Source& source = dataset.sources()[0];
  int64_t resident = 0;
  for (int64_t row = source.used_begin; row < source.used_end; ++row) {
    const int owner = store.owner(0, row);
    EXPECT_TRUE(owner >= 0 && owner < world.machines());
    if (owner != world.machine()) continue;
    ++resident;
    const std::byte* bytes = store.row(0, row);
    EXPECT_EQ(static_cast<int64_t>(bytes[width * 4]), row % 7) << row;
    float last = 0;
    std::memcpy(&last, bytes + (width - 1) * 4, 4);
    if (!std::isnan(last)) {
      EXPECT_EQ(last, value_at(row * width + width - 1));
    }
  }
  EXPECT_EQ(store.resident_bytes(), static_cast<size_t>(resident) * (width * 4 + 1));
  int64_t total[1] = {world.machine_rank() == 0 ? resident : 0};
  world.all_sum(total);
  EXPECT_EQ(total[0], source.used_end - source.used_begin) << "each row on exactly one machine";
  return {store.statistics(), dataset.fingerprint(), dataset.outputs(),
          dataset.split(SplitKind::train).samples};
}

TEST(SampleStore, TheSameOnAnyNumberOfRanksNodesAndMachines) {
  for (const bool fraction : {false, true}) {
    std::vector<Settled> found;
    comm::for_each_machines([&](const comm::World& world, int, comm::Alone) {
      const SharedScratch scratch(world);
      DataSpec spec = spec_of(split_of(make_files(scratch), "x", "y"), true);
      spec.normalisation = Normalisation::standardize;
      if (fraction)
        spec.train->fraction = 0.7;
      else
        spec.train->rows = {3, 1031};
      found.push_back(fill_and_check(world, spec));
    });
    for (const Settled& settled : found) EXPECT_EQ(settled, found[0]);
    EXPECT_EQ(found[0].outputs, 7);
    EXPECT_EQ(found[0].samples, fraction ? 723 : 1028);
    EXPECT_EQ(found[0].statistics.mean.size(), 3u);
    EXPECT_EQ(found[0].statistics.count, found[0].samples * 4);
    // Pinned: the same bits at 1, 2, 3, 4 and 7 ranks means the same numbers in every run of this test.
    char text[200];
    std::snprintf(text, sizeof text, "%a %a %s", found[0].statistics.mean[0],
                  found[0].statistics.deviation[2], hex64(found[0].fingerprint).c_str());
    EXPECT_STREQ(text, fraction ? "-0x1.8aa41574abb66p+9 0x1.9dc78977e4ceep+18 71280fac5c1643bc"
                                : "-0x1.2b5b42234ecbfp+10 0x1.ad8251d6f20edp+18 e78e3074c9b85b09");
  }
}

TEST(SampleStore, StatisticsAreRight) {
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string file =
      scratch.make("a.h5", {{"x", u8, {5, 2}, {1, 7, 2, 7, 3, 7, 4, 7, 250, 0}}, {"y", f32, {5}, ramp(5)}});
  DataSpec spec = spec_of(split_of({file}, "x", "y"));
  spec.train->rows = {0, 4};
  spec.test = split_of({file}, "x", "y");
  spec.normalisation = Normalisation::unit;
  Dataset dataset(world, spec);
  const SampleStore store(world, dataset, shm, nullptr);
  const Statistics& statistics = store.statistics();
  EXPECT_EQ(statistics.count, 4);
  EXPECT_EQ(statistics.mean, (std::vector<double>{2.5, 7}));
  EXPECT_EQ(statistics.deviation, (std::vector<double>{std::sqrt(1.25), 0}));
  EXPECT_EQ(statistics.minimum, (std::vector<double>{1, 7}));
  EXPECT_EQ(statistics.maximum, (std::vector<double>{4, 7}));
  Statistics known = statistics;
  known.mean[0] = 17;
  Dataset again(world, spec);
  EXPECT_EQ(SampleStore(world, again, shm, &known).statistics(), known) << "those of the checkpoint are used";
  spec.normalisation = Normalisation::none;
  Dataset plain(world, spec);
  EXPECT_TRUE(SampleStore(world, plain, shm, nullptr).statistics().empty());
}

TEST(SampleStore, DeviationFarFromZero) {
  // mean 1e8, deviation 1: sum(x^2)/n - mean^2 in double would be noise.
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string file = scratch.make("a.h5", {{"x", f64, {4}, {1e8 - 1, 1e8 + 1, 1e8 - 1, 1e8 + 1}}});
  DataSpec spec = spec_of(split_of({file}, "x"));
  spec.normalisation = Normalisation::standardize;
  Dataset dataset(world, spec);
  EXPECT_EQ(SampleStore(world, dataset, shm, nullptr).statistics().deviation[0], 1.0);
}

TEST(SampleStore, BadRows) {
  for_each_nodes([&](const comm::World& world) {
    const SharedScratch scratch(world);
    const std::vector<int64_t> bad = {5, 699, 700, 1032};
    const auto files = make_files(scratch, bad);
    DataSpec spec = spec_of(split_of(files, "x", "y"), true);
    expect_agreed(world, Exit::data, files[0] + ":x, row 5", [&] {
      Dataset dataset(world, spec);
      SampleStore(world, dataset, shm, nullptr);
    });
    spec.train->rows = {600, 1033};
    expect_agreed(world, Exit::data, files[0] + ":x, row 699: the row holds NaN or Inf (3 such rows", [&] {
      Dataset dataset(world, spec);
      SampleStore(world, dataset, shm, nullptr);
    });
    spec.bad_rows = BadRows::skip;
    spec.train->rows.reset();
    spec.normalisation = Normalisation::standardize;
    for (const bool fraction : {false, true}) {
      if (fraction) spec.train->fraction = 1.0;
      Dataset dataset(world, spec);
      EXPECT_EQ(dataset.split(SplitKind::train).samples, 1033);
      const SampleStore store(world, dataset, shm, nullptr);
      EXPECT_EQ(dataset.split(SplitKind::train).samples, 1029);
      EXPECT_EQ(store.statistics().count, 1029 * 4);
      EXPECT_TRUE(std::isfinite(store.statistics().mean[0]));
      std::vector<bool> seen(1033);
      for (int64_t i = 0; i < 1029; ++i)
        seen[static_cast<size_t>(dataset.row_of(SplitKind::train, i))] = true;
      EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 1029);
      for (const int64_t row : bad) EXPECT_FALSE(seen[static_cast<size_t>(row)]);
    }
    spec.train->rows = {5, 6};
    spec.train->fraction.reset();
    expect_agreed(world, Exit::data, "the train split has no rows", [&] {
      Dataset dataset(world, spec);
      SampleStore(world, dataset, shm, nullptr);
    });
  });
}

TEST(SampleStore, BadTargets) {
  const comm::World world;
  const SharedScratch scratch(world);
  const auto with_label = [](int64_t row, double label) {
    std::vector<double> labels = ramp(100, 0, 1, 5);
    labels[static_cast<size_t>(row)] = label;
    labels[97] = label;  // the lower row is reported
    return labels;
  };
  std::vector<double> hot(400, 0), twice;
  for (size_t i = 0; i < 100; ++i) hot[4 * i + i % 4] = 1;
  twice = hot;
  twice[4 * 60 + 1] = 1;
  const std::string file = scratch.make("a.h5", {{"x", u8, {100, 2}, ramp(200, 0, 1, 250)},
                                                 {"large", i32, {100}, with_label(60, 10)},
                                                 {"negative", i32, {100}, with_label(61, -1)},
                                                 {"half", f32, {100}, with_label(62, 2.5)},
                                                 {"nan", f32, {100}, with_label(63, std::nan(""))},
                                                 {"hot", f32, {100, 4}, hot},
                                                 {"twice", f32, {100, 4}, twice}});
  const auto expect_refused = [&](const DataSpec& spec, const std::string& part) {
    expect_agreed(world, Exit::data, part, [&] {
      Dataset dataset(world, spec);
      SampleStore(world, dataset, shm, nullptr);
    });
  };
  DataSpec spec = spec_of(split_of({file}, "x", "large"), true);
  spec.classes = 5;
  expect_refused(spec, file + ":large, row 60: the label 10 is not a class id: a whole number in [0, 5)");
  spec.classes = 0;
  spec.train->rows = {0, 50};
  spec.test = spec.train;
  spec.test->rows = {50, 100};
  expect_refused(spec, ":large, row 60: the label 10");  // classes come from the train split
  spec.test.reset();
  Dataset fine(world, spec);
  SampleStore(world, fine, shm, nullptr);
  EXPECT_EQ(fine.outputs(), 5);
  expect_refused(spec_of(split_of({file}, "x", "negative"), true), ":negative, row 61: the label -1 is not");
  expect_refused(spec_of(split_of({file}, "x", "half"), true), ":half, row 62: the label 2.5 is not");
  expect_refused(spec_of(split_of({file}, "x", "nan"), true), ":nan, row 63: the label nan is not");
  expect_refused(spec_of(split_of({file}, "x", "nan")), ":nan, row 63: the row holds NaN or Inf");
  expect_refused(spec_of(split_of({file}, "x", "twice"), true),
                 ":twice, row 60: the targets are not one-hot");
  Dataset one_hot(world, spec_of(split_of({file}, "x", "hot"), true));
  SampleStore(world, one_hot, shm, nullptr);
  EXPECT_EQ(one_hot.outputs(), 4);
}

TEST(SampleStore, TargetsOfABinaryLoss) {
  for_each_nodes([](const comm::World& world) {
    const SharedScratch scratch(world);
    const auto targets_with = [](double value, int64_t outputs) {
      std::vector<double> targets = ramp(100 * outputs, 0, 0.25, 5);  // soft labels, 0 and 1 included
      targets[static_cast<size_t>(60 * outputs + outputs - 1)] = value;
      targets[static_cast<size_t>(97 * outputs)] = 7;  // the lower row is reported
      return targets;
    };
    std::vector<double> nan_inputs = ramp(200);
    nan_inputs[2 * 60] = nan_inputs[2 * 97] = std::nan("");
    std::vector<double> nan_target = ramp(100, 0, 0.25, 5);
    nan_target[61] = std::nan("");
    const std::string file = scratch.make("a.h5", {{"x", f32, {100, 2}, ramp(200)},
                                                   {"nan_x", f32, {100, 2}, nan_inputs},
                                                   {"soft", f32, {100}, ramp(100, 0, 0.25, 5)},
                                                   {"above", f64, {100}, targets_with(1.0000001, 1)},
                                                   {"below", i32, {100}, targets_with(-1, 1)},
                                                   {"several", f32, {100, 3}, targets_with(1.5, 3)},
                                                   {"nan", f32, {100}, nan_target}});
    const auto spec_for = [&](const std::string& inputs, const std::string& targets) {
      DataSpec spec = spec_of(split_of({file}, inputs, targets));
      spec.target_range = TargetRange::probability;
      return spec;
    };
    const auto fill = [&](const DataSpec& spec) {
      Dataset dataset(world, spec);
      SampleStore(world, dataset, shm, nullptr);
      return dataset.split(SplitKind::train).samples;
    };
    const auto expect_refused = [&](const DataSpec& spec, const std::string& part) {
      expect_agreed(world, Exit::data, part, [&] { fill(spec); });
    };
    expect_refused(spec_for("x", "above"), file + ":above, row 60: the target 1.0000001 is not in [0, 1]");
    expect_refused(spec_for("x", "above"), "Map the targets to what it takes");
    expect_refused(spec_for("x", "below"), file + ":below, row 60: the target -1 is not in [0, 1]");
    expect_refused(spec_for("x", "several"), file + ":several, row 60: the target 1.5 is not in [0, 1]");
    expect_refused(spec_for("x", "nan"), file + ":nan, row 61: the row holds NaN or Inf");
    EXPECT_EQ(fill(spec_for("x", "soft")), 100);
    EXPECT_EQ(fill(spec_of(split_of({file}, "x", "above"))), 100) << "other losses take any number";
    DataSpec skipping = spec_for("x", "below");
    skipping.bad_rows = BadRows::skip;  // is for what is no number
    expect_refused(skipping, ":below, row 60: the target -1");
    skipping = spec_for("nan_x", "above");
    skipping.bad_rows = BadRows::skip;
    EXPECT_EQ(fill(skipping), 98) << "rows that are left out need no targets";
    skipping = spec_for("x", "nan");
    skipping.bad_rows = BadRows::skip;
    EXPECT_EQ(fill(skipping), 99);
  });
}

TEST(SampleStore, NumbersBeyondFloat32) {
  const comm::World world;
  const SharedScratch scratch(world);
  const StoredType swapped{StoredType::Kind::floating, 8, true};
  std::vector<double> large = ramp(40), y = ramp(20);
  large[2 * 7 + 1] = 0x1.ffffffp127;  // half way to 2^128 is rounded to Inf,
  large[2 * 9] = -0x1.fffffefp127;    // what is below is not
  large[2 * 11] = -1e39;
  y[13] = 1e39;
  const std::string file = scratch.make("a.h5", {{"x", f64, {20, 2}, large},
                                                 {"swapped", swapped, {20, 2}, large},
                                                 {"good", f32, {20, 2}, ramp(40)},
                                                 {"y", f64, {20}, y},
                                                 {"z", f32, {20}, ramp(20)}});
  for (const char* inputs : {"x", "swapped"}) {
    DataSpec spec = spec_of(split_of({file}, inputs, "z"));
    expect_agreed(world, Exit::data, file + ":" + inputs + ", row 7: the row holds NaN or Inf (2 such", [&] {
      Dataset dataset(world, spec);
      SampleStore(world, dataset, shm, nullptr);
    });
    spec.bad_rows = BadRows::skip;
    Dataset skipped(world, spec);
    SampleStore(world, skipped, shm, nullptr);
    EXPECT_EQ(skipped.split(SplitKind::train).samples, 18);
    spec.normalisation = Normalisation::standardize;  // which is done in double
    Dataset normalised(world, spec);
    SampleStore(world, normalised, shm, nullptr);
    EXPECT_EQ(normalised.split(SplitKind::train).samples, 20);
  }
  expect_agreed(world, Exit::data, file + ":y, row 13: the row holds NaN or Inf (1 such", [&] {
    Dataset dataset(world, spec_of(split_of({file}, "good", "y")));
    SampleStore(world, dataset, shm, nullptr);
  });
}

TEST(SampleStore, FileCutAfterItWasOpened) {
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string file = scratch.make("a.h5", {{"x", f32, {1000, 50}, ramp(50000)}});
  Dataset dataset(world, spec_of(split_of({file}, "x")));
  world.barrier();
  if (world.rank() == 0) std::filesystem::resize_file(file, 100000);
  world.barrier();
  expect_agreed(world, Exit::data, "truncated", [&] { SampleStore(world, dataset, shm, nullptr); });
}

TEST(SampleStore, NormalisingNeedsATrainSplit) {
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string file = scratch.make("a.h5", {{"x", f32, {10, 5}, ramp(50)}});
  DataSpec spec = spec_of(split_of({file}, "x"));
  spec.test = spec.train;
  spec.train.reset();
  spec.normalisation = Normalisation::unit;
  Dataset dataset(world, spec);
  expect_agreed(world, Exit::deck, "data.normalize", [&] { SampleStore(world, dataset, shm, nullptr); });
}

TEST(SampleStore, MoreMemoryThanThereIs) {
  // 2^43 bytes in a sparse file: refused with both numbers before anything is read.
  const comm::World world;
  const SharedScratch scratch(world);
  const std::string file = scratch / "huge.h5";
  if (world.rank() == 0) storage::create_contiguous(file, {{"x", u8, {int64_t{1} << 43}}});
  world.barrier();
  if (std::filesystem::file_size(file) < (uintmax_t{1} << 43))
    GTEST_SKIP() << "this file system has no sparse files";
  Dataset dataset(world, spec_of(split_of({file}, "x")));
  // However many nodes share the rows: all of them are to fit on the machine.
  const std::string needs =
      "sample store of machine 0: the dataset needs " + std::to_string(int64_t{1} << 43);
  for (const bool alone : {false, true}) {
    const comm::World nodes(60, 1000, alone);
    for (const std::string& part : {needs, std::string("are available")})
      expect_agreed(nodes, Exit::memory, part, [&] { SampleStore(nodes, dataset, shm, nullptr); });
  }
}

}  // namespace
}  // namespace lepton::data
