// SPDX-License-Identifier: Apache-2.0
// Average pools against plain loops in double: windows, strides, pads, ceil_mode, count_include_pad; refusals
// of all.
#include "ops/pool_cases.h"
#include "ops/window_cases.h"

namespace lepton::ops {
namespace {

using namespace testing;

TEST(AveragePool, WindowsOfAllKinds) {
  check_pool({"AveragePool", 2, 3, 6, 8, {2, 2}, {2, 2}}, {3, 3, 4});
  check_pool({"AveragePool", 2, 17, 5, 6, {3, 2}}, {17, 3, 5});
  check_pool({"AveragePool", 1, 4, 5, 5, {3, 3}, {2, 2}, {2, 0, 1, 1}}, {4, 3, 2});
  check_pool({"AveragePool", 1, 4, 5, 5, {3, 3}, {2, 2}, {2, 0, 1, 1}, {1, 1}, 0, 1}, {4, 3, 2});
  check_pool({"AveragePool", 1, 2, 6, 6, {3, 3}, {2, 2}, {0, 0, 0, 0}, {1, 1}, 1}, {2, 3, 3});
  check_pool({"AveragePool", 1, 2, 6, 6, {3, 3}, {2, 2}, {1, 1, 0, 0}, {1, 1}, 1, 1}, {2, 3, 3});
}

TEST(Pool, OverOneAndThreeDimensions) {
  for (const char* type : {"MaxPool", "AveragePool"}) {
    check_windows({type, 2, 3, {9}, 3, {3}, {2}, {1, 1}});
    check_windows({type, 1, 5, {8}, 5, {2}, {2}});
    check_windows({type, 2, 3, {4, 5, 6}, 3, {2, 2, 3}, {2, 1, 3}, {1, 0, 1, 0, 1, 1}});
    check_windows({type, 1, 4, {6, 5, 4}, 4, {2, 3, 2}, {1, 2, 2}, {}, {2, 1, 1}});
  }
}

TEST(Pool, RefusesWhatDoesNotFit) {
  expect_refused(pool({"MaxPool", 1, 4, 2, 8, {3, 3}}), "larger than its input [4, 2, 8]");
  expect_refused(pool({"AveragePool", 1, 4, 8, 8, {3}}), "2 numbers");
  for (const char* type : {"MaxPool", "AveragePool"}) {
    expect_refused(pool({type, 1, 4, 8, 8, {2, 2}, {1, 1}, {2, 0, 0, 0}}), "on its pads only");
    expect_refused(pool({type, 1, 4, 3, 8, {2, 2}, {1, 1}, {1, 0, 3, 0}, {4, 1}}), "on its pads only");
  }
  expect_refused(pool({"MaxPool", 1, 4, 8, 8, {2, 2}, {1, 1}, {-1, 0, 0, 0}}), "negative");
  expect_refused(pool({"MaxPool", 1, 4, 80, 80, {16, 16}}), "255");
  OpSpec vector = pool({"MaxPool", 1, 4, 8, 8, {2, 2}});
  vector.inputs = {{10}};
  expect_refused(vector, "not [10]");
}

}  // namespace
}  // namespace lepton::ops
