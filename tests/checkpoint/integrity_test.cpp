// SPDX-License-Identifier: Apache-2.0
// A checkpoint with parity: whatever happens to one of its files, or to several, it is named, the reader gets
// the bytes as they were, and heal() puts them back to the last byte; what is too much is refused.
#include "checkpoint/integrity.h"

#include "base/error.h"
#include "base/philox.h"
#include "checkpoint/reader.h"
#include "sample.h"

namespace lepton::checkpoint {
namespace {

const StateLayout layout = {1000, {"parameters", "adam.m", "adam.v"}, 300};

/// All that a reader gives.
std::string content(const std::string& checkpoint) {
  const Reader reader(checkpoint);
  std::string all = reader.manifest().encode() + reader.small_state();
  std::vector<float> values(1000);
  for (const std::string& array : layout.arrays) {
    reader.read(array, 0, 1000, values);
    all.append(reinterpret_cast<const char*>(values.data()), 4000);
  }
  return all;
}

class Integrity : public testing::Test {
 protected:
  std::string path(const std::string& file) const { return checkpoint + "/" + file; }
  void expect_heals(const std::vector<std::string>& files, const std::string& how) const {
    const std::vector<Damage> damages = verify(checkpoint);
    std::vector<std::string> named;
    for (const Damage& damage : damages) named.push_back(damage.file);
    EXPECT_EQ(named, files) << how;
    EXPECT_TRUE(readable(damages)) << how;
    EXPECT_EQ(content(checkpoint), whole_content) << how;
    EXPECT_EQ(heal(checkpoint).size(), files.size()) << how;
    EXPECT_EQ(contents_of(checkpoint), whole) << how;
    EXPECT_TRUE(verify(checkpoint).empty()) << how;
  }

  const Scratch scratch;
  const std::string checkpoint = write_sample(scratch.path(), layout, 7, 2);
  const std::map<std::string, std::string> whole = contents_of(checkpoint);
  const std::string whole_content = content(checkpoint);
};

TEST_F(Integrity, every_file_heals_from_flips_cuts_and_loss) {
  ASSERT_EQ(whole.size(), 12u);
  for (const auto& [file, bytes] : whole) {
    for (uint64_t i = 0; i < 20; ++i) {
      std::string flipped = bytes;
      const size_t bit = mix64(i) % (8 * bytes.size());
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      write_text(path(file), flipped);
      expect_heals({file}, file + ", bit " + std::to_string(bit));
    }
    for (const size_t size : {size_t{0}, size_t{1}, bytes.size() / 2, bytes.size() - 1}) {
      write_text(path(file), bytes.substr(0, size));
      expect_heals({file}, file + " cut to " + std::to_string(size));
    }
    write_text(path(file), bytes + "x");
    expect_heals({file}, file + " longer");
    std::filesystem::remove(path(file));
    expect_heals({file}, file + " missing");
  }
}

TEST_F(Integrity, files_heal_each_other) {
  write_text(path("shard-00001.h5"), "");
  std::string parity = whole.at("shard-00001.h5.parity");
  parity[parity.size() - 1] ^= 1;
  write_text(path("shard-00001.h5.parity"), parity);
  write_text(path("manifest.json"), "{");
  std::filesystem::remove(path("state.bin"));
  expect_heals({"manifest.json", "shard-00001.h5", "shard-00001.h5.parity", "state.bin"}, "several");
}

TEST_F(Integrity, what_is_too_much_is_refused) {
  for (const std::string file : {"manifest.json", "shard-00002.h5", "state.bin"}) {
    std::filesystem::remove(path(file));
    std::filesystem::remove(path(parity_name(file)));
    const std::vector<Damage> damages = verify(checkpoint);
    ASSERT_EQ(damages.size(), 1u) << file;
    EXPECT_EQ(damages[0].file, file);
    EXPECT_FALSE(readable(damages));
    EXPECT_THROW(content(checkpoint), Error);
    EXPECT_THROW(heal(checkpoint), Error);
    for (const std::string& name : {file, parity_name(file)}) write_text(path(name), whole.at(name));
  }
  EXPECT_TRUE(verify(checkpoint).empty());
}

TEST_F(Integrity, parity_of_another_checkpoint_heals_nothing) {
  const std::string other = write_sample(scratch.path(), layout, 8, 2);
  for (const auto& entry : std::filesystem::directory_iterator(other))
    std::filesystem::copy_file(entry.path(), path(entry.path().filename()),
                               std::filesystem::copy_options::overwrite_existing);
  EXPECT_FALSE(readable(verify(checkpoint)));  // all of it is step 8's
  for (const auto& [name, bytes] : whole) write_text(path(name), bytes);
  for (const std::string name : {"shard-00000.h5", "shard-00000.h5.parity"})
    std::filesystem::copy_file(other + "/" + name, path(name),
                               std::filesystem::copy_options::overwrite_existing);
  const std::vector<Damage> damages = verify(checkpoint);
  ASSERT_FALSE(damages.empty());
  EXPECT_EQ(damages[0].file, "shard-00000.h5");
  EXPECT_FALSE(readable(damages));
}

TEST_F(Integrity, without_parity_damage_is_final_and_there_are_no_more_files) {
  const std::string bare = write_sample(scratch.path(), layout, 9, 0);
  EXPECT_EQ(contents_of(bare).size(), 6u);
  EXPECT_TRUE(is_checkpoint(bare));
  EXPECT_FALSE(is_checkpoint(scratch.path()));
  std::filesystem::remove(bare + "/state.bin");
  EXPECT_FALSE(readable(verify(bare)));
}

}  // namespace
}  // namespace lepton::checkpoint
