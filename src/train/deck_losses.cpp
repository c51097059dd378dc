// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/deck_losses.h"

#include <algorithm>

namespace lepton::train {

namespace {

/// An option of one loss: the key whose type, range and choices it has, and where it goes.
struct LossOption {
  const char* name;
  const char* key;  ///< "": none, it is a name or the weight
  void (*set)(NamedLoss&, const DeckValue&);
  bool (*fits)(ops::LossKind) = nullptr;  ///< of which losses it is an option; null: of all
};

bool is_entropy(ops::LossKind loss) {
  return loss == ops::LossKind::softmax_cross_entropy;
}
bool is_huber(ops::LossKind loss) {
  return loss == ops::LossKind::huber;
}
bool is_focal(ops::LossKind loss) {
  return loss == ops::LossKind::softmax_focal || loss == ops::LossKind::binary_focal;
}
bool is_binary_focal(ops::LossKind loss) {
  return loss == ops::LossKind::binary_focal;
}
bool is_dice(ops::LossKind loss) {
  return loss == ops::LossKind::softmax_dice || loss == ops::LossKind::binary_dice;
}
bool has_classes(ops::LossKind loss) {
  return ops::takes_classes(loss);
}

const std::vector<LossOption>& loss_options() {
  static const std::vector<LossOption> table = {
      {"type", "model.loss",
       [](NamedLoss& loss, const DeckValue& value) {
         loss.spec.kind = static_cast<ops::LossKind>(value.choice);
       }},
      {"from", "", [](NamedLoss& loss, const DeckValue& value) { loss.from = value.text; }},
      {"target", "", [](NamedLoss& loss, const DeckValue& value) { loss.target = value.text; }},
      {"name", "", [](NamedLoss& loss, const DeckValue& value) { loss.name = value.text; }},
      {"weight", "", [](NamedLoss& loss, const DeckValue& value) { loss.weight = value.number; }},
      {"label_smoothing", "model.label_smoothing",
       [](NamedLoss& loss, const DeckValue& value) { loss.spec.label_smoothing = value.number; }, is_entropy},
      {"huber_delta", "model.huber_delta",
       [](NamedLoss& loss, const DeckValue& value) { loss.spec.huber_delta = value.number; }, is_huber},
      {"focal_gamma", "model.focal_gamma",
       [](NamedLoss& loss, const DeckValue& value) { loss.spec.focal_gamma = value.number; }, is_focal},
      {"focal_alpha", "model.focal_alpha",
       [](NamedLoss& loss, const DeckValue& value) { loss.spec.focal_alpha = value.number; },
       is_binary_focal},
      {"dice_smooth", "model.dice_smooth",
       [](NamedLoss& loss, const DeckValue& value) { loss.spec.dice_smooth = value.number; }, is_dice},
      {"target_kind", "data.target_kind",
       [](NamedLoss& loss, const DeckValue& value) {
         loss.target_kind = static_cast<data::TargetKind>(value.choice);
       }},
      {"classes", "data.classes",
       [](NamedLoss& loss, const DeckValue& value) { loss.classes = value.integer; }, has_classes},
  };
  return table;
}

DeckValue read_option(const LossOption& option, const std::string& path, const DeckNode& node) {
  DeckKey own;
  if (std::string(option.name) == "weight")
    own = {"", KeyType::number, KeyClass::mathematical, "", "what the loss counts in the sum of all",
           {}, above_zero()};
  else if (*option.key != 0)
    own = *find_deck_key(option.key);
  else
    own.sentence = "a name";
  own.path = path + "." + option.name;
  return check_value(own, node);
}

void refuse_unknown_options(const std::string& path, const DeckNode& node) {
  std::vector<std::string> names;
  for (const LossOption& option : loss_options()) names.push_back(option.name);
  for (const DeckNode& child : node.children) {
    std::string hint = did_you_mean(child.key, names);
    if (!hint.empty()) hint += " ";
    REQUIRE(std::ranges::count(names, child.key) == 1, Exit::deck, child.key_position.text(),
            "unknown key " + path + "." + child.key, hint + "A loss takes " + choices_text(names) + ".");
  }
}

/// Names are parts of others: in metrics, in the ledger, of arrays that predict writes.
void check_name(const NamedLoss& loss, const std::string& path) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  REQUIRE(!loss.name.empty() && std::ranges::all_of(loss.name, letter), Exit::deck, loss.position.text(),
          path + " is called " + toml_text(loss.name) + ", which is no name",
          "Names are letters, digits, _ and -; a loss that has none is called like its target.");
}

std::string read_loss(const DeckKey& key, const DeckNode& node, const std::string& path, NamedLoss& loss) {
  if (node.kind != DeckNode::Kind::table) wrong_value(key, node);
  refuse_unknown_options(path, node);
  loss.position = node.position;
  std::string canonical;
  for (const LossOption& option : loss_options()) {
    const DeckNode* child = node.find(option.name);
    if (child == nullptr) continue;
    const DeckValue value = read_option(option, path, *child);
    REQUIRE(!option.fits || option.fits(loss.spec.kind), Exit::deck, child->position.text(),
            path + "." + option.name + " has no meaning with the loss " +
                ops::loss_names()[static_cast<size_t>(loss.spec.kind)],
            "Leave it out.");
    option.set(loss, value);
    canonical += (canonical.empty() ? "" : ", ") + std::string(option.name) + " = " + value.canonical;
  }
  for (const char* needed : {"type", "from", "target"})
    REQUIRE(node.find(needed) != nullptr, Exit::deck, node.position.text(), path + " has no " + needed,
            "Write it as in { from = \"dense_2\", target = \"labels\", type = \"softmax_cross_entropy\" }.");
  if (loss.name.empty()) loss.name = loss.target;
  check_name(loss, path);
  return "{ " + canonical + " }";
}

[[noreturn]] void refuse(const DeckFacts& facts, const std::string& key, const std::string& what,
                         const std::string& hint) {
  fail(Exit::deck, facts.position(key).text(), what, hint);
}

void check_named_targets(const Deck& deck, const DeckFacts& facts, const std::string& path,
                         const data::SplitSpec& split) {
  std::vector<std::string> names;
  for (const auto& [name, place] : split.named_targets) names.push_back(name);
  if (names.empty())
    refuse(facts, path + ".targets",
           path +
               ".targets gives one target without a name, but there are losses "
               "that name theirs",
           "Write it as targets = { NAME = \"path\", ... }, with the names of model.losses.");
  for (const NamedLoss& loss : deck.losses)
    REQUIRE(std::ranges::count(names, loss.target) == 1, Exit::deck, loss.position.text(),
            "the loss \"" + loss.name + "\" compares with the target \"" + loss.target + "\", which " + path +
                ".targets does not name",
            "It names " + choices_text(names) + ".");
  for (const std::string& name : names)
    if (std::ranges::find(deck.losses, name, &NamedLoss::target) == deck.losses.end())
      refuse(facts, path + ".targets", path + ".targets names \"" + name + "\", which no loss compares with",
             "Name it as the target of a loss in model.losses, or leave it out.");
}

}  // namespace

DeckValue check_losses(const DeckKey& key, const DeckNode& node) {
  if (node.kind != DeckNode::Kind::list || node.children.empty()) wrong_value(key, node);
  DeckValue value;
  for (size_t i = 0; i < node.children.size(); ++i) {
    const std::string path = key.path + "[" + std::to_string(i) + "]";
    NamedLoss loss;
    const std::string text = read_loss(key, node.children[i], path, loss);
    REQUIRE(std::ranges::find(value.losses, loss.name, &NamedLoss::name) == value.losses.end(), Exit::deck,
            loss.position.text(), path + " is the second loss called \"" + loss.name + "\"",
            "Give it a name of its own: name = \"...\".");
    value.losses.push_back(std::move(loss));
    value.canonical += (i == 0 ? "" : ", ") + text;
  }
  value.canonical = "[" + value.canonical + "]";
  return value;
}

data::TargetRange target_range_of(ops::LossKind loss) {
  if (loss == ops::LossKind::poisson) return data::TargetRange::not_negative;
  if (loss == ops::LossKind::binary_hinge) return data::TargetRange::sign;
  return ops::takes_labels(loss) ? data::TargetRange::probability : data::TargetRange::any;
}

void derive_losses(Deck& deck) {
  for (NamedLoss& loss : deck.losses) {
    loss.spec.top = deck.loss.top;
    const bool classes = ops::takes_classes(loss.spec.kind);
    const bool numbers = !classes && loss.target_kind == data::TargetKind::automatic;
    deck.data.targets.push_back({loss.target,
                                 numbers ? data::TargetKind::values : loss.target_kind,
                                 loss.classes,
                                 classes,
                                 target_range_of(loss.spec.kind),
                                 {}});
  }
  if (!deck.losses.empty() && deck.evaluation.metric == "auto") deck.evaluation.metric = "loss";
}

void check_losses_fit(const Deck& deck, const DeckFacts& facts) {
  const std::pair<const char*, const std::optional<data::SplitSpec>*> splits[] = {
      {"data.train", &deck.data.train},
      {"data.validation", &deck.data.validation},
      {"data.test", &deck.data.test}};
  for (const auto& [path, split] : splits) {
    if (!*split) continue;
    if (!deck.losses.empty())
      check_named_targets(deck, facts, path, **split);
    else if (!(*split)->named_targets.empty())
      refuse(facts, std::string(path) + ".targets",
             std::string(path) + ".targets gives names, but no loss names its target",
             "Give model.losses, or one path.");
  }
  if (deck.losses.empty()) return;
  for (const char* key : {"model.loss", "model.label_smoothing", "model.class_weights", "model.huber_delta",
                          "model.focal_gamma", "model.focal_alpha", "model.dice_smooth", "data.target_kind",
                          "data.classes", "data.ignored_class", "model.onnx", "evaluation.metrics"})
    if (facts.given(key))
      refuse(facts, key, std::string(key) + " does not go with model.losses",
             "Leave it out; `lepton keys` says what each of several losses takes.");
  if (deck.evaluation.metric != "loss")
    refuse(facts, "evaluation.metric", "of several losses evaluation.metric is \"loss\", their weighted sum",
           "Leave it out.");
  if (facts.given("evaluation.top_k") && std::ranges::none_of(deck.losses, [](const NamedLoss& loss) {
        return ops::takes_classes(loss.spec.kind);
      }))
    refuse(facts, "evaluation.top_k", "evaluation.top_k is of classes, which none of model.losses takes",
           "Leave it out.");
  for (const NamedLoss& loss : deck.losses) {
    const bool labels =
        loss.target_kind == data::TargetKind::classes || loss.target_kind == data::TargetKind::one_hot;
    const bool classes = ops::takes_classes(loss.spec.kind);
    REQUIRE(loss.target_kind == data::TargetKind::automatic || labels == classes, Exit::deck,
            loss.position.text(),
            "the loss \"" + loss.name + "\" " + (classes ? "needs labels" : "compares numbers") +
                ", which its target_kind contradicts",
            "Leave target_kind out, or take another type.");
  }
}

}  // namespace lepton::train
