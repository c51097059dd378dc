// SPDX-License-Identifier: Apache-2.0
// What inspect says of datasets, models, runs and checkpoints, intact, damaged and foreign.
#include "train/inspect.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/hash.h"
#include "errors.h"
#include "ops/parameters_hash.h"
#include "report/ledger.h"
#include "storage/file.h"
#include "storage/hdf5.h"
#include "storage/make_hdf5.h"
#include "storage/safetensors.h"
#include "train/commands.h"

namespace lepton::train {
namespace {

namespace fs = std::filesystem;

class Inspect : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "/lepton_inspect_" +
                 ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(directory_);
    fs::create_directories(directory_);
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  void write(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }

  void write_dataset(const std::string& name) const {
    storage::Hdf5Image image;
    const std::vector<float> values(600, 1.5f);
    const storage::StoredType type{storage::StoredType::Kind::floating, 4, false};
    image.add("train/x", type, {100, 6}, std::as_bytes(std::span(values)));
    const std::vector<std::byte> bytes = image.pieces().joined();
    storage::write_file_durably(path(name), bytes, "");
  }

  void expect_error(const std::string& where, Exit code, const std::string& part) const {
    expect_error_of([&] { inspect_path(where); }, code, {part});
  }

  std::string directory_;
};

TEST_F(Inspect, Datasets) {
  write_dataset("d.h5");
  const auto report = inspect_path(path("d.h5"));
  EXPECT_EQ(report["kind"], "dataset");
  EXPECT_EQ(report["intact"], true);
  ASSERT_EQ(report["arrays"].size(), 1u);
  EXPECT_EQ(report["arrays"][0]["shape"], (std::vector<int64_t>{100, 6}));
  EXPECT_EQ(report["arrays"][0]["type"], "float32");
  EXPECT_EQ(report["arrays"][0]["bytes"], 2400);
  const std::string text = inspection_text(report);
  EXPECT_NE(text.find("train/x"), std::string::npos) << text;
  EXPECT_NE(text.find("float32 [100, 6]"), std::string::npos) << text;
}

/// A float array of 100 x 6; see make_hdf5.h.
lepton::testing::TestArray rows_of(const std::string& name) {
  return {
      .path = name, .type = lepton::testing::f32, .shape = {100, 6}, .values = std::vector<double>(600, 1.5)};
}

TEST_F(Inspect, EveryRowOfADatasetIsRead) {
  lepton::testing::TestArray array = rows_of("x");
  array.chunk = {10, 6};
  array.fletcher32 = true;
  for (size_t i = 0; i < array.values.size(); ++i) array.values[i] = 1000 + static_cast<double>(i);
  lepton::testing::make_hdf5(path("d.h5"), {array, rows_of("y")});
  EXPECT_EQ(inspect_path(path("d.h5"))["intact"], true);
  std::string bytes = storage::read_file(path("d.h5"));
  const float first[] = {1000, 1001, 1002};  // the first row; the last ones stay as they are
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(first), sizeof first));
  ASSERT_NE(at, std::string::npos);
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  std::ofstream(path("d.h5"), std::ios::binary) << bytes;
  const auto report = inspect_path(path("d.h5"));
  EXPECT_EQ(report["intact"], false);
  EXPECT_EQ(report["arrays"][0]["readable"], false);
  EXPECT_EQ(report["arrays"][1]["readable"], true);
  EXPECT_NE(inspection_text(report).find("d.h5: DAMAGED"), std::string::npos) << inspection_text(report);
}

TEST_F(Inspect, ArraysLargerThanABlockAreReadInBlocks) {
  lepton::testing::TestArray array = {.path = "x",
                                      .type = lepton::testing::u8,
                                      .shape = {3000, 4001},
                                      .values = std::vector<double>(size_t{3000} * 4001, 7)};
  lepton::testing::TestArray chunked = array;
  chunked.path = "y";
  chunked.chunk = {700, 4001};
  chunked.deflate = 1;
  lepton::testing::make_hdf5(path("d.h5"), {array, chunked});
  const auto report = inspect_path(path("d.h5"));
  EXPECT_EQ(report["intact"], true) << report;
  EXPECT_EQ(report["arrays"].size(), 2u);
}

TEST_F(Inspect, ArraysThatCannotBeDescribedAreNamed) {
  lepton::testing::TestArray declared = rows_of("declared");
  declared.values.clear();
  lepton::testing::make_hdf5(path("d.h5"), {declared, rows_of("x")});
  const auto report = inspect_path(path("d.h5"));
  ASSERT_EQ(report["arrays"].size(), 1u);
  EXPECT_EQ(report["arrays"][0]["path"], "x");
  ASSERT_EQ(report["unreadable"].size(), 1u);
  EXPECT_EQ(report["unreadable"][0]["path"], "declared");
  const std::string text = inspection_text(report);
  EXPECT_NE(text.find("d.h5: intact, as far as Lepton reads it"), std::string::npos) << text;
  EXPECT_NE(text.find("declared  not read: the array was declared with 2400 bytes but never written"),
            std::string::npos)
      << text;
}

TEST_F(Inspect, TruncatedDatasetsAreDamagedOrRefused) {
  write_dataset("d.h5");
  fs::resize_file(path("d.h5"), fs::file_size(path("d.h5")) / 2);
  try {
    EXPECT_EQ(inspect_path(path("d.h5"))["intact"], false);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::data) << error.what();
  }
}

TEST_F(Inspect, ModelsHaveTheHashOfTheirArena) {
  std::vector<float> arena(48);
  for (size_t i = 0; i < 20; ++i) arena[i] = static_cast<float>(i) - 3;
  for (size_t i = 32; i < 37; ++i) arena[i] = static_cast<float>(i) / 7;
  const std::span<const float> all = arena;
  const std::map<std::string, std::string> metadata = {
      {"lepton.layout", R"({"elements": 48, "offsets": {"a.weight": 0, "a.bias": 32}})"}, {"step", "9"}};
  storage::write_safetensors(path("model.safetensors"),
                             {{"a.weight", {4, 5}, all.subspan(0, 20)}, {"a.bias", {5}, all.subspan(32, 5)}},
                             metadata);
  const auto report = inspect_path(path("model.safetensors"));
  EXPECT_EQ(report["kind"], "model");
  EXPECT_EQ(report["values"], 25);
  EXPECT_EQ(report["metadata"]["step"], "9");
  EXPECT_EQ(report["parameters_hash"], hex64(ops::parameters_hash(arena)));
  EXPECT_NE(inspection_text(report).find("parameters_hash: " + hex64(ops::parameters_hash(arena))),
            std::string::npos);
}

TEST_F(Inspect, ModelsWhoseLayoutDoesNotFitHaveNoHash) {
  const std::vector<float> values(5);
  for (const char* layout :
       {"", "{}", "[]", "not json", R"({"elements": 4, "offsets": {"a": 0}})",
        R"({"elements": 8, "offsets": {"a": 4}})", R"({"elements": 8, "offsets": {"b": 0}})",
        R"({"elements": 8, "offsets": {"a": -1}})", R"({"elements": -8, "offsets": {"a": 0}})",
        R"({"elements": 9000000000000000000, "offsets": {"a": 0}})"}) {
    storage::write_safetensors(path("m.safetensors"), {{"a", {5}, values}}, {{"lepton.layout", layout}});
    EXPECT_FALSE(inspect_path(path("m.safetensors")).contains("parameters_hash")) << layout;
  }
}

TEST_F(Inspect, ForeignPathsAreRefused) {
  expect_error(path("absent"), Exit::no_input, "no such file");
  write("text.txt", "hello");
  expect_error(path("text.txt"), Exit::data, "neither HDF5 nor safetensors");
  write("empty.safetensors", "");
  expect_error(path("empty.safetensors"), Exit::data, "empty.safetensors");
  expect_error(directory_, Exit::data, "neither a run nor a checkpoint");
}

TEST_F(Inspect, RunsWithoutCheckpoints) {
  write("deck.toml", "");
  {
    report::Ledger ledger(directory_, std::nullopt, true);
    for (int64_t step = 1; step <= 3; ++step) {
      report::LedgerLine line;
      line.step = step;
      line.epoch = 1;
      line.loss = 0.5 / static_cast<double>(step);
      ledger.append(line);
    }
  }
  const auto report = inspect_path(directory_);
  EXPECT_EQ(report["kind"], "run");
  EXPECT_EQ(report["intact"], true);
  EXPECT_EQ(report["ledger"]["lines"], 3);
  EXPECT_EQ(report["ledger"]["step"], 3);
  EXPECT_NE(inspection_text(report).find("3 steps, the chain holds"), std::string::npos);
  EXPECT_FALSE(report.contains("parameters_hash"));
}

TEST_F(Inspect, BrokenLedgersAreNamed) {
  {
    report::Ledger ledger(directory_, std::nullopt, true);
    for (int64_t step = 1; step <= 3; ++step) {
      report::LedgerLine line;
      line.step = step;
      ledger.append(line);
    }
  }
  std::string text = storage::read_file(path("ledger.txt"));
  text.replace(text.find("step=2"), 6, "step=7");
  write("ledger.txt", text);
  const auto report = inspect_path(directory_);
  EXPECT_EQ(report["intact"], false);
  EXPECT_EQ(report["ledger"]["chain_holds"], false);
  EXPECT_EQ(report["ledger"]["broken_at"], 2);
  Options options;
  options.target = directory_;
  EXPECT_EQ(inspect(options), Exit::data);
}

TEST_F(Inspect, DamagedCheckpointsAreNamed) {
  fs::create_directories(path("checkpoints/step-00000005"));
  write("checkpoints/step-00000005/manifest.json", "not a manifest");
  const auto run = inspect_path(directory_);
  EXPECT_EQ(run["intact"], false);
  EXPECT_EQ(run["checkpoints"][0]["intact"], false);
  EXPECT_FALSE(run.contains("newest_valid"));
  const auto checkpoint = inspect_path(path("checkpoints/step-00000005"));
  EXPECT_EQ(checkpoint["kind"], "checkpoint");
  EXPECT_EQ(checkpoint["intact"], false);
  EXPECT_NE(inspection_text(checkpoint).find("damaged: manifest.json"), std::string::npos)
      << inspection_text(checkpoint);
}

TEST_F(Inspect, TheCommandPrintsBothWays) {
  write_dataset("d.h5");
  Options options;
  options.target = path("d.h5");
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(inspect(options), Exit::done);
  EXPECT_NE(::testing::internal::GetCapturedStdout().find("d.h5: intact"), std::string::npos);
  options.json = true;
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(inspect(options), Exit::done);
  EXPECT_EQ(nlohmann::json::parse(::testing::internal::GetCapturedStdout())["kind"], "dataset");
}

}  // namespace
}  // namespace lepton::train
