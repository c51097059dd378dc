// SPDX-License-Identifier: Apache-2.0
// Rules between keys; see the header. One function per table of the deck.
#include "train/deck_rules.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "train/deck_keys.h"

namespace lepton::train {

namespace {

/// A key that has a meaning only for some values of another.
struct Fit {
  const char* key;
  const char* decider;
  std::vector<std::string> values;
};

const std::vector<Fit>& fits() {
  static const std::vector<Fit> table = {
      {"model.label_smoothing", "model.loss", {"softmax_cross_entropy"}},
      {"model.huber_delta", "model.loss", {"huber"}},
      {"data.classes", "model.loss", {"softmax_cross_entropy"}},
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
  return deck.loss.kind == ops::LossKind::softmax_cross_entropy ||
         deck.loss.kind == ops::LossKind::binary_cross_entropy;
}

std::string value_text(const DeckFacts& facts, const std::string& path) {
  return path + " = " + facts.values.at(path);
}

[[noreturn]] void contradiction(const DeckFacts& facts, const std::string& path, const std::string& what,
                                const std::string& hint) {
  fail(Exit::deck, facts.position(path).text(), what, hint);
}

void inherit(std::optional<data::SplitSpec>& split, const std::optional<data::SplitSpec>& train) {
  if (!split || !train || (!split->rows && !split->fraction)) return;
  if (split->inputs.empty()) split->inputs = train->inputs;
  if (split->targets.empty()) split->targets = train->targets;
}

std::string default_metric(ops::LossKind loss) {
  switch (loss) {
    case ops::LossKind::softmax_cross_entropy:
    case ops::LossKind::binary_cross_entropy:
      return "accuracy";
    case ops::LossKind::mae:
      return "mae";
    case ops::LossKind::mse:
    case ops::LossKind::huber:
      return "rmse";
  }
  return "loss";
}

void check_targets(const DeckFacts& facts, const Deck& deck) {
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

void check_evaluation(const DeckFacts& facts, Deck& deck) {
  const EvaluationSpec& evaluation = deck.evaluation;
  const bool regression = evaluation.metric == "mae" || evaluation.metric == "rmse";
  if (evaluation.metric != "loss" && regression == classifies(deck))
    contradiction(
        facts, "evaluation.metric",
        value_text(facts, "evaluation.metric") + " does not go with " + value_text(facts, "model.loss"),
        classifies(deck) ? "Use \"accuracy\" or \"loss\"." : "Use \"mae\", \"rmse\" or \"loss\".");
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
  if (deck.model.layers.empty()) return;
  const bool softmax = deck.loss.kind == ops::LossKind::softmax_cross_entropy;
  const bool sigmoid = deck.loss.kind == ops::LossKind::binary_cross_entropy;
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
  for (std::optional<data::SplitSpec>* split : {&deck.data.train, &deck.data.validation, &deck.data.test})
    if (*split) (*split)->next = deck.data.sequence > 0 && (*split)->targets.empty();
  // A loss that compares numbers takes integers as numbers too.
  if (!deck.data.needs_classes && deck.data.target_kind == data::TargetKind::automatic)
    deck.data.target_kind = data::TargetKind::values;
  if (deck.data.needs_classes) deck.model.outputs = deck.data.classes;
  if (deck.evaluation.metric == "auto") deck.evaluation.metric = default_metric(deck.loss.kind);
}

void check_rules(Deck& deck, const DeckFacts& facts) {
  check_data(facts, deck);
  check_splits(deck, facts);
  check_optimizer(facts, deck);
  check_train(facts, deck);
  check_evaluation(facts, deck);
  warn_of_model(deck);
  warn_of_test(facts, deck);
}

}  // namespace lepton::train
