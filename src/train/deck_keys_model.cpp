// SPDX-License-Identifier: Apache-2.0
// The rows of [model], [optimizer] and [schedule] in the table of deck keys. See deck_keys.h.
#include "train/deck_keys.h"
#include "train/deck_losses.h"

namespace lepton::train {

namespace {

using enum KeyClass;

/// Rows whose setter is one assignment to a member of the optimizer's or schedule's specification.
DeckKey optimizer_number(const char* name, double optim::OptimizerSpec::*member, const char* standard,
                         Range range, const char* sentence) {
  return {std::string("optimizer.") + name,
          KeyType::number,
          mathematical,
          standard,
          sentence,
          [member](Deck& deck, const DeckValue& value) { deck.optimizer.*member = value.number; },
          range};
}

DeckKey schedule_number(const char* name, double optim::ScheduleSpec::*member, const char* standard,
                        Range range, const char* sentence) {
  return {std::string("schedule.") + name,
          KeyType::number,
          mathematical,
          standard,
          sentence,
          [member](Deck& deck, const DeckValue& value) { deck.optimizer.schedule.*member = value.number; },
          range};
}

DeckKey schedule_steps(const char* name, int64_t optim::ScheduleSpec::*member, const char* sentence) {
  return {std::string("schedule.") + name,
          KeyType::integer,
          mathematical,
          "0",
          sentence,
          [member](Deck& deck, const DeckValue& value) { deck.optimizer.schedule.*member = value.integer; },
          {.least = 0, .most = 4294967295}};
}

void set_loss(Deck& deck, const DeckValue& value) {
  deck.loss.kind = static_cast<ops::LossKind>(value.choice);
  deck.data.needs_classes = ops::takes_classes(deck.loss.kind);
  deck.data.target_range = target_range_of(deck.loss.kind);
}

/// The loss, and what some of them take.
std::vector<DeckKey> loss_keys() {
  return {
      {"model.loss",
       KeyType::choice,
       mathematical,
       "\"softmax_cross_entropy\"",
       "what training makes small; softmax_ and multiclass_ losses take class labels, binary_ ones targets "
       "from 0 to 1 (hinge: or -1 and 1), poisson counts, whose rate is e^score; all a network's raw scores",
       set_loss,
       {},
       ops::loss_names()},
      {"model.losses", KeyType::losses, mathematical, "",
       "several losses instead of model.loss: of each the layer it is of (from), its target, its type and "
       "its "
       "weight in their sum; further: name, target_kind, classes, and what the type takes",
       [](Deck& deck, const DeckValue& value) { deck.losses = value.losses; }},
      {"model.label_smoothing", KeyType::number, mathematical, "0",
       "share of a label that is spread over all classes (softmax_cross_entropy)",
       [](Deck& deck, const DeckValue& value) { deck.loss.label_smoothing = value.number; },
       from_to_below(0, 1)},
      {"model.class_weights",
       KeyType::numbers,
       mathematical,
       "",
       "of each class, 0 or from 1e-6 up: a position counts as its class weighs, and the mean divides by the "
       "sum of weights (softmax_cross_entropy, softmax_focal, multiclass_hinge)",
       [](Deck& deck, const DeckValue& value) { deck.class_weights = value.numbers; },
       {.least = 0, .most = 1e6}},
      {"model.huber_delta", KeyType::number, mathematical, "1",
       "error from which on the loss grows linearly (huber)",
       [](Deck& deck, const DeckValue& value) { deck.loss.huber_delta = value.number; }, above_zero()},
      {"model.focal_gamma",
       KeyType::number,
       mathematical,
       "2",
       "how much less counts what is easy: the power of 1 - its probability (softmax_focal, binary_focal)",
       [](Deck& deck, const DeckValue& value) { deck.loss.focal_gamma = value.number; },
       {.least = 0, .most = 100}},
      {"model.focal_alpha",
       KeyType::number,
       mathematical,
       "0.25",
       "weight of label 1; label 0 has 1 - focal_alpha (binary_focal; softmax_focal takes class_weights)",
       [](Deck& deck, const DeckValue& value) { deck.loss.focal_alpha = value.number; },
       {.least = 0, .most = 1}},
      {"model.dice_smooth", KeyType::number, mathematical, "1",
       "added to both parts of the quotient, so that what is neither there nor predicted has no loss "
       "(softmax_dice, binary_dice)",
       [](Deck& deck, const DeckValue& value) { deck.loss.dice_smooth = value.number; }, above_zero()},
  };
}

std::vector<DeckKey> network_keys() {
  return {
      {"model.precision",
       KeyType::choice,
       mathematical,
       "\"fp32\"",
       "type in which dense layers and convolutions multiply; bf16 needs a GPU or a CPU with "
       "AVX512_BF16 or AMX, tf32 a GPU",
       [](Deck& deck, const DeckValue& value) { deck.precision = static_cast<ops::Precision>(value.choice); },
       {},
       {"fp32", "tf32", "bf16"}},
      {"model.l2", KeyType::number, mathematical, "0",
       "adds l2 * weight to the mean gradient; layers may set their own",
       [](Deck& deck, const DeckValue& value) { deck.model.l2 = value.number; }, at_least(0)},
      // What these give shows in the state that a run begins with, whose hash its record keeps.
      {"model.weights", KeyType::path, operational, "",
       "safetensors or ONNX file (.onnx), relative to the deck, whose tensors replace initial values by "
       "their "
       "names when a run begins; a run's model.safetensors is one",
       [](Deck& deck, const DeckValue& value) { deck.weights.file = value.texts.front(); }},
      {"model.weights_missing",
       KeyType::choice,
       operational,
       "\"error\"",
       "what to do about tensors of the network that model.weights lacks",
       [](Deck& deck, const DeckValue& value) { deck.weights.initialise_missing = value.choice == 1; },
       {},
       {"error", "initialise"}},
      {"model.weights_unexpected",
       KeyType::choice,
       operational,
       "\"error\"",
       "what to do about tensors of model.weights that the network lacks",
       [](Deck& deck, const DeckValue& value) { deck.weights.ignore_unexpected = value.choice == 1; },
       {},
       {"error", "ignore"}},
      {"model.weights_rename", KeyType::renames, operational, "",
       "beginnings of names in model.weights and what stands for them in the network; the first that fits "
       "counts",
       [](Deck& deck, const DeckValue& value) { deck.weights.rename = value.renames; }},
      {.path = "model.layers",
       .type = KeyType::layers,
       .key_class = mathematical,
       .sentence = "the network, from the inputs to the scores; or model.onnx"},
      // What the file holds is compared at a restart, by its hash, wherever it lies (train/setup).
      {"model.onnx", KeyType::file, operational, "",
       "ONNX file, relative to the deck, that holds the network, instead of model.layers",
       [](Deck& deck, const DeckValue& value) { deck.network.path = value.texts.front(); }},
      {"model.onnx_weights",
       KeyType::choice,
       mathematical,
       "",
       "initial weights of model.onnx: those in the file (used if not given), or initialised as layers are",
       [](Deck& deck, const DeckValue& value) { deck.network.initialise = value.choice == 1; },
       {},
       {"file", "initialise"}},
      {"model.onnx_frozen", KeyType::names, mathematical, "",
       "beginnings of names of tensors in model.onnx that stay as they are, as frozen layers do",
       [](Deck& deck, const DeckValue& value) { deck.network.frozen = value.texts; }},
  };
}

std::vector<DeckKey> optimizer_keys() {
  using Spec = optim::OptimizerSpec;
  return {
      {"optimizer.type",
       KeyType::choice,
       mathematical,
       "\"adam\"",
       "the update rule",
       [](Deck& deck, const DeckValue& value) {
         deck.optimizer.rule = static_cast<optim::Rule>(value.choice);
       },
       {},
       {"sgd", "adam", "adamw"}},
      optimizer_number("learning_rate", &Spec::learning_rate, "0.001", above_zero(),
                       "size of an update; [schedule] changes it over the steps"),
      optimizer_number("momentum", &Spec::momentum, "0", from_to_below(0, 1),
                       "share of the last update in the next (sgd)"),
      {"optimizer.nesterov", KeyType::boolean, mathematical, "false", "momentum that looks ahead (sgd)",
       [](Deck& deck, const DeckValue& value) { deck.optimizer.nesterov = value.boolean; }},
      optimizer_number("beta1", &Spec::beta1, "0.9", from_to_below(0, 1),
                       "decay of the mean gradient (adam, adamw)"),
      optimizer_number("beta2", &Spec::beta2, "0.999", from_to_below(0, 1),
                       "decay of the mean squared gradient (adam, adamw)"),
      optimizer_number("epsilon", &Spec::epsilon, "1e-08", above_zero(),
                       "added to the divisor (adam, adamw)"),
      optimizer_number("weight_decay", &Spec::weight_decay, "0", at_least(0),
                       "pull of weights to 0: in the gradient (sgd, adam), or apart from it (adamw)"),
      optimizer_number("clip_norm", &Spec::clip_norm, "0", at_least(0),
                       "largest norm of the mean gradient over all parameters; 0: no limit"),
      optimizer_number("clip_value", &Spec::clip_value, "0", at_least(0),
                       "largest element of the mean gradient; 0: no limit"),
  };
}

std::vector<DeckKey> schedule_keys() {
  using Spec = optim::ScheduleSpec;
  return {
      {"schedule.type",
       KeyType::choice,
       mathematical,
       "\"constant\"",
       "the learning rate over the steps",
       [](Deck& deck, const DeckValue& value) {
         deck.optimizer.schedule.kind = static_cast<optim::ScheduleKind>(value.choice);
       },
       {},
       {"constant", "step", "cosine", "polynomial"}},
      schedule_steps("steps", &Spec::steps,
                     "length of cosine and polynomial; 0: the steps of train.epochs at the first start"),
      schedule_steps("warmup_steps", &Spec::warmup_steps,
                     "steps over which the rate rises linearly at first"),
      schedule_steps("every", &Spec::step_every, "steps between changes (step)"),
      schedule_number("factor", &Spec::factor, "0.1", above_zero(),
                      "what a change multiplies the rate by (step)"),
      schedule_number("power", &Spec::power, "1", above_zero(), "of the decay (polynomial)"),
      schedule_number("final_factor", &Spec::final_factor, "0", {.least = 0, .most = 1},
                      "share of the rate that is left at the end (cosine, polynomial)"),
  };
}

}  // namespace

std::vector<DeckKey> model_keys() {
  std::vector<DeckKey> keys;
  for (const std::vector<DeckKey>& rows : {loss_keys(), network_keys(), optimizer_keys(), schedule_keys()})
    keys.insert(keys.end(), rows.begin(), rows.end());
  return keys;
}

}  // namespace lepton::train
