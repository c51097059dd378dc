// SPDX-License-Identifier: Apache-2.0
// Losses against plain formulas in double, gradients against central differences, counts, confusion, NaN.
#include "ops/loss.h"

#include <cmath>

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

constexpr int64_t n = 5, outputs = 7;

// Loss of scores in double, by the formulas of loss.h.
double loss_reference(const LossSpec& spec, const Numbers& z, const Numbers& t) {
  double sum = 0;
  for (int64_t s = 0; s < n; ++s) {
    const double* row = z.data() + s * outputs;
    const double* target = t.data() + s * outputs;
    double total = 0, loss = 0;
    for (int64_t i = 0; i < outputs; ++i) total += std::exp(row[i]);
    for (int64_t i = 0; i < outputs; ++i) {
      const double e = row[i] - target[i], size = std::abs(e);
      const double q = (1 - spec.label_smoothing) * target[i] + spec.label_smoothing / outputs;
      switch (spec.kind) {
        case LossKind::softmax_cross_entropy:
          loss += q * (std::log(total) - row[i]) * outputs;
          break;
        case LossKind::binary_cross_entropy: {
          const double p = 1 / (1 + std::exp(-row[i]));
          loss -= target[i] * std::log(p) + (1 - target[i]) * std::log(1 - p);
          break;
        }
        case LossKind::mse:
          loss += e * e;
          break;
        case LossKind::mae:
          loss += size;
          break;
        case LossKind::poisson:
          loss += std::exp(row[i]) - target[i] * row[i];
          break;
        default:
          loss += size < spec.huber_delta ? e * e / 2 : spec.huber_delta * (size - spec.huber_delta / 2);
      }
    }
    sum += loss / outputs;
  }
  return sum;
}

void check_loss(const LossSpec& spec, const Floats& values) {
  const Floats scores = random_floats(n * outputs, 3, -3, 3);
  Floats gradient(scores.size(), NAN);
  LossSums sums;
  const double loss = Loss(spec, outputs).run(scores, {{}, values}, gradient, sums);
  Numbers z = widen(scores);
  const Numbers t = widen(values);
  const double want = loss_reference(spec, z, t);
  EXPECT_NEAR(loss, want, 1e-6 * std::abs(want));
  EXPECT_EQ(sums.loss.value(), loss);
  EXPECT_EQ(sums.samples, n);
  EXPECT_EQ(sums.counted, n);
  EXPECT_EQ(sums.weight.value(), n);
  expect_near(gradient, differences(z, [&] { return loss_reference(spec, z, t); }), 1e-6, "gradient");
}

TEST(Loss, RegressionKinds) {
  const Floats values = random_floats(n * outputs, 4, -3, 3);
  check_loss({.kind = LossKind::mse}, values);
  check_loss({.kind = LossKind::mae}, values);
  check_loss({.kind = LossKind::huber}, values);
  check_loss({.kind = LossKind::huber, .huber_delta = 0.3}, values);
  check_loss({.kind = LossKind::poisson}, values);
}

TEST(Loss, ClassifyingKinds) {
  Floats shares = random_floats(n * outputs, 5, 0, 1);
  check_loss({.kind = LossKind::binary_cross_entropy}, shares);
  for (size_t s = 0; s < n; ++s) {
    float sum = 0;
    for (size_t i = 0; i < outputs; ++i) sum += shares[s * outputs + i];
    for (size_t i = 0; i < outputs; ++i) shares[s * outputs + i] /= sum;
  }
  check_loss({}, shares);
  check_loss({.label_smoothing = 0.2}, shares);
}

TEST(Loss, ClassIdsAreOneHotValues) {
  const Floats scores = random_floats(n * outputs, 3, -3, 3);
  const std::vector<int32_t> classes = {0, 6, 3, 2, 2};
  Floats one_hot(n * outputs), a(one_hot.size()), b(one_hot.size());
  for (size_t s = 0; s < n; ++s) one_hot[s * outputs + static_cast<size_t>(classes[s])] = 1;
  for (const auto kind : {LossKind::softmax_cross_entropy, LossKind::binary_cross_entropy}) {
    LossSums by_class, by_value;
    const Loss loss({.kind = kind, .label_smoothing = 0.1}, outputs);
    EXPECT_EQ(loss.run(scores, {classes, {}}, a, by_class), loss.run(scores, {{}, one_hot}, b, by_value));
    EXPECT_EQ(a, b);
    EXPECT_EQ(by_class.correct, by_value.correct);
    EXPECT_EQ(by_class.correct_top, by_value.correct_top);
  }
}

TEST(Loss, CountsAndTies) {
  const Floats scores = {1, 1, 0, 0, 0, 0, 0,   // first of equals: class 0
                         9, 8, 7, 6, 5, 4, 3};  // class 4 is fifth, class 5 sixth
  LossSums sums;
  const Loss loss({}, outputs);
  loss.run(scores, {std::vector<int32_t>{0, 4}, {}}, {}, sums);
  EXPECT_EQ(sums.correct, 1);
  EXPECT_EQ(sums.correct_top, 2);
  loss.run(scores, {std::vector<int32_t>{1, 5}, {}}, {}, sums);
  EXPECT_EQ(sums.correct, 1);
  EXPECT_EQ(sums.correct_top, 3);
  EXPECT_EQ(sums.samples, 4);
}

TEST(Loss, BinaryOfOneOutput) {
  const Loss loss({.kind = LossKind::binary_cross_entropy}, 1);
  LossSums sums;
  Floats gradient(2);
  const double got = loss.run(Floats{2, -1}, {std::vector<int32_t>{1, 1}, {}}, gradient, sums);
  EXPECT_NEAR(got, std::log1p(std::exp(-2.0)) + std::log1p(std::exp(1.0)), 1e-7);
  EXPECT_EQ(sums.correct, 1);
  EXPECT_NEAR(static_cast<double>(gradient[0]), 1 / (1 + std::exp(-2.0)) - 1, 1e-7);
  std::vector<int64_t> confusion(4);
  loss.count({2, true}, Floats{2, -1}, {std::vector<int32_t>{1, 1}, {}}, confusion);
  EXPECT_EQ(confusion, (std::vector<int64_t>{0, 0, 1, 1}));
}

TEST(Loss, ConfusionOfBinaryValues) {
  const Loss loss({.kind = LossKind::binary_cross_entropy}, 1);
  const Floats scores = {2, -1, 0, 3, -2, 1}, values = {1, 1, 0.5, 0.75, 0, 0.25};
  std::vector<int64_t> confusion(4);
  loss.count({2, true}, scores, {{}, values}, confusion);
  EXPECT_EQ(confusion, (std::vector<int64_t>{2, 1, 1, 2}));  // 0.5 and score 0 are class 0
  LossSums sums;
  loss.run(scores, {{}, values}, {}, sums);
  EXPECT_EQ(sums.correct, confusion[0] + confusion[3]);
}

TEST(Loss, WhoHasAConfusionMatrix) {
  EXPECT_EQ(Loss({}, 7).confusion_classes(), 7);
  EXPECT_EQ(Loss({}, 1).confusion_classes(), 0);
  EXPECT_EQ(Loss({.kind = LossKind::binary_cross_entropy}, 1).confusion_classes(), 2);
  EXPECT_EQ(Loss({.kind = LossKind::binary_cross_entropy}, 3).confusion_classes(), 0);
  EXPECT_EQ(Loss({.kind = LossKind::mse}, 1).confusion_classes(), 0);
}

TEST(Loss, Confusion) {
  const Loss loss({}, 3);
  std::vector<int64_t> confusion(9);
  loss.count({3, true}, Floats{3, 1, 2, 0, 5, 1, 0, 5, 1}, {std::vector<int32_t>{0, 1, 2}, {}}, confusion);
  EXPECT_EQ(confusion, (std::vector<int64_t>{1, 0, 0, 0, 1, 0, 0, 1, 0}));
}

TEST(Loss, RegressionSumsForMetrics) {
  const Loss loss({.kind = LossKind::mse}, 2);
  LossSums sums, other;
  loss.run(Floats{1, 2}, {{}, Floats{3, 1}}, {}, sums);
  loss.run(Floats{0, 0}, {{}, Floats{-2, 4}}, {}, other);
  sums.merge(other);
  EXPECT_EQ(sums.absolute_error.value(), 9);
  EXPECT_EQ(sums.squared_error.value(), 25);
  EXPECT_EQ(sums.target.value(), 6);
  EXPECT_EQ(sums.target_squared.value(), 30);
  EXPECT_EQ(sums.samples, 2);
}

TEST(Loss, LargeScoresAreFinite) {
  LossSums sums;
  Floats gradient(2);
  EXPECT_EQ(Loss({}, 2).run(Floats{3e38f, 0}, {std::vector<int32_t>{0}, {}}, gradient, sums), 0.0);
  EXPECT_EQ(gradient, (Floats{0, 0}));
  const Loss binary({.kind = LossKind::binary_cross_entropy}, 2);
  EXPECT_NEAR(binary.run(Floats{1000, -1000}, {{}, Floats{1, 1}}, gradient, sums), 500, 1e-9);
}

TEST(Loss, NonFiniteIsReturnedAndNotAdded) {
  for (const float bad : {static_cast<float>(NAN), static_cast<float>(INFINITY)})
    for (size_t k = 0; k < loss_names().size(); ++k) {
      const auto kind = static_cast<LossKind>(k);
      SCOPED_TRACE(loss_names()[k]);
      LossSums sums;
      EXPECT_FALSE(std::isfinite(Loss({.kind = kind}, 2).run(Floats{0, bad}, {{}, Floats{1, 0}}, {}, sums)));
      EXPECT_EQ(sums.samples, 0);
      EXPECT_EQ(sums.loss, ExactSum());
    }
}

TEST(Loss, RunIsAUnitThatIsAdded) {
  const Floats scores = random_floats(n * outputs, 3, -3, 3), values = random_floats(n * outputs, 5, 0, 1);
  for (size_t k = 0; k < loss_names().size(); ++k) {
    const Loss loss({.kind = static_cast<LossKind>(k)}, outputs);
    Floats a(scores.size(), NAN), b(scores.size(), NAN);
    LossSums whole, halves;
    const UnitLoss unit = loss.unit(scores, {{}, values}, b);
    for (int time = 0; time < 2; ++time) {
      EXPECT_EQ(unit.loss, loss.run(scores, {{}, values}, a, whole));
      loss.add(unit, n, halves);
    }
    EXPECT_EQ(a, b);
    EXPECT_EQ(halves.loss, whole.loss);
    EXPECT_EQ(halves.samples, 2 * n);
    EXPECT_EQ(halves.counted, whole.counted);
    EXPECT_EQ(halves.weight, whole.weight);
    EXPECT_EQ(halves.correct, whole.correct);
    EXPECT_EQ(halves.correct_top, whole.correct_top);
    EXPECT_EQ(halves.absolute_error, whole.absolute_error);
    EXPECT_EQ(halves.squared_error, whole.squared_error);
    EXPECT_EQ(halves.target, whole.target);
    EXPECT_EQ(halves.target_squared, whole.target_squared);
  }
}

TEST(Loss, AUnitIsAddedFieldByFieldIfItsLossIsFinite) {
  const UnitLoss unit{0.5, 0.25, 1, 2, 3, 4, 8, 5, 6};
  for (const auto kind : {LossKind::softmax_cross_entropy, LossKind::mse}) {
    const Loss loss({.kind = kind}, outputs);
    const bool regression = !loss.classifies();
    LossSums sums;
    loss.add(unit, 7, sums);
    for (const double bad : {NAN, INFINITY, -INFINITY}) {
      UnitLoss other = unit;
      other.loss = bad;
      loss.add(other, 7, sums);  // not added
    }
    EXPECT_EQ(sums.loss.value(), 0.5);
    EXPECT_EQ(sums.weight.value(), 0.25);
    EXPECT_EQ(sums.samples, 7);
    EXPECT_EQ(sums.counted, 8);
    EXPECT_EQ(sums.correct, 5);
    EXPECT_EQ(sums.correct_top, 6);
    EXPECT_EQ(sums.absolute_error.value(), regression ? 1 : 0);
    EXPECT_EQ(sums.squared_error.value(), regression ? 2 : 0);
    EXPECT_EQ(sums.target.value(), regression ? 3 : 0);
    EXPECT_EQ(sums.target_squared.value(), regression ? 4 : 0);
  }
}

TEST(Loss, Names) {
  EXPECT_EQ(loss_names().size(), 12u);
  EXPECT_EQ(loss_names()[static_cast<size_t>(LossKind::binary_dice)], "binary_dice");
  EXPECT_EQ(loss_names()[static_cast<size_t>(LossKind::poisson)], "poisson");
  EXPECT_TRUE(Loss({}, 3).classifies());
  EXPECT_FALSE(Loss({.kind = LossKind::huber}, 3).classifies());
}

}  // namespace
}  // namespace lepton::ops
