// SPDX-License-Identifier: Apache-2.0
// The command `predict`: row i to row i, the same bytes from any number of threads, nodes and files, scores
// and classes that agree with what training counts, and errors that come before any work, leave no
// half-written output and take nobody's file.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <type_traits>

#include "checkpoint/reader.h"
#include "small_runs.h"

namespace lepton::train {
namespace {

template <class T>
std::vector<T> read_array(const std::string& file, const std::string& path, Shape* shape = nullptr) {
  const storage::Hdf5Array array(file, path);
  const storage::ArrayInfo& info = array.info();
  std::vector<T> values(element_count(info.shape));
  array.read_rows(0, info.shape[0], std::as_writable_bytes(std::span(values)));
  if (shape) *shape = info.shape;
  return values;
}

Options predict_options(const SmallRuns& runs, const std::string& deck, const std::string& inputs,
                        const std::string& output) {
  Options options = runs.options(deck, "run");
  options.inputs = runs.file("data.h5") + ":" + inputs;
  options.output = runs.file(output);
  return options;
}

Exit predict_on(const Options& options, int ranks_per_node) {
  const comm::World world(60, ranks_per_node);
  const Exit exit = predict(world, options);
  world.barrier();
  return exit;
}

/// **Collective.** The code with which it ends, the same on all ranks; `message` is rank 0's.
Exit code_of(const SmallRuns& runs, const Options& options, std::string* message = nullptr) {
  Exit code = Exit::done;
  try {
    code = predict(runs.world(), options);
  } catch (const Error& error) {
    code = error.code();
    if (message) *message = error.what();
  }
  std::vector<int64_t> codes{static_cast<int64_t>(code), -static_cast<int64_t>(code)};
  runs.world().all_max(codes);
  EXPECT_EQ(codes[0], -codes[1]);
  return code;
}

struct TestArray {
  std::string path;
  storage::StoredType type;
  Shape shape;
  std::span<const std::byte> bytes;
};

template <class T>
TestArray array_of(const std::string& path, const Shape& shape, std::span<const T> values) {
  const auto kind = std::is_same_v<T, float> ? storage::StoredType::Kind::floating
                                             : storage::StoredType::Kind::unsigned_integer;
  return {path, {kind, sizeof(T), false}, shape, std::as_bytes(values)};
}

/// **Collective.** Rank 0 makes a file.
void make_file(const SmallRuns& runs, const std::string& name, const std::vector<TestArray>& arrays) {
  if (runs.world().rank() == 0) {
    storage::Hdf5Image image;
    for (const TestArray& array : arrays) image.add(array.path, array.type, array.shape, array.bytes);
    const std::vector<std::byte> bytes = image.pieces().joined();
    write_text(runs.file(name), {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  runs.world().barrier();
}

/// **Collective.** A deck on binary.h5: rows x of 3 features, y = 1 where their sum is above 0, and both = y
/// and its opposite.
void make_binary(const SmallRuns& runs, const std::string& targets, int outputs) {
  constexpr int64_t rows = 90;
  std::vector<float> x;
  std::vector<uint8_t> y, both;
  for (int64_t row = 0; row < rows; ++row) {
    float sum = 0;
    for (int64_t i = 0; i < 3; ++i)
      sum += x.emplace_back(uniform01(static_cast<uint32_t>(mix64(3 * row + i))) - 0.5f);
    y.push_back(sum > 0);
    both.insert(both.end(), {y.back(), static_cast<uint8_t>(1 - y.back())});
  }
  make_file(runs, "binary.h5",
            {array_of<float>("x", {rows, 3}, x), array_of<uint8_t>("y", {rows}, y),
             array_of<uint8_t>("both", {rows, 2}, both)});
  if (runs.world().rank() == 0)
    write_text(runs.file("binary.toml"),
               "[run]\nseed = 3\nprogress_every = \"1h\"\n[data]\nfile = \"binary.h5\"\n"
               "train = { inputs = \"x\", targets = \"" +
                   targets +
                   "\" }\n[model]\nloss = \"binary_cross_entropy\"\nlayers = [{ type = \"dense\", units = " +
                   std::to_string(outputs) +
                   " }]\n[optimizer]\nlearning_rate = 0.1\n"
                   "[train]\nepochs = 20\nbatch_size = 30\nunit_size = 10\nthreads = 1\n");
  runs.world().barrier();
}

TEST(Predict, WritesEachRowsScoresAndClassWhateverTheNodes) {
  const SmallRuns runs;
  runs.train(runs.options("conv.toml", "run"));
  std::vector<float> first;
  for (const int ranks_per_node : {1000, 1, 2}) {
    Options options = predict_options(runs, "conv.toml", "test/images", "scores.h5");
    options.overrides.push_back({"train.threads", ranks_per_node == 1 ? "2" : "1"});
    ASSERT_EQ(predict_on(options, ranks_per_node), Exit::done);  // onto the output of the call before
    if (runs.world().rank() != 0) continue;
    Shape shape;
    const std::vector<float> scores = read_array<float>(options.output, "scores", &shape);
    const std::vector<int32_t> classes = read_array<int32_t>(options.output, "classes");
    EXPECT_EQ(shape, (Shape{test_rows, 4}));
    ASSERT_EQ(classes.size(), static_cast<size_t>(test_rows));
    for (int64_t r = 0; r < test_rows; ++r) {
      const auto row = scores.begin() + r * 4;
      EXPECT_EQ(classes[r], std::max_element(row, row + 4) - row);
    }
    if (first.empty()) first = scores;
    EXPECT_EQ(std::memcmp(first.data(), scores.data(), first.size() * 4), 0);
    EXPECT_FALSE(std::filesystem::exists(options.output + ".tmp"));
  }
}

TEST(Predict, AgreesWithTheAccuracyOfTraining) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  const Options options = predict_options(runs, "dense.toml", "test/images", "scores.h5");
  ASSERT_EQ(predict_on(options, 1000), Exit::done);
  if (runs.world().rank() != 0) return;
  const std::vector<int32_t> classes = read_array<int32_t>(options.output, "classes");
  const std::vector<uint8_t> labels = read_array<uint8_t>(runs.file("data.h5"), "test/labels");
  double right = 0;
  for (size_t r = 0; r < labels.size(); ++r) right += classes[r] == labels[r];
  const std::string line = runs.metrics("run", "test").back();
  EXPECT_DOUBLE_EQ(right / test_rows, std::stod(line.substr(line.find("\"accuracy\":") + 11)));
}

TEST(Predict, RegressionHasScoresOnly) {
  const SmallRuns runs;
  runs.train(runs.options("regression.toml", "run"));
  const Options options = predict_options(runs, "regression.toml", "regression/x", "values.h5");
  ASSERT_EQ(predict_on(options, 1), Exit::done);
  if (runs.world().rank() != 0) return;
  Shape shape;
  const std::vector<float> scores = read_array<float>(options.output, "scores", &shape);
  EXPECT_EQ(shape, (Shape{train_rows, 1}));
  const std::vector<float> y = read_array<float>(runs.file("data.h5"), "regression/y");
  double error = 0, spread = 0;
  for (size_t i = 0; i < y.size(); ++i) error += std::pow(scores[i] - y[i], 2), spread += y[i] * y[i];
  EXPECT_LT(error, 0.5 * spread);
  EXPECT_EQ(storage::list_arrays(options.output).size(), 1u);
}

/// Trains on the binary task and returns what predicts its rows.
Options train_binary(const SmallRuns& runs, const std::string& targets, int outputs) {
  make_binary(runs, targets, outputs);
  runs.train(runs.options("binary.toml", "run"));
  Options options = predict_options(runs, "binary.toml", "", "out.h5");
  options.inputs = runs.file("binary.h5") + ":x";
  return options;
}

TEST(Predict, OneBinaryOutputIsALogit) {
  const SmallRuns runs;
  const Options options = train_binary(runs, "y", 1);
  ASSERT_EQ(predict_on(options, 1), Exit::done);
  if (runs.world().rank() != 0) return;
  const auto scores = read_array<float>(options.output, "scores");
  const auto classes = read_array<int32_t>(options.output, "classes");
  const auto labels = read_array<uint8_t>(runs.file("binary.h5"), "y");
  ASSERT_EQ(classes.size(), 90u);
  int64_t right = 0;
  for (size_t row = 0; row < classes.size(); ++row) {
    EXPECT_EQ(classes[row], scores[row] > 0 ? 1 : 0) << row;
    right += classes[row] == labels[row];
  }
  EXPECT_GT(right, 80);
}

TEST(Predict, SeveralBinaryOutputsAreLabelsWithoutClasses) {
  const SmallRuns runs;
  const Options options = train_binary(runs, "both", 2);
  ASSERT_EQ(predict_on(options, 1000), Exit::done);
  if (runs.world().rank() != 0) return;
  Shape shape;
  read_array<float>(options.output, "scores", &shape);
  EXPECT_EQ(shape, (Shape{90, 2}));
  EXPECT_EQ(storage::list_arrays(options.output).size(), 1u);
}

TEST(Predict, TheFilesOfAGlobFollowEachOther) {
  const SmallRuns runs;
  runs.train(runs.options("conv.toml", "run"));
  const Options whole = predict_options(runs, "conv.toml", "test/images", "whole.h5");
  ASSERT_EQ(predict_on(whole, 1000), Exit::done);
  const auto pixels = read_array<uint8_t>(runs.file("data.h5"), "test/images");
  int64_t first = 0;
  // Bytewise: 10 before 9. Units of 12 rows reach over the borders.
  for (const auto& [name, rows] :
       {std::pair("part-10.h5", 17), {"part-9.h5", 3}, {"part-a.h5", test_rows - 20}}) {
    const auto part = std::span<const uint8_t>(pixels).subspan(first * 36, rows * 36);
    make_file(runs, name, {array_of("x", {rows, 6, 6}, part)});
    first += rows;
  }
  Options options = predict_options(runs, "conv.toml", "", "parts.h5");
  options.inputs = runs.file("part-*.h5") + ":x";
  options.overrides.push_back({"train.threads", "2"});
  for (const int ranks_per_node : {1000, 1}) {
    ASSERT_EQ(predict_on(options, ranks_per_node), Exit::done);
    if (runs.world().rank() == 0) {
      EXPECT_EQ(read_text(options.output), read_text(whole.output));
    }
  }
  std::string message;
  options.output = runs.file("part-9.h5");  // one of the inputs, not the first
  EXPECT_EQ(code_of(runs, options, &message), Exit::usage) << message;
  options = predict_options(runs, "conv.toml", "", "none.h5");
  options.inputs = runs.file("no-*.h5") + ":x";
  EXPECT_EQ(code_of(runs, options, &message), Exit::no_input);
  EXPECT_NE(message.find("--inputs: no file matches"), std::string::npos) << message;
}

TEST(Predict, TakesNothingButAnEarlierOutput) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  const auto all = [&] {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(runs.file("")))
      if (entry.is_regular_file()) files[entry.path()] = read_text(entry.path());
    return files;
  };
  if (runs.world().rank() == 0) {
    std::filesystem::create_hard_link(runs.file("data.h5"), runs.file("other-name.h5"));
    std::filesystem::create_symlink(runs.file("run"), runs.file("link"));
    write_text(runs.file("notes"), "mine");
    EXPECT_EQ(mkfifo(runs.file("pipe").c_str(), 0600), 0);
  }
  runs.world().barrier();
  const auto before = all();
  const std::string shard =
      checkpoint::list_checkpoints(runs.file("run/checkpoints")).front() + "/shard-00000.h5";
  runs.world().barrier();
  for (const std::string& output : {runs.file("run"), runs.file("link"), runs.file("data.h5"),
                                    runs.file("other-name.h5"), runs.file("notes"), runs.file("dense.toml"),
                                    runs.file("run/model.safetensors"), shard, runs.file("pipe")}) {
    Options options = predict_options(runs, "dense.toml", "test/images", "");
    options.output = output;
    std::string message;
    EXPECT_EQ(code_of(runs, options, &message), Exit::usage) << output;
    EXPECT_NE(message.find(output), std::string::npos) << message;
  }
  // The model by its own name, and as what lies under the temporary one.
  Options options = predict_options(runs, "dense.toml", "test/images", "x.safetensors");
  if (runs.world().rank() == 0)
    std::filesystem::create_hard_link(runs.file("run/model.safetensors"), runs.file("x.safetensors.tmp"));
  runs.world().barrier();
  options.checkpoint = runs.file("run/model.safetensors");
  std::string message;
  EXPECT_EQ(code_of(runs, options, &message), Exit::usage) << message;
  if (runs.world().rank() != 0) return;
  std::filesystem::remove(runs.file("x.safetensors.tmp"));
  EXPECT_EQ(all(), before);
}

TEST(Predict, JsonTellsWhatWasWritten) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  Options options = predict_options(runs, "dense.toml", "test/images", "out.h5");
  for (const bool json : {false, true}) {
    options.json = json;
    ::testing::internal::CaptureStdout();
    const Exit exit = predict_on(options, 1000);
    std::fflush(stdout);
    const std::string text = ::testing::internal::GetCapturedStdout();
    EXPECT_EQ(exit, Exit::done);
    if (runs.world().rank() != 0 || !json) {
      EXPECT_EQ(text, "");
      continue;
    }
    const nlohmann::json told = nlohmann::json::parse(text);
    EXPECT_EQ(told["output"], options.output);
    EXPECT_EQ(told["rows"], test_rows);
    EXPECT_EQ(told["outputs"], 4);
    EXPECT_NE(told["model"].get<std::string>().find("step-00000015"), std::string::npos);
  }
}

TEST(Predict, RefusesADeckOfAnotherModel) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  runs.train(runs.options("regression.toml", "plain"));
  const auto refuses = [&](const std::string& deck, const std::string& run, const std::string& inputs,
                           const Override& change, const std::string& trained_with) {
    Options options = predict_options(runs, deck, inputs, "out.h5");
    options.overrides = runs.options(deck, run, {change}).overrides;
    std::string message;
    EXPECT_EQ(code_of(runs, options, &message), Exit::deck) << message;
    EXPECT_NE(message.find(change.key), std::string::npos) << message;
    EXPECT_NE(message.find("was trained with " + trained_with), std::string::npos) << message;
  };
  refuses("dense.toml", "run", "test/images", {"data.normalize", "none"}, "\"standardize\"");
  refuses("dense.toml", "run", "test/images", {"data.normalize", "unit"}, "\"standardize\"");
  refuses("regression.toml", "plain", "regression/x", {"data.normalize", "standardize"}, "\"none\"");
  std::string layers = dense_layers;  // as many parameters
  layers.replace(layers.find("relu"), 4, "tanh");
  refuses("dense.toml", "run", "test/images", {"model.layers", layers}, "");
  EXPECT_FALSE(std::filesystem::exists(runs.file("out.h5")));
}

/// The arena pads tensors, so a network on rows of another shape may have as many elements.
TEST(Predict, RefusesRowsThatTheStatisticsDoNotFit) {
  const SmallRuns runs;
  const std::vector<Override> linear{{"data.normalize", "standardize"},
                                     {"model.layers", "[{ type = \"dense\", units = 1 }]"}};
  const Options trained = runs.options("regression.toml", "run", linear);
  runs.train(trained);
  const std::vector<float> zeros(28);
  make_file(runs, "wide.h5", {array_of<float>("x", {4, 7}, zeros)});
  Options options = predict_options(runs, "regression.toml", "", "out.h5");
  options.overrides = trained.overrides;
  options.inputs = runs.file("wide.h5") + ":x";
  std::string message;
  EXPECT_EQ(code_of(runs, options, &message), Exit::deck) << message;
  EXPECT_NE(message.find("wide.h5:x: rows of shape [7]"), std::string::npos) << message;

  // Images that are given flat: the same numbers, but 36 features where training had one channel.
  runs.train(runs.options("dense.toml", "images"));
  const std::vector<uint8_t> pixels(4 * 36);
  make_file(runs, "flat.h5", {array_of<uint8_t>("x", {4, 36}, pixels)});
  options = predict_options(runs, "dense.toml", "", "out.h5");
  options.overrides = runs.options("dense.toml", "images").overrides;
  options.inputs = runs.file("flat.h5") + ":x";
  for (const std::string checkpoint : {"", "images/model.safetensors"}) {
    options.checkpoint = checkpoint.empty() ? "" : runs.file(checkpoint);
    EXPECT_EQ(code_of(runs, options, &message), Exit::deck) << message;
    EXPECT_NE(message.find("rows of shape [36]"), std::string::npos) << message;
  }
  EXPECT_FALSE(std::filesystem::exists(runs.file("out.h5")));
}

TEST(Predict, RefusesBadPlacesAndInputsOnAllRanks) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  const auto code = [&](const Options& options) { return code_of(runs, options); };
  Options options = predict_options(runs, "dense.toml", "test/images", "out.h5");
  options.inputs = "";
  EXPECT_EQ(code(options), Exit::usage);
  options.inputs = runs.file("data.h5");  // without a path inside
  EXPECT_EQ(code(options), Exit::usage);
  options.inputs = runs.file("data.h5") + ":no/such/array";
  EXPECT_EQ(code(options), Exit::data);
  options.inputs = runs.file("missing.h5") + ":images";
  EXPECT_EQ(code(options), Exit::no_input);
  options.inputs = runs.file("data.h5") + ":regression/x";  // rows of another shape
  const Exit misshapen = code(options);
  EXPECT_TRUE(misshapen == Exit::deck || misshapen == Exit::data) << static_cast<int>(misshapen);
  options = predict_options(runs, "dense.toml", "test/images", "no/such/folder/out.h5");
  EXPECT_EQ(code(options), Exit::io);
  options.checkpoint = runs.file("none");  // the output is looked at before the model
  EXPECT_EQ(code(options), Exit::io);
  if (runs.world().rank() != 0) return;
  EXPECT_FALSE(std::filesystem::exists(runs.file("out.h5")));
}

}  // namespace
}  // namespace lepton::train
