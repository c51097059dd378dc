// SPDX-License-Identifier: Apache-2.0
// Lists and masks of one file and of several, in any number type; booleans as h5py stores them; what is
// refused.
#include "data/split_rows.h"

#include <gtest/gtest.h>

#include "data/dataset_files.h"
#include "errors.h"
#include "storage/make_hdf5.h"
#include "storage/scratch.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

/// Six rows in one file and four in the next.
class SplitRows : public ::testing::Test {
 protected:
  void make(const std::vector<TestArray>& first, const std::vector<TestArray>& second) {
    std::vector<TestArray> arrays = first;
    arrays.push_back({"x", f32, {6, 2}, ramp(12)});
    make_hdf5(a, arrays);
    arrays = second;
    arrays.push_back({"x", f32, {4, 2}, ramp(8)});
    make_hdf5(b, arrays);
  }
  std::vector<int64_t> rows(const std::string& indices, const std::string& mask) const {
    SplitSpec split;
    split.indices = indices;
    split.mask = mask;
    const RowSet set = read_split_rows(open_source({a, b}, {{{"x", "x"}}, {}}), split);
    EXPECT_EQ(set.rows(), 10);
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < set.size(); ++i) rows.push_back(set[i]);
    return rows;
  }
  /// "a:" and "b:" in `where` stand for the files.
  void expect_refused(const std::string& indices, const std::string& mask, const std::string& where,
                      const std::vector<std::string>& parts) const {
    const auto error = expect_error_of([&] { rows(indices, mask); }, Exit::data, parts);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->where(), (where[0] == 'a' ? a : b) + where.substr(1));
  }
  Scratch scratch;
  const std::string a = scratch / "a.h5", b = scratch / "b.h5";
};

TEST_F(SplitRows, ListsAreOfTheirFileAndInAnyOrder) {
  for (const StoredType& type : all_types()) {
    make({{"ids", type, {3}, {5, 0, 3}}}, {{"ids", type, {2}, {3, 1}}});
    EXPECT_EQ(rows("ids", ""), (std::vector<int64_t>{0, 3, 5, 7, 9})) << type.text();
  }
}

TEST_F(SplitRows, MasksAreOfTheirFile) {
  for (const StoredType& type : all_types()) {
    make({{"m", type, {6}, {1, 0, 0, 1, 0, 0}}}, {{"m", type, {4}, {0, 0, 0, 1}}});
    EXPECT_EQ(rows("", "m"), (std::vector<int64_t>{0, 3, 9})) << type.text();
  }
}

TEST_F(SplitRows, Booleans) {
  TestArray first{"flags", u8, {6}, {0, 1, 0, 0, 0, 1}}, second{"flags", u8, {4}, {1, 0, 0, 0}};
  for (TestArray* array : {&first, &second}) array->boolean = true;
  make({first}, {second});
  EXPECT_EQ(rows("", "flags"), (std::vector<int64_t>{1, 5, 6}));
  for (TestArray* array : {&first, &second}) {  // read by HDF5 itself
    array->chunk = {4};
    array->deflate = 3;
  }
  make({first}, {second});
  EXPECT_EQ(rows("", "flags"), (std::vector<int64_t>{1, 5, 6}));
}

TEST_F(SplitRows, RefusesWhatIsNoListOfRows) {
  make({{"high", i32, {2}, {0, 5}},
        {"low", i32, {1}, {2}},
        {"half", f32, {1}, {2}},
        {"twice", i32, {1}, {2}},
        {"square", i32, {2, 1}, {0, 1}},
        {"none", i32, {0}, {}}},
       {{"high", i32, {2}, {0, 4}},
        {"low", i32, {2}, {0, -1}},
        {"half", f32, {1}, {0.5}},
        {"twice", i32, {3}, {1, 2, 1}},
        {"square", i32, {1, 1}, {0}},
        {"none", i32, {0}, {}}});
  expect_refused("high", "", "b:high, element 1", {"4 is not the number of a row, from 0 to 3"});
  expect_refused("low", "", "b:low, element 1", {"-1 is not the number of a row"});
  expect_refused("half", "", "b:half, element 0", {"0.5 is not the number of a row"});
  expect_refused("twice", "", "b:twice, element 2", {"row 1 is there twice", "given as mask"});
  expect_refused("square", "", "a:square", {"have shape [N], this array has [2, 1]"});
  expect_refused("none", "", "a:none", {"the list is empty"});
}

TEST_F(SplitRows, RefusesWhatIsNoMask) {
  make({{"short", u8, {6}, ramp(6, 1, 0)}, {"two", u8, {6}, ramp(6, 1, 0)}, {"zero", u8, {6}, ramp(6, 0, 0)}},
       {{"short", u8, {3}, ramp(3, 1, 0)}, {"two", u8, {4}, {0, 1, 2, 0}}, {"zero", u8, {4}, ramp(4, 0, 0)}});
  expect_refused("", "short", "b:short", {"the mask has 3 elements for 4 rows", "given as indices"});
  expect_refused("", "two", "b:two, element 2", {"2 is neither 0 nor 1"});
  expect_refused("", "zero", "a:zero", {"holds no 1"});
}

}  // namespace
}  // namespace lepton::data
