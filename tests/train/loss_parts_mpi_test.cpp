// SPDX-License-Identifier: Apache-2.0
// Parts of scores; one loss in a list is the deck's loss to the bit; several are their weighted sum, in the
// ledger, in metrics and in what evaluate says; a run with several goes on from its checkpoints.
#include "train/loss_parts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "report/ledger.h"
#include "small_runs.h"
#include "train/evaluation_report.h"

namespace lepton::train {
namespace {

TEST(LossParts, AreTakenFromRowsAndPutBack) {
  const LossPart part{"b", ops::Loss({ops::LossKind::mse}, 2), 1, 2, 1, 0.5};
  const std::vector<float> scores = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<float> own(4), gradient(8, 9);
  take_part(scores, 2, part, own);
  EXPECT_EQ(own, (std::vector<float>{2, 3, 6, 7}));
  put_part(own, 2, part, gradient);
  EXPECT_EQ(gradient, (std::vector<float>{9, 1, 1.5f, 9, 9, 3, 3.5f, 9}));
}

std::vector<report::LedgerLine> losses_of(const SmallRuns& runs, const std::string& run) {
  int64_t broken_at = 0;
  return report::read_ledger(runs.file(run) + "/ledger.txt", broken_at);
}

TEST(LossParts, OneInAListIsTheDecksLoss) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "one"));
  runs.train(runs.options(
      "dense.toml", "list",
      {{"data.train.targets", "{ y = \"train/labels\" }"},
       {"data.test.targets", "{ y = \"test/labels\" }"},
       {"model.losses", "[{ from = \"dense_2\", target = \"y\", type = \"softmax_cross_entropy\" }]"}}));
  if (runs.world().rank() != 0) return;
  const auto one = losses_of(runs, "one"), list = losses_of(runs, "list");
  ASSERT_EQ(one.size(), 15u);
  ASSERT_EQ(list.size(), one.size());
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(list[i].parameters, one[i].parameters);
    EXPECT_EQ(list[i].loss, one[i].loss);
    EXPECT_EQ(list[i].weight, one[i].weight);
    EXPECT_EQ(list[i].losses, (Figures{{"y", one[i].loss}}));
  }
}

TEST(LossParts, TheirWeightedSumIsTheLoss) {
  const SmallRuns runs;
  runs.train(runs.options("several.toml", "run"));
  Options other = runs.options("several.toml", "pieces");
  for (const int64_t end : {5, 15}) {
    other.max_steps = end;
    runs.train(other, 1);
  }
  if (runs.world().rank() != 0) return;
  EXPECT_EQ(runs.ledger("pieces"), runs.ledger("run")) << "goes on from a checkpoint";
  const auto lines = losses_of(runs, "run");
  ASSERT_EQ(lines.size(), 15u);
  for (const report::LedgerLine& line : lines) {
    ASSERT_EQ(line.losses.size(), 3u);
    EXPECT_EQ(line.losses[0].first, "hot");
    EXPECT_EQ(line.weight, static_cast<double>(line.samples));
    EXPECT_NEAR(line.loss, 0.25 * line.losses[0].second + line.losses[1].second + 0.5 * line.losses[2].second,
                1e-9);
  }
  EXPECT_LT(lines.back().losses[1].second, lines.front().losses[1].second) << "it learns";
  const auto test = nlohmann::json::parse(runs.metrics("run", "test").back());
  EXPECT_NEAR(test.at("loss").get<double>(),
              test.at("quadrant.loss").get<double>() + 0.5 * test.at("sides.loss").get<double>() +
                  0.25 * test.at("hot.loss").get<double>(),
              1e-9);
  for (const char* name : {"quadrant.accuracy", "quadrant.top5", "sides.accuracy", "hot.rmse", "hot.mae"})
    EXPECT_TRUE(test.contains(name)) << name;
  EXPECT_FALSE(test.contains("accuracy"));
  const auto train = nlohmann::json::parse(runs.metrics("run", "train").back());
  EXPECT_EQ(train.at("sides.loss").get<double>(), lines.back().losses[2].second);
}

template <class T>
std::vector<T> values_of(const std::string& file, const std::string& path) {
  const storage::Hdf5Array array(file, path);
  std::vector<T> values(static_cast<size_t>(element_count(array.info().shape)));
  array.read_rows(0, array.info().shape[0], std::as_writable_bytes(std::span(values)));
  return values;
}

TEST(LossParts, PredictWritesEveryOutput) {
  const SmallRuns runs;
  runs.train(runs.options("several.toml", "run"));
  Options options = runs.options("several.toml", "run");
  options.inputs = runs.file("data.h5") + ":test/images";
  options.output = runs.file("several.h5");
  EXPECT_EQ(predict(runs.world(), options), Exit::done);
  runs.world().barrier();
  if (runs.world().rank() != 0) return;
  const std::string file = runs.file("several.h5");
  const auto scores = values_of<float>(file, "quadrant.scores");
  ASSERT_EQ(scores.size(), 4U * test_rows);
  const auto classes = values_of<int32_t>(file, "quadrant.classes");
  const auto labels = values_of<uint8_t>(runs.file("data.h5"), "test/labels");
  int64_t right = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    right += classes[i] == labels[i];
    EXPECT_EQ(classes[i], std::max_element(scores.begin() + static_cast<int64_t>(4 * i),
                                           scores.begin() + static_cast<int64_t>(4 * i + 4)) -
                              (scores.begin() + static_cast<int64_t>(4 * i)));
  }
  const auto test = nlohmann::json::parse(runs.metrics("run", "test").back());
  EXPECT_DOUBLE_EQ(static_cast<double>(right) / static_cast<double>(labels.size()),
                   test.at("quadrant.accuracy").get<double>());
  const auto hot = values_of<float>(file, "hot.scores"), sides = values_of<float>(file, "sides.scores");
  const auto targets = values_of<uint8_t>(runs.file("data.h5"), "test/one_hot");
  EXPECT_EQ(hot, sides) << "one output, two losses";
  double squares = 0;
  for (size_t i = 0; i < hot.size(); ++i) squares += std::pow(static_cast<double>(hot[i] - targets[i]), 2);
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(hot.size())), test.at("hot.rmse").get<double>(), 1e-6);
}

TEST(LossParts, AWeightCounts) {
  const SmallRuns runs;
  runs.train(runs.options("several.toml", "a"));
  const std::string losses =
      "[{ from = \"quadrant\", target = \"quadrant\", type = \"softmax_cross_entropy\" }, { from = \"hot\", "
      "target = "
      "\"hot\", type = \"binary_cross_entropy\", weight = 5, name = \"sides\" }, { from = \"hot\", target = "
      "\"hot\", "
      "type = \"mse\", weight = 0.25 }]";
  runs.train(runs.options("several.toml", "b", {{"model.losses", losses}}));
  if (runs.world().rank() != 0) return;
  EXPECT_LT(losses_of(runs, "b").back().losses[2].second, losses_of(runs, "a").back().losses[2].second);
}

TEST(LossParts, DevicesComputeTheSame) {
  const SmallRuns runs;
  constexpr int per_node = 1;  // a rank with a device is a node
  runs.train(runs.options("several.toml", "host"), per_node);
  runs.train(runs.options("several.toml", "device", {{"train.device", "debug"}}), per_node);
  if (runs.world().rank() != 0) return;
  const auto host = losses_of(runs, "host"), device = losses_of(runs, "device");
  ASSERT_EQ(host.size(), device.size());
  for (size_t i = 0; i < host.size(); ++i) {
    EXPECT_EQ(host[i].loss, device[i].loss) << i;
    EXPECT_EQ(host[i].losses, device[i].losses) << i;
    EXPECT_EQ(host[i].parameters, device[i].parameters) << i;
  }
}

}  // namespace
}  // namespace lepton::train
