// SPDX-License-Identifier: Apache-2.0
// Rules between keys; see the header. One function per table of the deck.
#include "train/deck_rules.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "train/deck_keys.h"
#include "train/deck_losses.h"

namespace lepton::train {

namespace {

/// A key that has a meaning only for some values of another.
struct Fit {
  const char* key;
  const char* decider;
  std::vector<std::string> values;
};

std::vector<std::string> losses(bool (*take)(ops::LossKind)) {
  std::vector<std::string> names;
  for (size_t i = 0; i < ops::loss_names().size(); ++i)
    if (take(static_cast<ops::LossKind>(i))) names.push_back(ops::loss_names()[i]);
  return names;
}

const std::vector<Fit>& fits() {
  static const std::vector<Fit> table = {
      {"model.label_smoothing", "model.loss", {"softmax_cross_entropy"}},
      {"model.huber_delta", "model.loss", {"huber"}},
      {"model.class_weights", "model.loss", {"softmax_cross_entropy", "softmax_focal", "multiclass_hinge"}},
      {"model.focal_gamma", "model.loss", {"softmax_focal", "binary_focal"}},
      {"model.focal_alpha", "model.loss", {"binary_focal"}},
      {"model.dice_smooth", "model.loss", {"softmax_dice", "binary_dice"}},
      {"data.classes", "model.loss", losses(ops::takes_classes)},
      {"data.ignored_class", "model.loss", losses(ops::takes_classes)},
      {"evaluation.top_k", "model.loss", losses(ops::takes_classes)},
      {"data.shuffle_window", "data.shuffle", {"window"}},
      {"data.shuffle_block", "data.shuffle", {"window"}},
      {"optimizer.momentum", "optimizer.type", {"sgd"}},
      {"optimizer.nesterov", "optimizer.type", {"sgd"}},
      {"optimizer.beta1", "optimizer.type", {"adam", "adamw"}},
      {"optimizer.beta2", "optimizer.type", {"adam", "adamw"}},
      {"optimizer.epsilon", "optimizer.type", {"adam", "adamw"}},
      {"schedule.steps", "schedule.type", {"cosine", "polynomial"}},
      {"schedule.every", "schedule.type", {"step"}},
      {"schedule.factor", "schedule.type", {"step"}},
      {"schedule.power", "schedule.type", {"polynomial"}},
      {"schedule.final_factor", "schedule.type", {"cosine", "polynomial"}},
      {"balance.shares", "balance.classes", {"fixed"}},
  };
  return table;
}

bool classifies(const Deck& deck) {
  return ops::takes_classes(deck.loss.kind) || ops::takes_labels(deck.loss.kind);
}

std::string value_text(const DeckFacts& facts, const std::string& path) {
  return path + " = " + facts.values.at(path);
}

[[noreturn]] void contradiction(const DeckFacts& facts, const std::string& path, const std::string& what,
                                const std::string& hint) {
  fail(Exit::deck, facts.position(path).text(), what, hint);
}

/// The same inputs in another order are put into the train split's; other names are refused by check_splits.
void order_inputs(std::optional<data::SplitSpec>& split, const std::optional<data::SplitSpec>& train) {
  if (!split || !train) return;
  const auto place = [&](const data::InputArrays& input) {
    return std::ranges::find(train->inputs, input.name, &data::InputArrays::name) - train->inputs.begin();
  };
  std::ranges::stable_sort(split->inputs, {}, place);
}

void inherit(std::optional<data::SplitSpec>& split, const std::optional<data::SplitSpec>& train) {
  if (!split || !train || !split->part()) return;
  if (split->inputs.empty()) split->inputs = train->inputs;
  if (!split->targets.empty() || !split->named_targets.empty()) return;
  split->targets = train->targets;
  split->named_targets = train->named_targets;
}

std::string default_metric(ops::LossKind loss) {
  if (ops::takes_classes(loss) || ops::takes_labels(loss)) return "accuracy";
  return loss == ops::LossKind::mae ? "mae" : "rmse";
}

void check_targets(const DeckFacts& facts, const Deck& deck) {
  if (!deck.losses.empty()) return;  // each has its own
  const bool labels = deck.data.target_kind == data::TargetKind::classes ||
                      deck.data.target_kind == data::TargetKind::one_hot;
  if (!deck.data.needs_classes && labels)
    contradiction(
        facts, "data.target_kind",
        value_text(facts, "data.target_kind") + " does not go with " + value_text(facts, "model.loss"),
        "This loss compares numbers: set data.target_kind = \"values\".");
  if (deck.data.needs_classes && deck.data.target_kind == data::TargetKind::values)
    contradiction(
        facts, "data.target_kind",
        value_text(facts, "data.target_kind") + " does not go with " + value_text(facts, "model.loss"),
        "This loss needs labels: set data.target_kind = \"classes\" or \"one_hot\", or another loss.");
}

void check_data(const DeckFacts& facts, const Deck& deck) {
  check_targets(facts, deck);
  if (deck.data.sequence_stride > 0 && deck.data.sequence == 0)
    contradiction(facts, "data.sequence_stride", "data.sequence_stride says nothing without data.sequence",
                  "Set data.sequence to the length of a window, or leave it out.");
  if (deck.data.shuffle == data::Shuffle::window && deck.data.shuffle_block > deck.data.shuffle_window)
    contradiction(facts, "data.shuffle_block",
                  value_text(facts, "data.shuffle_block") + " is larger than " +
                      value_text(facts, "data.shuffle_window"),
                  "A window consists of whole blocks.");
}

void check_optimizer(const DeckFacts& facts, const Deck& deck) {
  if (deck.optimizer.nesterov && deck.optimizer.momentum == 0)
    contradiction(facts, "optimizer.nesterov", "optimizer.nesterov = true needs momentum",
                  "Set optimizer.momentum, say to 0.9.");
  const optim::ScheduleSpec& schedule = deck.optimizer.schedule;
  if (schedule.kind == optim::ScheduleKind::step && schedule.step_every == 0)
    contradiction(facts, "schedule.type", "schedule.type = \"step\" needs schedule.every",
                  "Set schedule.every to the steps between changes of the learning rate.");
  if (schedule.steps > 0 && schedule.warmup_steps >= schedule.steps)
    contradiction(facts, "schedule.warmup_steps",
                  value_text(facts, "schedule.warmup_steps") + " leaves nothing of " +
                      value_text(facts, "schedule.steps"),
                  "The warm-up is part of the schedule's steps.");
}

void check_weights(const DeckFacts& facts, const Deck& deck) {
  for (const char* key : {"model.weights_missing", "model.weights_unexpected", "model.weights_rename"})
    if (deck.weights.file.empty() && facts.given(key))
      contradiction(facts, key, std::string(key) + " says nothing without model.weights",
                    "Set model.weights to a safetensors or ONNX file, or leave it out.");
}

void check_loss(const DeckFacts& facts, const Deck& deck) {
  double most = deck.class_weights.empty() ? 1 : 0;
  bool tiny = false;
  for (const double weight : deck.class_weights) {
    most = std::max(most, weight);
    tiny = tiny || (weight > 0 && weight < 1e-6);
  }
  if (tiny || most == 0)
    contradiction(facts, "model.class_weights",
                  value_text(facts, "model.class_weights") +
                      (tiny ? " has a weight that is next to nothing" : " lets no class count"),
                  "A weight is 0 or from 1e-6 up, and one at least is not 0.");
  const std::vector<double>& weights = deck.class_weights;
  if (deck.data.classes > 0 && !weights.empty() && std::ssize(weights) != deck.data.classes)
    contradiction(facts, "model.class_weights",
                  "model.class_weights has " + std::to_string(weights.size()) + " weights for " +
                      value_text(facts, "data.classes"),
                  "Give each class one, in the order of the ids.");
}

void check_train(const DeckFacts& facts, const Deck& deck) {
  if (deck.train.unit_size > deck.train.batch_size)
    contradiction(
        facts, "train.unit_size",
        value_text(facts, "train.unit_size") + " is larger than " + value_text(facts, "train.batch_size"),
        "A batch is cut into work units.");
  if (deck.balance.classes == ClassPolicy::fixed && deck.balance.shares.empty())
    contradiction(facts, "balance.classes", value_text(facts, "balance.classes") + " needs balance.shares",
                  "Say how many units each class computes, as in shares = [\"8 cuda\", \"1 cpu\"].");
}

void check_metrics(const DeckFacts& facts, const Deck& deck) {
  const EvaluationSpec& evaluation = deck.evaluation;
  const bool regression = evaluation.metric == "mae" || evaluation.metric == "rmse";
  if (evaluation.metric != "loss" && regression == classifies(deck))
    contradiction(
        facts, "evaluation.metric",
        value_text(facts, "evaluation.metric") + " does not go with " + value_text(facts, "model.loss"),
        classifies(deck) ? "Use \"accuracy\", \"loss\" or one of evaluation.metrics."
                         : "Use \"mae\", \"rmse\" or \"loss\".");
  if (!evaluation.metrics.empty() && !classifies(deck))
    contradiction(
        facts, "evaluation.metrics",
        value_text(facts, "evaluation.metrics") + " does not go with " + value_text(facts, "model.loss"),
        "They are of classes: a loss that compares numbers has mae, rmse and r2 without being asked.");
}

void check_evaluation(const DeckFacts& facts, Deck& deck) {
  const EvaluationSpec& evaluation = deck.evaluation;
  if (deck.losses.empty()) check_metrics(facts, deck);
  if (evaluation.min_improvement > 0 && evaluation.patience == 0)
    contradiction(facts, "evaluation.min_improvement",
                  "evaluation.min_improvement says nothing without patience",
                  "Set evaluation.patience, or leave it out.");
  if (evaluation.patience == 0) return;
  if (!deck.data.validation && !deck.data.test)
    contradiction(facts, "evaluation.patience",
                  value_text(facts, "evaluation.patience") + " needs a validation split",
                  "Give data.validation, say as { fraction = 0.1 } with data.train.fraction = 0.9.");
  if (evaluation.every_epochs == 0 && evaluation.every_steps == 0)
    contradiction(
        facts, "evaluation.patience",
        value_text(facts, "evaluation.patience") + " does not go with evaluation.every = \"end\"",
        "Early stopping needs evaluations during training, as with evaluation.every = \"1 epoch\".");
}

/// Whether the last layer, or its activation, is `activation`.
bool ends_with(const std::vector<model::LayerSpec>& layers, const std::string& activation) {
  const model::LayerSpec& last = layers.back();
  if (last.type == activation) return true;
  const auto option = last.options.find("activation");
  if (option == last.options.end()) return false;
  const auto* name = std::get_if<std::string>(&option->second.value);
  return name != nullptr && *name == activation;
}

void warn_of_model(Deck& deck) {
  if (deck.model.layers.empty() || !deck.losses.empty()) return;
  using enum ops::LossKind;
  const bool softmax = ops::takes_classes(deck.loss.kind) && deck.loss.kind != multiclass_hinge;
  const bool sigmoid = ops::takes_labels(deck.loss.kind) && deck.loss.kind != binary_hinge;
  if ((softmax && ends_with(deck.model.layers, "softmax")) ||
      (sigmoid && ends_with(deck.model.layers, "sigmoid")))
    deck.warnings.push_back(deck.model.layers.back().position.text() +
                            ": the loss takes raw scores, but the " + "network ends with " +
                            (softmax ? "softmax" : "sigmoid") +
                            ", which the loss applies itself. Leave it out.");
}

void warn_of_test(const DeckFacts& facts, Deck& deck) {
  if (deck.evaluation.patience > 0 && !deck.data.validation)
    deck.warnings.push_back(
        facts.position("evaluation.patience").text() +
        ": early stopping uses the test split, as there is no validation split. The test " +
        "figures are then no measure of unseen data.");
}

}  // namespace

bool DeckFacts::given(const std::string& path) const {
  const auto value = values.find(path);
  const DeckKey* key = find_deck_key(path);
  CHECK(key != nullptr, path);
  if (value == values.end() || root.at(path) == nullptr) return false;
  return key->standard.empty() ||
         value->second != check_value(*key, parse_deck_value(key->standard, {})).canonical;
}

SourcePosition DeckFacts::position(const std::string& path) const {
  for (std::string part = path;; part = part.substr(0, part.rfind('.'))) {
    if (const DeckNode* node = root.at(part)) return node->position;
    if (part.find('.') == std::string::npos) return {root.position.file, 0, 0};
  }
}

void check_keys_fit(const DeckFacts& facts) {
  for (const Fit& fit : fits()) {
    if (!facts.given(fit.key)) continue;
    const std::string& decider = facts.values.at(fit.decider);
    const bool fitting = std::any_of(fit.values.begin(), fit.values.end(),
                                     [&](const std::string& value) { return toml_text(value) == decider; });
    if (!fitting)
      contradiction(
          facts, fit.key, std::string(fit.key) + " has no meaning with " + fit.decider + " = " + decider,
          "It goes with " + std::string(fit.decider) + " = " + choices_text(fit.values) + "; leave it out.");
  }
}

void derive(Deck& deck) {
  inherit(deck.data.validation, deck.data.train);
  inherit(deck.data.test, deck.data.train);
  order_inputs(deck.data.validation, deck.data.train);
  order_inputs(deck.data.test, deck.data.train);
  for (std::optional<data::SplitSpec>* split : {&deck.data.train, &deck.data.validation, &deck.data.test})
    if (*split)
      (*split)->next = deck.data.sequence > 0 && (*split)->targets.empty() && (*split)->named_targets.empty();
  derive_losses(deck);
  // A loss that compares numbers takes integers as numbers too.
  if (!deck.data.needs_classes && deck.data.target_kind == data::TargetKind::automatic)
    deck.data.target_kind = data::TargetKind::values;
  if (deck.data.needs_classes) deck.model.outputs = deck.data.classes;
  if (deck.evaluation.metric == "auto") deck.evaluation.metric = default_metric(deck.loss.kind);
  const std::vector<std::string>& counted = find_deck_key("evaluation.metrics")->choices;
  std::vector<std::string>& metrics = deck.evaluation.metrics;
  if (std::ranges::find(counted, deck.evaluation.metric) != counted.end() &&
      std::ranges::find(metrics, deck.evaluation.metric) == metrics.end())
    metrics.push_back(deck.evaluation.metric);
}

void check_rules(Deck& deck, const DeckFacts& facts) {
  check_data(facts, deck);
  check_splits(deck, facts);
  check_losses_fit(deck, facts);
  check_weights(facts, deck);
  check_loss(facts, deck);
  check_optimizer(facts, deck);
  check_train(facts, deck);
  check_evaluation(facts, deck);
  warn_of_model(deck);
  warn_of_test(facts, deck);
}

}  // namespace lepton::train
