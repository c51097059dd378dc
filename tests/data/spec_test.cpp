// SPDX-License-Identifier: Apache-2.0
// Splits have the names that decks use.
#include "data/spec.h"

#include <gtest/gtest.h>

namespace lepton::data {
namespace {

TEST(Spec, SplitNames) {
  EXPECT_STREQ(split_name(SplitKind::train), "train");
  EXPECT_STREQ(split_name(SplitKind::validation), "validation");
  EXPECT_STREQ(split_name(SplitKind::test), "test");
}

}  // namespace
}  // namespace lepton::data
