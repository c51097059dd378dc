// SPDX-License-Identifier: Apache-2.0
// Sizes of transposed convolutions by ONNX's formula for pads, output_shape and auto_pad.
#include "ops/transposed_window.h"

#include "ops/window_cases.h"

namespace lepton::ops {
namespace {

using namespace testing;

Shape sizes(Attributes more) {
  const OpSpec spec =
      window_spec({"ConvTranspose", 1, 1, {3, 3}, 1, {3, 3}, {3, 2}, {}, {}, 1, std::move(more)});
  const TransposedWindow window(spec);
  return {window.output[0],           window.output[1],         window.window.pad_begin[0],
          window.window.pad_begin[1], window.window.pad_end[0], window.window.pad_end[1]};
}

TEST(TransposedWindow, SizesAreOnnxs) {
  EXPECT_EQ(sizes({}), (Shape{9, 7, 0, 0, 0, 0}));
  EXPECT_EQ(sizes({{"auto_pad", std::string("VALID")}}), (Shape{9, 7, 0, 0, 0, 0}));
  EXPECT_EQ(sizes({{"auto_pad", std::string("SAME_UPPER")}}), (Shape{9, 6, 0, 0, 0, 1}));
  EXPECT_EQ(sizes({{"auto_pad", std::string("SAME_LOWER")}}), (Shape{9, 6, 0, 1, 0, 0}));
  EXPECT_EQ(sizes({{"output_shape", std::vector<int64_t>{8, 4}}}), (Shape{8, 4, 1, 2, 0, 1}));
}

}  // namespace
}  // namespace lepton::ops
