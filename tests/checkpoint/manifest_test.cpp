// SPDX-License-Identifier: Apache-2.0
// The manifest survives its own text, and no damaged text passes: every truncation and every single flipped
// bit. Names of directories are taken strictly.
#include "checkpoint/manifest.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/hash.h"

namespace lepton::checkpoint {
namespace {

Manifest sample() {
  Manifest manifest;
  manifest.step = 500;
  manifest.layout = {10, {"parameters", "adam.m"}, 4};
  manifest.identity = {"cpu \"x\"", {{"train.seed", "7"}, {"model.layers", "[ä]\n"}}, "00ff"};
  manifest.files = {{"shard-00000.h5", 100, 1},
                    {"shard-00001.h5", 100, ~uint64_t{0}},
                    {"shard-00002.h5", 60, 3},
                    {"state.bin", 40, 4}};
  return manifest;
}

bool accepted(const std::string& text) {
  try {
    Manifest::decode(text, "manifest.json");
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::data);
    EXPECT_EQ(error.where(), "manifest.json");
    return false;
  }
}

/// With a checksum that fits.
std::string resealed(const std::string& text) {
  const size_t body = text.find('\n', 2) + 1;
  return "{\n  \"checksum\": \"" + hex64(hash64(std::string_view(text).substr(body))) + "\",\n" +
         text.substr(body);
}

TEST(Manifest, comes_back_as_it_was) {
  const Manifest before = sample(), after = Manifest::decode(before.encode(), "x");
  EXPECT_EQ(after.encode(), before.encode());
  EXPECT_EQ(after.step, 500);
  EXPECT_EQ(after.layout, before.layout);
  EXPECT_EQ(after.identity, before.identity);
  ASSERT_EQ(after.files.size(), 4u);
  EXPECT_EQ(after.files[1].hash, ~uint64_t{0});
  EXPECT_EQ(after.files[2].bytes, 60);
}

TEST(Manifest, the_first_format_is_read_and_has_no_parity) {
  Manifest before = sample();
  before.format = 1;
  const std::string text = before.encode();
  EXPECT_EQ(text.find("parity"), std::string::npos);
  const Manifest after = Manifest::decode(text, "x");
  EXPECT_EQ(after.parity, 0);
  EXPECT_EQ(after.encode(), text);
}

TEST(Manifest, parity_files_stand_behind_the_others) {
  Manifest before = sample();
  before.parity = 2;
  EXPECT_FALSE(accepted(before.encode()));
  for (size_t i = 0; i < 4; ++i) before.files.push_back({before.files[i].name + ".parity", 7, i});
  const Manifest after = Manifest::decode(before.encode(), "x");
  EXPECT_EQ(after.encode(), before.encode());
  EXPECT_EQ(after.state_file().name, "state.bin");
  std::swap(before.files[4], before.files[5]);
  EXPECT_FALSE(accepted(before.encode()));
}

TEST(Manifest, every_truncation_and_flipped_bit_is_found) {
  const std::string text = sample().encode();
  ASSERT_TRUE(accepted(text));
  ASSERT_TRUE(accepted(resealed(text)));
  for (size_t length = 0; length < text.size(); ++length)
    EXPECT_FALSE(accepted(text.substr(0, length))) << length;
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(accepted(flipped)) << bit;
  }
  EXPECT_FALSE(accepted(text + " "));
}

TEST(Manifest, a_true_checksum_over_nonsense_does_not_help) {
  const std::string text = sample().encode();
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    EXPECT_NE(changed.find(from), std::string::npos) << from;
    changed.replace(changed.find(from), from.size(), to);
    return resealed(changed);
  };
  EXPECT_FALSE(accepted(replaced("\"format\": 2", "\"format\": 3")));
  EXPECT_FALSE(accepted(replaced("\"step\": 500", "\"step\": \"500\"")));
  EXPECT_FALSE(accepted(replaced("\"step\": 500", "\"step\": -1")));
  EXPECT_FALSE(accepted(replaced("\"elements\": 10", "\"elements\": 100")));
  EXPECT_FALSE(accepted(replaced("\"elements\": 10", "\"elements\": 0")));
  EXPECT_FALSE(accepted(replaced("\"shard_elements\": 4", "\"shard_elements\": 0")));
  EXPECT_FALSE(accepted(replaced("shard-00001.h5", "../../etc/pass")));
  EXPECT_FALSE(accepted(replaced("adam.m", "parameters")));
  EXPECT_FALSE(accepted(replaced("ffffffffffffffff", "fffffffffffffffg")));
  EXPECT_FALSE(accepted(resealed("{\n  \"checksum\": \"0000000000000000\",\nnot json")));
}

TEST(Manifest, identity_hash_sees_every_part) {
  Identity identity = sample().identity;
  const uint64_t hash = identity_hash(identity);
  identity.mathematical["train.seed"] = "8";
  EXPECT_NE(identity_hash(identity), hash);
  identity = sample().identity;
  identity.data_fingerprint = "00fe";
  EXPECT_NE(identity_hash(identity), hash);
}

TEST(Manifest, names) {
  EXPECT_EQ(step_name(500), "step-00000500");
  EXPECT_EQ(step_name(1234567890123), "step-1234567890123");
  EXPECT_EQ(shard_name(3), "shard-00003.h5");
  EXPECT_EQ(parse_step_name("step-00000500"), 500);
  EXPECT_EQ(parse_step_name("step-1234567890123"), 1234567890123);
  for (const char* stray :
       {"step-00000500.tmp", "step-00000500.tmp-3", "step-00000500.damaged-1", "step-500", "step-000000500",
        "step-", "step-0000050x", "Step-00000500", "", "step-99999999999999999999"})
    EXPECT_FALSE(parse_step_name(stray)) << stray;
}

}  // namespace
}  // namespace lepton::checkpoint
