// SPDX-License-Identifier: Apache-2.0
// Reading ranges across shards, and damage: each file truncated at several lengths, with bits flipped at
// sampled places, missing, or of another checkpoint, is named by verify() and refused by the reader.
#include "checkpoint/reader.h"

#include "base/error.h"
#include "base/philox.h"
#include "sample.h"

namespace lepton::checkpoint {
namespace {

const StateLayout layout = {1000, {"parameters", "adam.m", "adam.v"}, 300};
const std::vector<std::string> all_files = {"manifest.json",  "shard-00000.h5", "shard-00001.h5",
                                            "shard-00002.h5", "shard-00003.h5", "state.bin"};

/// That verify() names this file alone, and that a reader refuses what depends on it.
void expect_damaged(const std::string& checkpoint, const std::string& file, const std::string& how) {
  const std::vector<Damage> damages = verify(checkpoint);
  ASSERT_EQ(damages.size(), 1u) << file << " " << how;
  EXPECT_EQ(damages[0].file, file) << how;
  EXPECT_FALSE(damages[0].what.empty());
  std::vector<float> out(1000);
  try {
    Reader(checkpoint).read("adam.m", 0, 1000, out);
    ADD_FAILURE() << file << " " << how << " was read";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(file), std::string::npos) << error.what();
  }
}

TEST(Reader, ranges_come_back) {
  const Scratch scratch;
  const Reader reader(write_sample(scratch.path(), layout, 7));
  EXPECT_EQ(reader.small_state(), sample_small_state(7));
  EXPECT_EQ(reader.manifest().identity, sample_identity);
  EXPECT_EQ(reader.manifest().layout, layout);
  for (size_t a = 0; a < 3; ++a)
    for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{
             {0, 1000}, {0, 0}, {299, 301}, {300, 600}, {650, 950}, {999, 1000}}) {
      std::vector<float> out(static_cast<size_t>(end - begin));
      reader.read(layout.arrays[a], begin, end, out);
      for (int64_t i = begin; i < end; ++i)
        ASSERT_EQ(out[static_cast<size_t>(i - begin)], sample_value(7, a, i)) << a << " " << i;
    }
}

TEST(Reader, unknown_array_and_missing_checkpoint) {
  const Scratch scratch;
  const Reader reader(write_sample(scratch.path(), layout, 7));
  std::vector<float> out(1);
  EXPECT_THROW(reader.read("momentum", 0, 1, out), Error);
  EXPECT_THROW(reader.read("parameters", 1000, 1001, out), Error);
  EXPECT_THROW(Reader(scratch.path() + "/step-00000008"), Error);
}

TEST(Reader, truncated_files_are_named) {
  const Scratch scratch;
  const std::string checkpoint = write_sample(scratch.path(), layout, 7);
  EXPECT_TRUE(verify(checkpoint).empty());
  for (const std::string& file : all_files) {
    const std::string path = checkpoint + "/" + file, whole = read_text(path);
    for (const size_t length : {size_t{0}, size_t{1}, size_t{31}, whole.size() / 2, whole.size() - 1}) {
      write_text(path, whole.substr(0, length));
      expect_damaged(checkpoint, file, "cut to " + std::to_string(length));
    }
    write_text(path, whole + "x");
    expect_damaged(checkpoint, file, "longer");
    std::filesystem::remove(path);
    expect_damaged(checkpoint, file, "missing");
    write_text(path, whole);
  }
  EXPECT_TRUE(verify(checkpoint).empty());
}

TEST(Reader, flipped_bits_are_named) {
  const Scratch scratch;
  const std::string checkpoint = write_sample(scratch.path(), layout, 7);
  for (const std::string& file : all_files) {
    const std::string path = checkpoint + "/" + file, whole = read_text(path);
    for (uint64_t i = 0; i < 40; ++i) {
      const uint64_t bit = mix64(i) % (8 * whole.size());
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      write_text(path, flipped);
      expect_damaged(checkpoint, file, "bit " + std::to_string(bit));
    }
    write_text(path, whole);
  }
}

TEST(Reader, swapped_and_foreign_files_are_named) {
  const Scratch scratch;
  const std::string checkpoint = write_sample(scratch.path(), layout, 7);
  const std::string other = write_sample(scratch.path(), layout, 8);
  std::filesystem::copy_file(other + "/shard-00001.h5", checkpoint + "/shard-00001.h5",
                             std::filesystem::copy_options::overwrite_existing);
  expect_damaged(checkpoint, "shard-00001.h5", "of another step");
  std::filesystem::rename(checkpoint + "/shard-00000.h5", checkpoint + "/x");
  std::filesystem::rename(checkpoint + "/shard-00002.h5", checkpoint + "/shard-00000.h5");
  std::filesystem::rename(checkpoint + "/x", checkpoint + "/shard-00002.h5");
  EXPECT_EQ(verify(checkpoint).size(), 3u);
}

TEST(Reader, a_renamed_checkpoint_is_noticed) {
  const Scratch scratch;
  std::filesystem::rename(write_sample(scratch.path(), layout, 7), scratch.path() + "/step-00000009");
  EXPECT_EQ(verify(scratch.path() + "/step-00000009").size(), 1u);
  std::filesystem::rename(scratch.path() + "/step-00000009",
                          scratch.path() + "/best");  // a name of no step is fine
  EXPECT_TRUE(verify(scratch.path() + "/best").empty());
  EXPECT_TRUE(verify(scratch.path() + "/best/").empty());
}

TEST(Reader, lists_newest_first_and_only_checkpoints) {
  const Scratch scratch;
  EXPECT_TRUE(list_checkpoints(scratch.path()).empty());
  EXPECT_TRUE(list_checkpoints(scratch.path() + "/missing").empty());
  for (const int64_t step : {3, 100000000, 20}) write_sample(scratch.path(), layout, step);
  write_unfinished(scratch.path(), layout, 30, "state");
  write_text(scratch.path() + "/notes", "");
  EXPECT_EQ(list_checkpoints(scratch.path()),
            (std::vector<std::string>{scratch.path() + "/step-100000000", scratch.path() + "/step-00000020",
                                      scratch.path() + "/step-00000003"}));
}

TEST(Reader, stray_files_are_nobodys_business) {
  const Scratch scratch;
  const std::string checkpoint = write_sample(scratch.path(), layout, 7);
  write_text(checkpoint + "/shard-00009.h5", "stray");
  std::filesystem::create_directory(checkpoint + "/folder");
  EXPECT_TRUE(verify(checkpoint).empty());
}

}  // namespace
}  // namespace lepton::checkpoint
