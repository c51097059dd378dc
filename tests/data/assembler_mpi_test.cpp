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
    assembler.inputs(rows, out);
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
        ASSERT_EQ(filled.dataset.groups(), shape[0]);
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
          assembler.inputs(std::span(filled.rows).subspan(i, 64), out);
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
