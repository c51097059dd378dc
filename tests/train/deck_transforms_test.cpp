// SPDX-License-Identifier: Apache-2.0
// data.transforms: every type with its options, and what is refused.
#include "train/deck_transforms.h"

#include <gtest/gtest.h>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

using data::Transform;

const std::string all_transforms =
    "[{ type = \"clip\", low = -1, high = 2.5 }, { type = \"log1p\" }, { type = \"scale\", factor = 2 }, "
    "{ type = \"one_hot\", classes = 3 }, { type = \"random_flip\" }, { type = \"random_flip\", axis = "
    "\"depth\" }, "
    "{ type = \"random_crop\", padding = 4 }]";

TEST(DeckTransforms, EveryTypeWithItsOptions) {
  const Deck deck = with({{"data.transforms", all_transforms}});
  const std::vector<Transform>& list = deck.data.transforms;
  ASSERT_EQ(list.size(), 7U);
  for (size_t i = 0; i < list.size(); ++i) {
    using enum Transform::Kind;
    const Transform::Kind kinds[] = {clip, log1p, scale, one_hot, random_flip, random_flip, random_crop};
    EXPECT_EQ(list[i].kind, kinds[i]) << i;
  }
  EXPECT_EQ(list[0].low, -1);
  EXPECT_EQ(list[0].high, 2.5);
  EXPECT_EQ(list[2].factor, 2);
  EXPECT_EQ(list[2].offset, 0);
  EXPECT_EQ(list[3].classes, 3);
  EXPECT_EQ(list[4].axis, data::Axis::horizontal);
  EXPECT_EQ(list[5].axis, data::Axis::depth);
  EXPECT_EQ(list[6].padding, 4);
  EXPECT_EQ(deck.mathematical.at("data.transforms").substr(0, 49),
            "[{ type = \"clip\", low = -1, high = 2.5 }, { type ");
  EXPECT_EQ(parse(deck.resolved).mathematical, deck.mathematical);
}

TEST(DeckTransforms, SizesOfCrops) {
  const auto size_of = [](const std::string& options) {
    const Deck deck = with(
        {{"data.transforms", "[{ type = \"random_crop\", " + options + " }, { type = \"random_flip\" }]"}});
    EXPECT_EQ(parse(deck.resolved).data.transforms, deck.data.transforms);
    return deck.data.transforms.front().size;
  };
  EXPECT_EQ(size_of("size = 24"), (std::vector<int64_t>{24}));
  EXPECT_EQ(size_of("padding = 2, size = [24, 32]"), (std::vector<int64_t>{24, 32}));
  EXPECT_EQ(size_of("padding = 2"), std::vector<int64_t>{});
  EXPECT_NE(with({{"data.transforms", "[{ type = \"random_crop\", size = 24 }]"}}).mathematical,
            with({{"data.transforms", "[{ type = \"random_crop\", size = 25 }]"}}).mathematical);
}

TEST(DeckTransforms, OfOneInput) {
  const Deck deck =
      with({{"data.transforms", "[{ type = \"log1p\" }]"}, {"data.inputs.input.transforms", "[]"}});
  EXPECT_TRUE(deck.data.rules("input").transforms.empty());
  EXPECT_EQ(deck.data.rules("other").transforms.size(), 1U);
}

TEST(DeckTransforms, TheReferenceNamesAll) {
  const std::string reference = transform_reference();
  for (const char* part :
       {"log1p: ", "clip: ", "low = a number (required)", "offset = a number (default 0)",
        "one_hot: ", "axis = \"horizontal\", \"vertical\" or \"depth\" (default \"horizontal\")",
        "random_crop: ", "padding = an integer from 0", "size = an integer from 1",
        "or a list of them, one for each side (optional)"})
    EXPECT_NE(reference.find(part), std::string::npos) << part << " in:\n" << reference;
}

TEST(DeckTransforms, Errors) {
  const auto refused = [](const std::string& value, const std::vector<std::string>& parts) {
    expect_override_error({{"data.transforms", value}}, parts);
  };
  refused("3", {"data.transforms = 3 is not a list of transforms"});
  refused("[{ low = 3 }]", {"is not a list of transforms", "a table with a type"});
  refused("[\"log1p\"]", {"a table with a type"});
  refused("[{ type = \"log1\" }]",
          {"data.transforms[0].type = \"log1\" is no transform", "Did you mean \"log1p\"?"});
  refused("[{ type = \"clip\", low = 0 }]", {"data.transforms[0].high is missing", "It is a number"});
  refused("[{ type = \"clip\", low = 1, high = 0 }]", {"low is above high"});
  refused("[{ type = \"scale\", factors = 0 }]", {"unknown option data.transforms[0].factors", "\"factor\""});
  refused("[{ type = \"log1p\", base = 2 }]", {"log1p takes none"});
  refused("[{ type = \"one_hot\", classes = 0 }]", {"classes = 0 is not an integer from 1"});
  refused("[{ type = \"random_flip\", axis = \"up\" }]", {"axis = \"up\" is not \"horizontal\""});
  refused("[{ type = \"random_crop\" }]", {"data.transforms[0] crops nothing", "Give size"});
  refused("[{ type = \"random_crop\", size = [] }]", {"size = [] is not an integer from 1"});
  refused("[{ type = \"random_crop\", size = [4, 0] }]", {"or a list of them, one for each side"});
  refused("[{ type = \"random_crop\", size = 2.5 }]", {"size = 2.5 is not an integer from 1"});
  refused("[{ type = \"random_flip\" }, { type = \"random_crop\", size = 4 }]",
          {"data.transforms[1] has a size and stands behind another random transform"});
  refused("[{ type = \"random_crop\", padding = 2 }, { type = \"log1p\" }]",
          {"data.transforms[1] stands behind a random transform", "put random transforms last"});
}

}  // namespace
}  // namespace lepton::train
