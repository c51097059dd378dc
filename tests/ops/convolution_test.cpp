// SPDX-License-Identifier: Apache-2.0
// Dimensions of convolutions as oneDNN gets them.
#include "ops/convolution.h"

#include <gtest/gtest.h>

namespace lepton::ops {
namespace {

TEST(Convolution, OneDimensionIsAnImageOfHeightOne) {
  const OpSpec spec{
      .type = "Conv", .attributes = {{"dilations", std::vector<int64_t>{3}}}, .inputs = {{4, 9}}};
  const auto c = convolution_of({2, {4, 9}, {6, 3}, {6, 2, 3}, 2}, parse_window(spec, {3}), Precision::fp32);
  EXPECT_EQ(c.source, (onednn::Dims{2, 4, 1, 9}));
  EXPECT_EQ(c.destination, (onednn::Dims{2, 6, 1, 3}));
  EXPECT_EQ(c.weights, (onednn::Dims{2, 3, 2, 1, 3}));
  EXPECT_EQ(c.dilations, (onednn::Dims{0, 2}));
}

TEST(Convolution, RowsThatNoWindowReachesAreNegativePads) {
  const OpSpec spec{
      .type = "Conv", .attributes = {{"strides", std::vector<int64_t>{3, 1, 1}}}, .inputs = {{1, 9, 4, 4}}};
  const auto c = convolution_of({1, {1, 9, 4, 4}, {1, 3, 4, 4}, {1, 1, 1, 1, 1}, 1},
                                parse_window(spec, {1, 1, 1}), Precision::fp32);
  EXPECT_EQ(c.pads_end, (onednn::Dims{-2, 0, 0}));
  EXPECT_EQ(c.weights, (onednn::Dims{1, 1, 1, 1, 1}));
}

}  // namespace
}  // namespace lepton::ops
