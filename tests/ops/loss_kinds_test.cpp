// SPDX-License-Identifier: Apache-2.0
// Losses of classes and labels against their papers' formulas in double, and their gradients against central
// differences: focal, hinge, dice, weights of classes, ignored positions; far scores; what is tallied.
#include <cmath>

#include "ops/harness.h"
#include "ops/loss.h"
#include "ops/loss_math.h"

namespace lepton::ops {
namespace {

using namespace testing;
using enum LossKind;

constexpr int64_t samples = 4;

struct KindCase {
  LossSpec spec;
  int64_t outputs = 5;
  LossTargets targets = {};
  std::vector<int32_t> classes = {};
  Floats values = {};
};

Numbers softmax_of(const double* z, int64_t k) {
  Numbers p(z, z + k);
  const double shift = *std::ranges::max_element(p);
  double total = 0;
  for (double& x : p) total += x = std::exp(x - shift);
  for (double& x : p) x /= total;
  return p;
}

double logistic(double z) {
  return 1 / (1 + std::exp(-z));
}

double class_loss(const KindCase& c, const double* z, int32_t t) {
  const int64_t k = c.outputs;
  const auto weight = [&](int64_t i) {
    return c.targets.class_weights.empty() ? 1.0 : c.targets.class_weights[static_cast<size_t>(i)];
  };
  const Numbers p = softmax_of(z, k);
  const double pt = p[static_cast<size_t>(t)], w = weight(t);
  if (c.spec.kind == softmax_focal) return -w * std::pow(1 - pt, c.spec.focal_gamma) * std::log(pt);
  if (c.spec.kind == multiclass_hinge) {
    double rival = -1e300;
    for (int64_t i = 0; i < k; ++i)
      if (i != t) rival = std::max(rival, z[i]);
    return w * std::max(0.0, 1 + rival - z[t]);
  }
  double loss = -(1 - c.spec.label_smoothing) * w * std::log(pt);
  for (int64_t i = 0; i < k; ++i)
    loss -= c.spec.label_smoothing / static_cast<double>(k) * weight(i) * std::log(p[static_cast<size_t>(i)]);
  return loss;
}

double label_loss(const KindCase& c, const double* z, const float* targets) {
  double sum = 0, both = 0, squares = 0;
  for (int64_t i = 0; i < c.outputs; ++i) {
    const double t = static_cast<double>(targets[i]), p = logistic(z[i]);
    both += p * t;
    squares += p * p + t * t;
    if (c.spec.kind == binary_hinge) sum += std::max(0.0, 1 - (t > 0 ? 1 : -1) * z[i]);
    if (c.spec.kind != binary_focal) continue;
    const double entropy = t * std::log1p(std::exp(-z[i])) + (1 - t) * std::log1p(std::exp(z[i]));
    const double rest = logistic(-z[i]) * t + p * (1 - t);  // 1 - p_t
    const double a = c.spec.focal_alpha * t + (1 - c.spec.focal_alpha) * (1 - t);
    sum += a * std::pow(rest, c.spec.focal_gamma) * entropy;
  }
  if (c.spec.kind == binary_dice) return 1 - (2 * both + c.spec.dice_smooth) / (squares + c.spec.dice_smooth);
  return sum / static_cast<double>(c.outputs);
}

double dice_loss(const KindCase& c, const double* z, const int32_t* classes) {
  double mean = 0;
  bool any = false;
  for (int32_t k = 0; k < c.outputs; ++k) {
    double both = 0, squares = 0;
    for (int64_t i = 0; i < c.targets.positions; ++i) {
      if (classes[i] == ignored_class) continue;
      any = true;
      const double p = softmax_of(z + i * c.outputs, c.outputs)[static_cast<size_t>(k)];
      both += classes[i] == k ? p : 0;
      squares += p * p + (classes[i] == k);
    }
    mean += (2 * both + c.spec.dice_smooth) / (squares + c.spec.dice_smooth) / static_cast<double>(c.outputs);
  }
  return any ? 1 - mean : 0;
}

double loss_kinds_reference(const KindCase& c, const Numbers& z) {
  double sum = 0;
  const int64_t width = c.outputs * c.targets.positions;
  for (int64_t s = 0; s < samples; ++s) {
    const double* row = z.data() + s * width;
    if (c.spec.kind == softmax_dice) {
      sum += dice_loss(c, row, c.classes.data() + s * c.targets.positions);
      continue;
    }
    for (int64_t i = 0; i < c.targets.positions; ++i) {
      const int32_t t = c.classes.empty() ? 0 : c.classes[static_cast<size_t>(s * c.targets.positions + i)];
      if (t == ignored_class) continue;
      const double* scores = row + i * c.outputs;
      sum += c.classes.empty() ? label_loss(c, scores, c.values.data() + s * c.outputs)
                               : class_loss(c, scores, t);
    }
  }
  return sum;
}

LossSums expect_reference(const KindCase& c, double weight, int64_t counted, float far = 3) {
  const int64_t elements = samples * c.targets.positions * c.outputs;
  const Floats scores = random_floats(elements, 3, -far, far);
  Floats gradient(scores.size(), NAN);
  LossSums sums;
  const std::string name = loss_names()[static_cast<size_t>(c.spec.kind)];
  const double loss = Loss(c.spec, c.outputs, c.targets).run(scores, {c.classes, c.values}, gradient, sums);
  Numbers z = widen(scores);
  const double want = loss_kinds_reference(c, z);
  EXPECT_NEAR(loss, want, 1e-6 * std::abs(want)) << name;
  EXPECT_NEAR(sums.weight.value(), weight, 1e-12) << name;
  EXPECT_EQ(sums.counted, counted) << name;
  EXPECT_EQ(sums.samples, samples * c.targets.positions) << name;
  expect_near(gradient, differences(z, [&] { return loss_kinds_reference(c, z); }), 1e-6, name.c_str());
  return sums;
}

const std::vector<int32_t> four_classes = {2, 0, 4, 2}, with_ignored = {2, ignored_class, 4, ignored_class};

TEST(LossKinds, ClassesAgainstTheFormulas) {
  for (const LossKind kind : {softmax_cross_entropy, softmax_focal, multiclass_hinge})
    for (const float far : {3.f, 20.f}) {
      expect_reference({{.kind = kind}, 5, {}, four_classes}, 4, 4, far);
      expect_reference({{.kind = kind}, 5, {.may_ignore = true}, with_ignored}, 2, 2, far);
      expect_reference({{.kind = kind}, 5, {1, true, {0.5, 3, 2, 1, 0.25}}, with_ignored}, 2.25, 2, far);
      expect_reference({{.kind = kind}, 5, {1, false, {0.5, 3, 0, 1, 0.25}}, four_classes}, 0.75, 4, far);
    }
  expect_reference({{.label_smoothing = 0.2}, 5, {1, true, {0.5, 3, 2, 1, 0.25}}, with_ignored}, 2.25, 2);
  expect_reference({{.label_smoothing = 0.2}, 5, {.may_ignore = true}, with_ignored}, 2, 2);
}

TEST(LossKinds, GammaOfFocalLosses) {
  for (const double gamma : {0.0, 0.5, 1.0, 3.0}) {
    expect_reference({{.kind = softmax_focal, .focal_gamma = gamma}, 5, {}, four_classes}, 4, 4);
    const Floats values = {1, 0, 1, 1, 0, 1, 0, 0};
    expect_reference({{.kind = binary_focal, .focal_gamma = gamma}, 2, {}, {}, values}, 4, 4);
  }
  LossSums focal, entropy;  // gamma = 0 is cross-entropy
  const Floats scores = random_floats(20, 1, -3, 3);
  Loss({.kind = softmax_focal, .focal_gamma = 0}, 5).run(scores, {four_classes, {}}, {}, focal);
  Loss({}, 5).run(scores, {four_classes, {}}, {}, entropy);
  EXPECT_NEAR(focal.loss.value(), entropy.loss.value(), 1e-12);
}

TEST(LossKinds, LabelsAgainstTheFormulas) {
  const Floats hard = {1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0}, soft = random_floats(12, 5, 0.05f, 0.95f);
  for (const LossKind kind : {binary_focal, binary_hinge, binary_dice}) {
    const int64_t counted = kind == binary_dice ? 12 : 4;
    expect_reference({{.kind = kind}, 3, {}, {}, hard}, 4, counted);
    expect_reference({{.kind = kind}, 3, {}, {}, hard}, 4, counted, 12);
    if (kind != binary_hinge) expect_reference({{.kind = kind}, 3, {}, {}, soft}, 4, counted);
  }
  expect_reference({{.kind = binary_focal, .focal_alpha = 0.7}, 3, {}, {}, hard}, 4, 4);
  expect_reference({{.kind = binary_dice, .dice_smooth = 0.1}, 3, {}, {}, hard}, 4, 12);
  const Floats signs = {1, -1, 1, 1, -1, 1, -1, -1, -1, -1, 1, -1};
  LossSums zeros = expect_reference({{.kind = binary_hinge}, 3, {}, {}, hard}, 4, 4);
  LossSums minus = expect_reference({{.kind = binary_hinge}, 3, {}, {}, signs}, 4, 4);
  EXPECT_EQ(zeros.loss, minus.loss);
  EXPECT_EQ(zeros.correct, minus.correct);
}

TEST(LossKinds, DiceOfClassesIsASampleAtATime) {
  constexpr int32_t no = ignored_class;
  const std::vector<int32_t> pixels = {0, 1, 2, 0, 0, 0, 2, 2, 1, 1, 1, 1},
                             some = {0, no, 2, no, no, no, 2, 2, 1, 1, no, 1};
  expect_reference({{.kind = softmax_dice}, 3, {.positions = 3}, pixels}, 4, 12);
  expect_reference({{.kind = softmax_dice, .dice_smooth = 0.1}, 3, {.positions = 3}, pixels}, 4, 12);
  // The second sample counts nowhere.
  expect_reference({{.kind = softmax_dice}, 3, {3, true, {}}, {0, no, 2, no, no, no, 2, 2, 1, 1, no, 1}}, 3,
                   7);
  const Loss loss({.kind = softmax_dice}, 3, {.positions = 3});
  EXPECT_EQ(loss.weight_of(4), 4);
  EXPECT_EQ(loss.term_positions(), 3);
  EXPECT_EQ(Loss({}, 3, {.positions = 3}).weight_of(4), 12);
}

TEST(LossKinds, FarScoresAreFinite) {
  const Floats far = {500, -500, 0, -500, 500, 0, 90, 0, -90};
  for (const LossKind kind : {softmax_cross_entropy, softmax_focal, multiclass_hinge, softmax_dice})
    for (int32_t t = 0; t < 3; ++t) {
      Floats gradient(9, NAN);
      LossSums sums;
      const LossTargets targets{.positions = 3};
      const std::vector<int32_t> classes = {t, t, t};
      EXPECT_TRUE(std::isfinite(
          Loss({.kind = kind, .focal_gamma = 0.5}, 3, targets).run(far, {classes, {}}, gradient, sums)));
      for (const float g : gradient) EXPECT_TRUE(std::isfinite(g)) << loss_names()[size_t(kind)];
    }
  for (const LossKind kind : {binary_focal, binary_hinge, binary_dice})
    for (const float t : {0.f, 1.f}) {
      Floats gradient(9, NAN);
      LossSums sums;
      const Loss loss({.kind = kind, .focal_gamma = 0.5}, 3);
      EXPECT_TRUE(std::isfinite(loss.run(far, {{}, Floats(9, t)}, gradient, sums)));
      for (const float g : gradient) EXPECT_TRUE(std::isfinite(g)) << loss_names()[size_t(kind)];
    }
}

TEST(LossKinds, TopIsAsManyAsTheSpecSays) {
  const Floats scores = {5, 4, 3, 2, 1};
  for (int32_t t = 0; t < 5; ++t)
    for (const int64_t top : {1, 2, 4}) {
      LossSums sums;
      Loss({.top = top}, 5).run(scores, {std::vector<int32_t>{t}, {}}, {}, sums);
      EXPECT_EQ(sums.correct_top, t < top);
    }
}

TEST(LossKinds, WhoseWeightDependsOnTargets) {
  EXPECT_FALSE(Loss({}, 3).weighs());
  EXPECT_TRUE(Loss({}, 3, {.may_ignore = true}).weighs());
  EXPECT_TRUE(Loss({}, 3, {.class_weights = {1, 2, 3}}).weighs());
}

TEST(LossKinds, TalliesOfClasses) {
  const Floats scores = {3, 1, 2, 0, 5, 1, 0, 5, 1, 9, 0, 0};
  const std::vector<int32_t> classes = {0, 1, 2, ignored_class};
  const Loss loss({}, 3, {.may_ignore = true});
  std::vector<int64_t> confusion(9), by_class(9);
  loss.count({3, true}, scores, {classes, {}}, confusion);
  loss.count({3, false}, scores, {classes, {}}, by_class);
  EXPECT_EQ(confusion, (std::vector<int64_t>{1, 0, 0, 0, 1, 0, 0, 1, 0}));
  EXPECT_EQ(by_class, (std::vector<int64_t>{1, 1, 1, 1, 2, 1, 1, 0, 0}));
  EXPECT_FALSE(loss.ranks());
}

TEST(LossKinds, TalliesOfLabelsAreOfEachOutput) {
  const Floats scores = {2, -1, 0, 3}, values = {1, 1, 0, 0};
  for (const LossKind kind : {binary_cross_entropy, binary_focal, binary_hinge, binary_dice}) {
    const Loss loss({.kind = kind}, 2);
    EXPECT_EQ(loss.tally_classes(), 2);
    EXPECT_EQ(loss.confusion_classes(), kind == binary_dice ? 2 : 0);
    std::vector<int64_t> counts(4);
    loss.count({2, true}, scores, {{}, values}, counts);
    EXPECT_EQ(counts, (std::vector<int64_t>{1, 1, 1, 1}));
  }
}

TEST(LossKinds, ScoresAreTalliedByTheirUpperHalf) {
  const Loss binary({.kind = binary_cross_entropy}, 1), two({}, 2);
  ASSERT_TRUE(binary.ranks() && two.ranks());
  const TallySpec roc{0, false, true};
  ASSERT_EQ(roc.size(), 2 * roc_bins);
  std::vector<int64_t> one(static_cast<size_t>(roc.size())), other(one.size());
  binary.count(roc, Floats{1.5f, -2, 1.5f}, {{}, Floats{1, 0, 0}}, one);
  two.count(roc, Floats{0, 1.5f, 2, 0, -1, 0.5f}, {std::vector<int32_t>{1, 0, 0}, {}}, other);
  EXPECT_EQ(one, other);
  EXPECT_EQ(one[static_cast<size_t>(roc_bins + roc_bin(1.5f))], 1);
  EXPECT_EQ(one[static_cast<size_t>(roc_bin(1.5f))], 1);
  EXPECT_EQ(one[static_cast<size_t>(roc_bin(-2))], 1);
  const Floats ascending = {-1e38f, -2, -1.01f, -1, -1e-40f, 0, 1e-30f, 1, 1.01f, 3e38f};
  for (size_t i = 1; i < ascending.size(); ++i)
    EXPECT_LE(roc_bin(ascending[i - 1]), roc_bin(ascending[i])) << i;
  EXPECT_EQ(roc_bin(-0.f), roc_bin(0.f));
  EXPECT_LT(roc_bin(-1.01f), roc_bin(-1));
  EXPECT_EQ(roc_bin(1), roc_bin(1.001f));  // cut to 8 bits of mantissa
}

}  // namespace
}  // namespace lepton::ops
