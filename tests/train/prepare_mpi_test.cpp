// SPDX-License-Identifier: Apache-2.0
// The command `prepare`: what the file holds, whatever the number of ranks that make it, and refusals.
#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "data/vocabulary.h"
#include "errors.h"
#include "small_runs.h"

namespace lepton::train {
namespace {

const std::string poem = "one two, two\nthree three THREE\n\nfour four four four.\nend";

class PrepareTest : public ::testing::Test {
 protected:
  PrepareTest() {
    if (runs_.world().rank() == 0) {
      write_text(runs_.file("poem.txt"), poem);
      write_text(runs_.file("other.txt"), "five\n\nsix, five\n");
    }
    runs_.world().barrier();
  }
  Options options(const std::vector<std::string>& texts, const std::string& tokens) const {
    Options options;
    options.target = runs_.file("out.h5");
    for (const std::string& name : texts) options.texts.push_back(runs_.file(name));
    options.tokens = tokens;
    return options;
  }
  /// **Collective.**
  void make(const Options& options) const {
    EXPECT_EQ(prepare(runs_.world(), options), Exit::done);
    EXPECT_FALSE(std::filesystem::exists(options.target + ".tmp"));
  }
  std::vector<int64_t> numbers(const std::string& path, Shape* shape = nullptr) const {
    const storage::Hdf5Array array(runs_.file("out.h5"), path);
    const storage::ArrayInfo& info = array.info();
    const int64_t count = element_count(info.shape);
    std::vector<std::byte> bytes(static_cast<size_t>(count * info.type.bytes));
    array.read_rows(0, info.shape[0], bytes);
    std::vector<int64_t> values(static_cast<size_t>(count), 0);
    for (int64_t i = 0; i < count; ++i)
      std::memcpy(&values[static_cast<size_t>(i)], bytes.data() + i * info.type.bytes,
                  static_cast<size_t>(info.type.bytes));
    if (shape) *shape = info.shape;
    return values;
  }
  data::Vocabulary vocabulary() const { return data::read_vocabulary(runs_.file("out.h5")); }

  const SmallRuns runs_;
};

TEST_F(PrepareTest, CharactersOfARunningText) {
  Options asked = options({"poem.txt"}, "characters");
  asked.validation = 0.25;
  make(asked);
  std::vector<int64_t> all = numbers("train/tokens");
  EXPECT_EQ(std::ssize(all), static_cast<int64_t>(0.75 * static_cast<double>(poem.size())));
  const std::vector<int64_t> held_out = numbers("validation/tokens");
  all.insert(all.end(), held_out.begin(), held_out.end());
  EXPECT_EQ(vocabulary().decode(all), poem);
  EXPECT_EQ(vocabulary().token(0), "\n") << "no padding";
}

TEST_F(PrepareTest, SeveralFilesAreOneText) {
  make(options({"poem.txt", "other.txt"}, "bytes"));
  EXPECT_EQ(vocabulary().size(), 256);
  EXPECT_EQ(vocabulary().decode(numbers("train/tokens")), poem + "five\n\nsix, five\n");
  expect_error_of([&] { numbers("validation/tokens"); }, Exit::data, {"validation/tokens"});
}

TEST_F(PrepareTest, WordsWithALimit) {
  Options asked = options({"poem.txt"}, "words");
  asked.vocabulary = 5;
  make(asked);
  const data::Vocabulary found = vocabulary();
  EXPECT_EQ(found.size(), 5);
  EXPECT_EQ(found.token(2), "\n");
  EXPECT_EQ(found.token(3), "four");
  EXPECT_EQ(found.token(4), "three");
  EXPECT_EQ(numbers("train/tokens"),
            (std::vector<int64_t>{1, 1, 1, 1, 2, 4, 4, 4, 2, 2, 3, 3, 3, 3, 1, 2, 1}));
}

TEST_F(PrepareTest, LabelledRows) {
  Options asked = options({"poem.txt", "other.txt"}, "words");
  asked.labelled = true;
  asked.length = 3;
  make(asked);
  Shape shape;
  const std::vector<int64_t> rows = numbers("tokens", &shape);
  EXPECT_EQ(shape, (Shape{6, 3})) << "lines without words are no samples";
  EXPECT_EQ(numbers("labels"), (std::vector<int64_t>{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(numbers("lengths"), (std::vector<int64_t>{3, 3, 3, 1, 1, 3})) << "cut at 3";
  EXPECT_EQ(rows[9 + 1], data::padding_token);
  EXPECT_EQ(vocabulary().decode({rows[3], rows[4]}), "three three");
  asked.length = 0;
  make(asked);
  numbers("tokens", &shape);
  EXPECT_EQ(shape, (Shape{6, 5})) << "the longest";
}

TEST_F(PrepareTest, Refusals) {
  const auto refused = [&](const Options& asked, Exit code, const std::string& part) {
    expect_error_of([&] { prepare(runs_.world(), asked); }, code, {part});
    runs_.world().barrier();
  };
  refused(options({"missing.txt"}, "words"), Exit::no_input, "missing.txt");
  Options asked = options({"poem.txt"}, "words");
  asked.labelled = true;
  refused(asked, Exit::usage, "there is only one");
  asked = options({"poem.txt"}, "characters");
  asked.vocabulary = 10;
  refused(asked, Exit::usage, "--vocabulary");
  asked = options({"poem.txt", "other.txt"}, "words");
  asked.length = 4;
  refused(asked, Exit::usage, "--length");
  asked.labelled = true;
  asked.validation = 0.1;
  refused(asked, Exit::usage, "--validation");
  asked = options({"poem.txt"}, "characters");
  asked.target = runs_.file("dense.toml");
  refused(asked, Exit::usage, "is not HDF5");
}

}  // namespace
}  // namespace lepton::train
