// SPDX-License-Identifier: Apache-2.0
// Files of a dataset: globs, order, concatenation, and what must be alike.
#include "data/dataset_files.h"

#include <fstream>

#include "storage/make_hdf5.h"
#include "storage/scratch.h"

namespace lepton::data {
namespace {

using testing::expect_error;
using testing::make_hdf5;
using testing::ramp;
using testing::Scratch;
using testing::u8;

TEST(ExpandFiles, GlobsAreSortedBytewiseListsKeepTheirOrder) {
  const Scratch scratch;
  for (const char* name : {"part-10.h5", "part-9.h5", "part-B.h5", "part-a.h5", "z.h5", "odd[1].h5"})
    std::ofstream(scratch / name).close();
  const SourcePosition position{
      "deck.toml",
      3,
      1,
  };
  EXPECT_EQ(expand_files({scratch / "z.h5", scratch / "part-*.h5"}, position),
            (std::vector<std::string>{scratch / "z.h5", scratch / "part-10.h5", scratch / "part-9.h5",
                                      scratch / "part-B.h5", scratch / "part-a.h5"}));
  EXPECT_EQ(expand_files({scratch / "odd[1].h5"}, position).size(), 1u) << "a file of that very name";
  EXPECT_EQ(expand_files({scratch / "missing.h5"}, position).size(), 1u) << "opening it will say so";
  expect_error(Exit::no_input, "deck.toml:3:1: no file matches",
               [&] { expand_files({scratch / "none-*.h5"}, position); });
  expect_error(Exit::deck, "named twice", [&] {
    expand_files({scratch / "z.h5", scratch / "*.h5"}, position);
  });
  expect_error(Exit::deck, "no data file", [&] { expand_files({}, position); });
}

TEST(OpenSource, Concatenates) {
  const Scratch scratch;
  const std::string a = scratch / "a.h5", b = scratch / "b.h5";
  make_hdf5(a, {{"x", u8, {3, 2}, ramp(6)}, {"y", u8, {3}, ramp(3)}});
  make_hdf5(b, {{"x", u8, {5, 2}, ramp(10), {2, 2}}, {"y", u8, {5}, ramp(5)}});
  const Source source = open_source({a, b}, {{{"input", "x"}}, {"y"}});
  EXPECT_EQ(source.first_row, (std::vector<int64_t>{0, 3, 8}));
  EXPECT_EQ(source.row_bytes(), 3u);
  EXPECT_EQ(source.inputs[0].arrays[1].chunk_rows, 2);
  EXPECT_EQ(source.place(4, 0), b + ":x, row 1");
  EXPECT_EQ(source.place(2, Source::in_targets), a + ":y, row 2");

  FoundSources found;
  found.sources = {source};
  found.source_of_split = {0, -1, 0};
  const FoundSources copy = unpack_sources(pack_sources(found));
  ASSERT_EQ(copy.sources.size(), 1u);
  EXPECT_EQ(copy.source_of_split, found.source_of_split);
  EXPECT_EQ(copy.sources[0].first_row, source.first_row);
  EXPECT_EQ(copy.sources[0].inputs[0].arrays[1].shape, source.inputs[0].arrays[1].shape);
  EXPECT_EQ(copy.sources[0].inputs[0].arrays[1].type, source.inputs[0].arrays[1].type);
  EXPECT_EQ(copy.sources[0].targets[0].arrays[1].file, b);
}

TEST(ColumnsOf, Windows) {
  DataSpec spec;
  spec.train.emplace();
  spec.train->inputs = {{"input", "x"}};
  EXPECT_EQ(columns_of(spec, *spec.train), (Columns{{{"input", "x"}}, {}}));
  spec.sequence = 8;
  EXPECT_EQ(columns_of(spec, *spec.train), (Columns{{{"input", "x"}}, {}, {8, 8, 0, 8}})) << "inputs alone";
  spec.sequence_stride = 3;
  spec.train->next = true;
  EXPECT_EQ(columns_of(spec, *spec.train), (Columns{{{"input", "x"}}, {"x"}, {8, 3, 0, 9}, {8, 3, 1, 9}}));
  spec.validation = spec.train;
  EXPECT_EQ(columns_of(spec, *spec.validation).input_windows.stride, 8) << "each element once";
  spec.validation->fraction = 0.5;
  EXPECT_EQ(columns_of(spec, *spec.validation), columns_of(spec, *spec.train)) << "the same rows";
  spec.train->next = false;
  spec.train->targets = "y";
  EXPECT_EQ(columns_of(spec, *spec.train), (Columns{{{"input", "x"}}, {"y"}, {8, 3, 0, 8}, {8, 3, 0, 8}}));
}

TEST(OpenSource, WindowsOfEachFile) {
  const Scratch scratch;
  const std::string a = scratch / "a.h5", b = scratch / "b.h5";
  make_hdf5(a, {{"x", u8, {20}, ramp(20)}});
  make_hdf5(b, {{"x", u8, {9}, ramp(9)}});
  const Columns columns{{{"input", "x"}}, {"x"}, {8, 4, 0, 9}, {8, 4, 1, 9}};
  const Source source = open_source({a, b}, columns);
  EXPECT_EQ(source.first_row, (std::vector<int64_t>{0, 3, 4}));
  EXPECT_EQ(source.row_bytes(), 16u);
  FoundSources found;
  found.sources = {source};
  const FoundSources copy = unpack_sources(pack_sources(found));
  EXPECT_EQ(copy.sources[0].targets[0].arrays[1].windows, columns.target_windows);
  EXPECT_EQ(copy.sources[0].inputs[0].arrays[0].shape, (Shape{3, 8}));
}

TEST(OpenSource, RefusesWhatDoesNotFit) {
  const Scratch scratch;
  const std::string a = scratch / "a.h5", b = scratch / "b.h5";
  make_hdf5(a, {{"x", u8, {3, 2}, ramp(6)},
                {"y", u8, {3}, ramp(3)},
                {"short", u8, {2}, ramp(2)},
                {"none", u8, {0, 2}, {}},
                {"flat", u8, {3, 0}, {}}});
  make_hdf5(b, {{"x", u8, {5, 3}, ramp(15)}, {"y", testing::i32, {5}, ramp(5)}});
  expect_error(Exit::data, "rows have shape [3], those of", [&] {
    open_source({a, b}, {{{"input", "x"}}, {}});
  });
  expect_error(Exit::data, "holds int32", [&] { open_source({a, b}, {{{"input", "y"}}, {}}); });
  expect_error(Exit::data, "x has 3 rows, short has 2", [&] {
    open_source({a}, {{{"input", "x"}}, {"short"}});
  });
  expect_error(Exit::data, "no rows", [&] { open_source({a}, {{{"input", "none"}}, {}}); });
  expect_error(Exit::data, "rows are empty", [&] { open_source({a}, {{{"input", "flat"}}, {}}); });
  expect_error(Exit::data, "rows are empty", [&] { open_source({a}, {{{"input", "x"}}, {"flat"}}); });
  expect_error(Exit::no_input, "No such file", [&] {
    open_source({scratch / "c.h5"}, {{{"input", "x"}}, {}});
  });
}

}  // namespace
}  // namespace lepton::data
