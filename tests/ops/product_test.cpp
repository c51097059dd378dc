// SPDX-License-Identifier: Apache-2.0
// MatMul of two values against double, with leading dimensions that are broadcast, and all gradients.
#include "ops/placed.h"

namespace lepton::ops {
namespace {

using namespace testing;

void check_product(const Shape& a, const Shape& b, std::vector<bool> needs = {}) {
  const OpSpec spec = completed({.type = "MatMul",
                                 .samples = 2,
                                 .training = true,
                                 .inputs = {a, b},
                                 .input_needs_gradient = std::move(needs)});
  const size_t rank = a.size();
  check_op(
      spec,
      [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
        Numbers y(static_cast<size_t>(2 * element_count(spec.output)));
        for (int64_t s = 0; s < 2; ++s)
          for_each_index(spec.output, [&](const Shape& at) {
            double sum = 0;
            for (int64_t k = 0; k < a.back(); ++k) {
              Shape left = at, right = at;
              left[rank - 1] = right[rank - 2] = k;
              sum += inputs[0][place(a, Layout::plain, s, broadcast_index(a, left))] *
                     inputs[1][place(b, Layout::plain, s, broadcast_index(b, right))];
            }
            y[place(spec.output, Layout::plain, s, at)] = sum;
          });
        return y;
      },
      3e-6);
}

TEST(Product, Matrices) {
  check_product({5, 3}, {3, 18});
  check_product({1, 7}, {7, 1});
  check_product({6, 1}, {1, 6});
}

TEST(Product, LeadingDimensionsAreBroadcast) {
  check_product({3, 4, 2}, {3, 2, 5});
  check_product({1, 4, 2}, {3, 2, 5});
  check_product({3, 4, 2}, {1, 2, 5});
  check_product({2, 1, 2, 3}, {1, 3, 3, 2});
}

TEST(Product, EitherMayNeedNoGradient) {
  check_product({3, 4, 2}, {1, 2, 5}, {true, false});
  check_product({3, 4, 2}, {1, 2, 5}, {false, true});
}

}  // namespace
}  // namespace lepton::ops
