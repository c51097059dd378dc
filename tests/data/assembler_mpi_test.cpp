// SPDX-License-Identifier: Apache-2.0
// Stored rows to inputs in nhwc and targets: every type and byte order, every layout, every normalisation,
// against a plain double computation. Local work, but a dataset needs a World.
#include "data/assembler.h"

#include <cmath>
#include <cstdio>

#include "base/clock.h"
#include "data/datasets.h"
#include "data/stored_rows.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

/// A filled store over one file, and pointers to all its rows.
struct Filled {
  Filled(const comm::World& world, const DataSpec& spec)
      : dataset(world, spec), store(world, dataset, shm, nullptr) {
    for (int64_t row = 0; row < dataset.sources()[0].rows(); ++row)
      if (store.owner(0, row) == world.node()) rows.push_back(store.row(0, row));
  }
  std::vector<float> inputs() const {
    const Assembler assembler(dataset, 0, store.statistics());
    std::vector<float> out(rows.size() * static_cast<size_t>(dataset.input_elements()));
    assembler.inputs(rows, nullptr, out);
    return out;
  }
  Dataset dataset;
  SampleStore store;
  std::vector<const std::byte*> rows;
};

class AssemblerTest : public ::testing::Test {
 protected:
  comm::World world{60, 1000};
  SharedScratch scratch{world};
};

TEST_F(AssemblerTest, EveryTypeUnnormalised) {
  for (const StoredType& type : all_types()) {
    const bool negative = type.kind != StoredType::Kind::unsigned_integer;
    const std::vector<double> values = ramp(6 * 7, negative ? -20 : 0, 1);
    const std::string file = scratch.make(type.text(), {{"x", type, {6, 7}, values}});
    const auto inputs = Filled(world, spec_of(split_of({file}, "x"))).inputs();
    ASSERT_EQ(inputs.size(), values.size());
    for (size_t i = 0; i < values.size(); ++i)
      EXPECT_EQ(static_cast<double>(inputs[i]), values[i]) << type.text();
  }
}

/// The value of a stored row at (c, h, w), by layout.
size_t stored_index(ImageLayout layout, const Shape& shape, int64_t c, int64_t h, int64_t w) {
  if (layout == ImageLayout::hwc) return static_cast<size_t>((h * shape[2] + w) * shape[0] + c);
  return static_cast<size_t>((c * shape[1] + h) * shape[2] + w);
}

TEST_F(AssemblerTest, EveryLayoutAndNormalisation) {
  const int64_t n = 5, channels = 3, height = 4, width = 6;
  for (const StoredType& type :
       {u8, f32, f64, f16, i32, StoredType{StoredType::Kind::signed_integer, 2, true}})
    for (const ImageLayout layout : {ImageLayout::chw, ImageLayout::hwc, ImageLayout::hw, ImageLayout::none})
      for (const Normalisation kind :
           {Normalisation::none, Normalisation::unit, Normalisation::standardize}) {
        const Shape stored = layout == ImageLayout::chw   ? Shape{n, channels, height, width}
                             : layout == ImageLayout::hwc ? Shape{n, height, width, channels}
                                                          : Shape{n, height, width};
        const std::vector<double> values = ramp(element_count(stored), 3, 1, 100);
        const std::string file = scratch.make("a.h5", {{"x", type, stored, values}});
        DataSpec spec = spec_of(split_of({file}, "x"));
        spec.layout = layout;
        spec.normalisation = kind;
        const Filled filled(world, spec);
        const Shape shape =
            layout == ImageLayout::none ? Shape{height * width, 1, 1} : filled.dataset.input_shape();
        ASSERT_EQ(filled.dataset.inputs().front().groups(), shape[0]);
        const Statistics& statistics = filled.store.statistics();
        const auto inputs = filled.inputs();
        size_t out = 0;
        for (int64_t i = 0; i < n; ++i)
          for (int64_t h = 0; h < shape[1]; ++h)
            for (int64_t w = 0; w < shape[2]; ++w)
              for (int64_t c = 0; c < shape[0]; ++c, ++out) {
                const size_t at =
                    static_cast<size_t>(i * element_count(shape)) + stored_index(layout, shape, c, h, w);
                double expected = values[at];
                const size_t group = static_cast<size_t>(c);
                if (kind == Normalisation::unit) expected = (expected - 3) / 99;
                if (kind == Normalisation::standardize)
                  expected = (expected - statistics.mean[group]) / statistics.deviation[group];
                ASSERT_NEAR(static_cast<double>(inputs[out]), expected, 2e-6)
                    << type.text() << " layout " << static_cast<int>(layout) << " " << static_cast<int>(kind);
              }
      }
}

/// A table, an image and a bare number, each with its own layout and normalisation, and labels behind them.
TEST_F(AssemblerTest, SeveralInputs) {
  const int64_t n = 7;
  const std::string file = scratch.make("a.h5", {{"table", f64, {n, 3}, ramp(n * 3, 5, 2)},
                                                 {"image", u8, {n, 2, 2, 2}, ramp(n * 8, 0, 3, 200)},
                                                 {"number", i32, {n}, ramp(n, -4, 1)},
                                                 {"y", u8, {n}, ramp(n)}});
  DataSpec spec = spec_of(split_of({file}, "", "y"), true);
  spec.train->inputs = {{"t", "table"}, {"i", "image"}, {"k", "number"}};
  spec.normalisation = Normalisation::none;
  spec.inputs = {{"i", ImageLayout::chw, Normalisation::unit}, {"t", {}, Normalisation::standardize}};
  const Filled filled(world, spec);
  const std::vector<Input>& inputs = filled.dataset.inputs();
  ASSERT_EQ(inputs.size(), 3U);
  EXPECT_EQ(inputs[0].name, "t");
  EXPECT_EQ(inputs[1].shape, (Shape{2, 2, 2}));
  EXPECT_EQ(inputs[2].shape, (Shape{1}));
  EXPECT_EQ(filled.dataset.input_elements(), 12);
  const Statistics& statistics = filled.store.statistics();
  ASSERT_EQ(statistics.mean.size(), 5U) << "three features and two channels; the number is as it is";
  EXPECT_EQ(filled.dataset.first_group(inputs[1]), 3);

  const Assembler assembler(filled.dataset, 0, statistics);
  const size_t rows = filled.rows.size();
  std::vector<float> all(rows * 12), image(rows * 8), number(rows);
  std::vector<int32_t> classes(rows);
  assembler.inputs(filled.rows, nullptr, all);
  assembler.input(1, filled.rows, nullptr, image);
  assembler.input(2, filled.rows, nullptr, number);
  assembler.classes(filled.rows, classes);
  EXPECT_TRUE(std::equal(image.begin(), image.end(), all.begin() + static_cast<int64_t>(rows) * 3));
  for (size_t r = 0; r < rows; ++r) {
    const int row = classes[r];  // the labels number the rows
    EXPECT_EQ(number[r], static_cast<float>(row - 4));
    for (int f = 0; f < 3; ++f) {  // 5 + 2 (3 row + f): each feature has deviation 6 * 2 (of 0 .. 6)
      EXPECT_NEAR(static_cast<double>(all[r * 3 + static_cast<size_t>(f)]), (row - 3) / 2.0, 1e-6);
    }
    for (int c = 0; c < 2; ++c)
      for (int p = 0; p < 4; ++p)
        EXPECT_NEAR(static_cast<double>(image[r * 8 + static_cast<size_t>(p * 2 + c)]),
                    (row * 8 + c * 4 + p) * 3 % 200 / (55 * 3.0), 1e-6);
  }
}

TEST_F(AssemblerTest, Volumes) {
  const int64_t n = 4, channels = 2, depth = 2, height = 3, width = 4;
  constexpr StoredType i16{StoredType::Kind::signed_integer, 2, false};
  for (const StoredType& type : {i16, StoredType{StoredType::Kind::signed_integer, 2, true}, f64})
    for (const ImageLayout layout : {ImageLayout::cdhw, ImageLayout::dhwc, ImageLayout::dhw}) {
      const Shape stored = layout == ImageLayout::cdhw   ? Shape{n, channels, depth, height, width}
                           : layout == ImageLayout::dhwc ? Shape{n, depth, height, width, channels}
                                                         : Shape{n, depth, height, width};
      const std::vector<double> values = ramp(element_count(stored), -50, 1, 140);
      const std::string file = scratch.make("v.h5", {{"x", type, stored, values}});
      for (const bool transformed : {false, true}) {
        DataSpec spec = spec_of(split_of({file}, "x"));
        spec.layout = layout;
        spec.normalisation = Normalisation::standardize;
        Transform scale;
        scale.kind = Transform::Kind::scale;
        scale.factor = 0.5;
        if (transformed) spec.transforms = {scale};
        const Filled filled(world, spec);
        const Input& input = filled.dataset.inputs().front();
        const int64_t c_count = layout == ImageLayout::dhw ? 1 : channels;
        ASSERT_EQ(input.shape, (Shape{c_count, depth, height, width}));
        const Statistics& statistics = filled.store.statistics();
        ASSERT_EQ(std::ssize(statistics.mean), c_count);
        std::vector<double> sum(2);
        const int64_t points = depth * height * width;
        const auto value_at = [&](int64_t row, int64_t p, int64_t c) {
          const int64_t at = layout == ImageLayout::cdhw ? (row * c_count + c) * points + p
                                                         : (row * points + p) * c_count + c;
          return values[static_cast<size_t>(at)];
        };
        for (int64_t row = 0; row < n; ++row)
          for (int64_t p = 0; p < points; ++p)
            for (int64_t c = 0; c < c_count; ++c) sum[static_cast<size_t>(c)] += value_at(row, p, c);
        const auto inputs = filled.inputs();
        for (int64_t c = 0; c < c_count; ++c) {
          const double mean = sum[static_cast<size_t>(c)] / static_cast<double>(n * points);
          EXPECT_NEAR(statistics.mean[static_cast<size_t>(c)], transformed ? mean / 2 : mean, 1e-6);
          const double deviation = statistics.deviation[static_cast<size_t>(c)] * (transformed ? 2 : 1);
          if (world.size() > 1) continue;  // rows are all here
          for (int64_t row = 0; row < n; ++row)
            for (int64_t p = 0; p < points; ++p)
              ASSERT_NEAR(static_cast<double>(inputs[static_cast<size_t>((row * points + p) * c_count + c)]),
                          (value_at(row, p, c) - mean) / deviation, 2e-6);
        }
      }
    }
}

/// The same rows padded and flat, at once: values, their lengths behind all columns, statistics without
/// padding.
TEST_F(AssemblerTest, RaggedInputs) {
  const std::string file = scratch.make("r.h5", {{"padded", f32, {3, 3}, {1, 2, 9, 9, 9, 9, 3, 4, 5}},
                                                 {"lengths", u8, {3}, {2, 0, 3}},
                                                 {"flat", u8, {5}, {0, 2, 1, 1, 0}},
                                                 {"offsets", i32, {4}, {0, 2, 2, 5}},
                                                 {"y", u8, {3}, ramp(3)}});
  DataSpec spec = spec_of(split_of({file}, "", "y"), true);
  spec.train->inputs = {{"p", "padded", "lengths"}, {"f", "flat", "", "offsets"}};
  Transform one_hot;
  one_hot.kind = Transform::Kind::one_hot;
  one_hot.classes = 3;
  spec.inputs = {{"p", {}, Normalisation::unit}, {"f", {}, {}, 2, std::vector{one_hot}}};
  const Filled filled(world, spec);
  const std::vector<Input>& inputs = filled.dataset.inputs();
  ASSERT_EQ(inputs.size(), 4U);
  EXPECT_EQ(inputs[0].shape, (Shape{3}));
  EXPECT_EQ(inputs[1].shape, (Shape{2, 3}));
  EXPECT_EQ(inputs[2].name, "p.length");
  EXPECT_EQ(inputs[3].name, "f.length");
  const Statistics& statistics = filled.store.statistics();
  ASSERT_EQ(statistics.mean.size(), 1U);
  EXPECT_EQ(statistics.mean[0], 3);
  EXPECT_EQ(statistics.count, 5);
  EXPECT_EQ(statistics.minimum[0], 1);
  const Assembler assembler(filled.dataset, 0, statistics);
  const size_t n = filled.rows.size();
  std::vector<float> p(3 * n), f(6 * n), p_length(n), f_length(n);
  assembler.input(0, filled.rows, nullptr, p);
  assembler.input(1, filled.rows, nullptr, f);
  assembler.input(2, filled.rows, nullptr, p_length);
  assembler.input(3, filled.rows, nullptr, f_length);
  std::vector<int32_t> rows(n);
  assembler.classes(filled.rows, rows);
  const std::vector<std::vector<float>> p_rows = {{0, 0.25, 0}, {0, 0, 0}, {0.5, 0.75, 1}},
                                        f_rows = {{1, 0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 0}, {0, 1, 0, 0, 1, 0}};
  for (size_t i = 0; i < n; ++i) {
    const auto row = static_cast<size_t>(rows[i]);
    EXPECT_TRUE(std::equal(p_rows[row].begin(), p_rows[row].end(), p.begin() + static_cast<int64_t>(3 * i)));
    EXPECT_TRUE(std::equal(f_rows[row].begin(), f_rows[row].end(), f.begin() + static_cast<int64_t>(6 * i)));
    EXPECT_EQ(p_length[i], (std::array{2.0F, 0.0F, 3.0F}[row]));
    EXPECT_EQ(f_length[i], (std::array{2.0F, 0.0F, 2.0F}[row])) << "cut";
  }
}

TEST_F(AssemblerTest, ConstantGroupsStayFinite) {
  const std::string file = scratch.make("a.h5", {{"x", f32, {4, 2}, {1, 5, 2, 5, 3, 5, 4, 5}}});
  DataSpec spec = spec_of(split_of({file}, "x"));
  spec.normalisation = Normalisation::standardize;
  const auto inputs = Filled(world, spec).inputs();
  for (size_t i = 1; i < inputs.size(); i += 2) EXPECT_EQ(inputs[i], 0.0f);
}

TEST_F(AssemblerTest, LargeDoublesKeepTheirDifferences) {
  // 1.6e9 s is not a float32 to the second; normalised in double it is.
  const std::string file = scratch.make("a.h5", {{"x", f64, {2}, {1.6e9, 1.6e9 + 2}}});
  DataSpec spec = spec_of(split_of({file}, "x"));
  spec.normalisation = Normalisation::standardize;
  EXPECT_EQ(Filled(world, spec).inputs(), (std::vector<float>{-1, 1}));
}

TEST_F(AssemblerTest, Targets) {
  for (const StoredType& type : all_types()) {
    std::vector<double> hot(15, 0);
    for (size_t i = 0; i < 5; ++i) hot[3 * i + i % 3] = 1;
    const std::string file = scratch.make(
        type.text(), {{"x", u8, {5, 3}, ramp(15)}, {"ids", type, {5}, ramp(5)}, {"hot", type, {5, 3}, hot}});
    std::vector<int32_t> classes(5);
    const Filled ids(world, spec_of(split_of({file}, "x", "ids"), true));
    Assembler(ids.dataset, 0, {}).classes(ids.rows, classes);
    EXPECT_EQ(classes, (std::vector<int32_t>{0, 1, 2, 3, 4})) << type.text();
    const Filled one_hot(world, spec_of(split_of({file}, "x", "hot"), true));
    Assembler(one_hot.dataset, 0, {}).classes(one_hot.rows, classes);
    EXPECT_EQ(classes, (std::vector<int32_t>{0, 1, 2, 0, 1})) << type.text();
    for (const char* targets : {"ids", "hot"}) {
      DataSpec spec = spec_of(split_of({file}, "x", targets), true);
      spec.ignored_class = 1;
      const Filled ignoring(world, spec);
      Assembler(ignoring.dataset, 0, {}).classes(ignoring.rows, classes);
      const std::vector<int32_t> want = targets == std::string("ids") ? std::vector<int32_t>{0, -1, 2, 3, 4}
                                                                      : std::vector<int32_t>{0, -1, 2, 0, -1};
      EXPECT_EQ(classes, want) << type.text();
    }
    const Filled values(world, spec_of(split_of({file}, "x", "hot")));
    std::vector<float> targets(15);
    Assembler(values.dataset, 0, {}).values(values.rows, targets);
    for (size_t i = 0; i < 15; ++i) EXPECT_EQ(static_cast<double>(targets[i]), hot[i]);
  }
}

TEST_F(AssemblerTest, Speed) {
  const int64_t n = 2000;
  const std::string file = scratch.make("a.h5", {{"x", u8, {n, 28, 28}, ramp(n * 784, 0, 1, 256)},
                                                 {"colour", u8, {n, 3, 16, 16}, ramp(n * 768, 0, 1, 256)},
                                                 {"y", u8, {n}, ramp(n, 0, 1, 10)}});
  for (const char* inputs : {"x", "colour"})
    for (const ImageLayout layout : {ImageLayout::automatic, ImageLayout::none}) {
      DataSpec spec = spec_of(split_of({file}, inputs, "y"), true);
      spec.layout = layout;
      spec.normalisation = Normalisation::standardize;
      const Filled filled(world, spec);
      const Assembler assembler(filled.dataset, 0, filled.store.statistics());
      std::vector<float> out(64 * static_cast<size_t>(assembler.input_elements()));
      double best = 1e9;
      for (int repeat = 0; repeat < 20; ++repeat) {
        const double begin = now_s();
        for (size_t i = 0; i + 64 <= filled.rows.size(); i += 64)
          assembler.inputs(std::span(filled.rows).subspan(i, 64), nullptr, out);
        best = std::min(best, now_s() - begin);
      }
      if (world.rank() == 0)
        std::printf("%s, layout %s: %.2f million samples/s\n", inputs,
                    layout == ImageLayout::none ? "none" : "auto",
                    static_cast<double>(filled.rows.size() / 64 * 64) / best / 1e6);
    }
}

}  // namespace
}  // namespace lepton::data
