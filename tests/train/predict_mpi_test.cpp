// SPDX-License-Identifier: Apache-2.0
// The command `predict`: row i to row i, the same bytes from any number of threads and any nodes, scores that
// agree with what `evaluate` counts, and errors that leave no half-written output.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

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

TEST(Predict, RefusesBadPlacesAndInputsOnAllRanks) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  const auto code = [&](const Options& options) {
    try {
      return predict(runs.world(), options);
    } catch (const Error& error) {
      return error.code();
    }
  };
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
  if (runs.world().rank() != 0) return;
  EXPECT_FALSE(std::filesystem::exists(runs.file("out.h5")));
}

}  // namespace
}  // namespace lepton::train
