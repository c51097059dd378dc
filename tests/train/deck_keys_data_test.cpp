// SPDX-License-Identifier: Apache-2.0
// The choices of [data] stand in the order of the enums that they set, and splits are made by any of their
// keys.
#include <gtest/gtest.h>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

TEST(DeckKeysData, ChoicesMatchTheirEnums) {
  using namespace data;
  EXPECT_EQ(with({{"data.layout", "auto"}}).data.layout, ImageLayout::automatic);
  EXPECT_EQ(with({{"data.layout", "hwc"}}).data.layout, ImageLayout::hwc);
  EXPECT_EQ(with({{"data.layout", "chw"}}).data.layout, ImageLayout::chw);
  EXPECT_EQ(with({{"data.layout", "hw"}}).data.layout, ImageLayout::hw);
  EXPECT_EQ(with({{"data.layout", "none"}}).data.layout, ImageLayout::none);
  EXPECT_EQ(with({{"data.layout", "cdhw"}}).data.layout, ImageLayout::cdhw);
  EXPECT_EQ(with({{"data.layout", "dhwc"}}).data.layout, ImageLayout::dhwc);
  EXPECT_EQ(with({{"data.layout", "dhw"}}).data.layout, ImageLayout::dhw);
  EXPECT_EQ(with({{"data.layout", "sequence"}}).data.layout, ImageLayout::sequence);
  EXPECT_EQ(with({{"data.target_kind", "classes"}}).data.target_kind, TargetKind::classes);
  EXPECT_EQ(with({{"data.target_kind", "one_hot"}}).data.target_kind, TargetKind::one_hot);
  EXPECT_EQ(with({{"model.loss", "mse"}, {"data.target_kind", "values"}}).data.target_kind,
            TargetKind::values);
  EXPECT_EQ(with({{"data.normalize", "none"}}).data.normalisation, Normalisation::none);
  EXPECT_EQ(with({{"data.normalize", "unit"}}).data.normalisation, Normalisation::unit);
  EXPECT_EQ(with({{"data.normalize", "standardize"}}).data.normalisation, Normalisation::standardize);
  EXPECT_EQ(with({{"data.shuffle", "global"}}).data.shuffle, Shuffle::global);
  EXPECT_EQ(with({{"data.shuffle", "window"}}).data.shuffle, Shuffle::window);
  EXPECT_EQ(with({{"data.shuffle", "none"}}).data.shuffle, Shuffle::none);
  EXPECT_EQ(with({{"data.bad_rows", "error"}}).data.bad_rows, BadRows::error);
  EXPECT_EQ(with({{"data.bad_rows", "skip"}}).data.bad_rows, BadRows::skip);
}

TEST(DeckKeysData, SplitsTakeTheFilesOfDataUnlessTheyNameTheirOwn) {
  const Deck deck = with({{"data.validation", "{ inputs = \"v\", targets = \"w\", files = [\"own.h5\"] }"},
                          {"data.test", "{ inputs = \"t\", targets = \"u\" }"}});
  EXPECT_EQ(deck.data.validation->files, std::vector<std::string>{"own.h5"});
  EXPECT_EQ(deck.data.test->files, std::vector<std::string>{"decks/d.h5"});
}

}  // namespace
}  // namespace lepton::train
