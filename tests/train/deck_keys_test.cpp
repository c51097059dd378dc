// SPDX-License-Identifier: Apache-2.0
// Every key of the table arrives in its specification: setting it changes a dump of all fields, so that no
// key is parsed and ignored; its default is what the smallest deck has; its class is the map it stands in.
#include "train/deck_keys.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

void dump(std::ostream& out, const std::optional<data::SplitSpec>& split) {
  if (!split) {
    out << "absent;";
    return;
  }
  for (const data::InputArrays& input : split->inputs)
    out << input.name << '=' << input.values << '|' << input.lengths << '|' << input.offsets << ',';
  out << ';' << split->targets << ';';
  for (const std::string& file : split->files) out << file << ',';
  if (split->rows) out << split->rows->first << '-' << split->rows->second;
  out << ';' << split->fraction.value_or(-1) << ';' << split->indices << ';' << split->mask << ';';
}

/// All fields that decks fill, apart from the maps and texts made from the table itself.
std::string dump(const Deck& d) {
  std::ostringstream out;
  out << d.run.directory << ';' << d.run.seed << ';' << d.run.isa << ';' << d.run.shm_directory << ';'
      << d.run.deadline_s << ';' << d.run.watched << d.run.keep_state << ';' << d.run.others_may_write << ';'
      << d.run.watchdog_s << ';' << d.run.progress_s << ';' << d.run.redundancy << ';' << d.run.redundancy_s
      << ';' << d.run.redundancy_steps << ';' << d.run.redundancy_epochs << ';';
  for (const auto* split : {&d.data.train, &d.data.validation, &d.data.test}) dump(out, *split);
  for (const data::InputSpec& input : d.data.inputs)
    out << input.name << int(input.layout.value_or(data::ImageLayout::automatic))
        << int(input.normalisation.value_or(data::Normalisation::none)) << ';';
  out << d.data.length << ' ' << d.data.transforms.size() << ';';
  out << int(d.data.layout) << int(d.data.target_kind) << d.data.classes << ';'
      << d.data.ignored_class.value_or(-7) << ';' << d.data.sequence << ';' << d.data.sequence_stride << ';'
      << int(d.data.normalisation) << int(d.data.shuffle) << ';' << d.data.shuffle_window << ';'
      << d.data.shuffle_block << ';' << int(d.data.bad_rows) << d.data.needs_classes << ';' << d.model.outputs
      << ';' << d.model.l2 << ';' << d.model.layers.size()
      << (d.model.layers.empty() ? "" : d.model.layers.front().type) << ';' << d.network.path << ';'
      << d.network.initialise << ';' << d.network.frozen.size() << ';' << int(d.loss.kind) << int(d.precision)
      << ';' << d.loss.label_smoothing << ';' << d.loss.huber_delta << ';' << d.loss.focal_gamma << ';'
      << d.loss.focal_alpha << ';' << d.loss.dice_smooth << ';' << d.loss.top << ';';
  for (const double weight : d.class_weights) out << weight << ',';
  for (const NamedLoss& loss : d.losses)
    out << loss.name << loss.from << int(loss.spec.kind) << loss.weight << ',';
  for (const std::string& metric : d.evaluation.metrics) out << metric << ',';
  out << d.adjacency << ';' << d.weights.file << ';' << d.weights.initialise_missing
      << d.weights.ignore_unexpected << ';';
  for (const auto& [from, to] : d.weights.rename) out << from << " -> " << to << ';';
  const optim::OptimizerSpec& o = d.optimizer;
  out << int(o.rule) << o.learning_rate << ';' << o.momentum << o.nesterov << ';' << o.beta1 << ';' << o.beta2
      << ';' << o.epsilon << ';' << o.weight_decay << ';' << o.clip_norm << ';' << o.clip_value << ';'
      << int(o.schedule.kind) << o.schedule.steps << ';' << o.schedule.warmup_steps << ';'
      << o.schedule.step_every << ';' << o.schedule.factor << ';' << o.schedule.power << ';'
      << o.schedule.final_factor << ';';
  out << d.train.epochs << ';' << d.train.max_steps << ';' << d.train.batch_size << ';' << d.train.unit_size
      << ';' << d.train.threads << ';' << int(d.train.device) << d.train.device_is_automatic
      << d.train.share_devices << int(d.train.device_sums) << ';' << int(d.train.on_non_finite) << ';'
      << d.evaluation.every_epochs << ';' << d.evaluation.every_steps << ';' << d.evaluation.metric << ';'
      << d.evaluation.patience << ';' << d.evaluation.min_improvement << ';' << d.evaluation.keep_best
      << int(d.balance.policy) << int(d.balance.classes) << ';';
  for (const ClassShare& share : d.balance.shares) out << share.units << ' ' << share.name << ';';
  out << d.balance.record_every_s << ';' << d.balance.record_every_steps << ';'
      << d.balance.record_every_epochs << ';';
  out << d.checkpoint.every_s << ';' << d.checkpoint.every_steps << ';' << d.checkpoint.every_epochs
      << d.checkpoint.automatic << ';' << d.checkpoint.keep << ';' << d.checkpoint.parity;
  return out.str();
}

/// A value other than the default, and what else must be set for the key to make sense.
struct Example {
  std::string value;
  std::vector<Override> beside = {};
  bool of_file = false;  ///< of a deck whose network is a file
};

Deck with_example(const Example& example, const std::vector<Override>& overrides) {
  return parse(example.of_file ? smallest_file_deck : smallest_deck, overrides);
}

using Examples = std::map<std::string, Example>;

const Override some_validation = {"data.validation", "{ inputs = \"v\", targets = \"w\" }"};

Examples data_examples() {
  const std::vector<Override> test = {{"data.test", "{ inputs = \"t\", targets = \"u\" }"}};
  const std::vector<Override> part = {{"data.test", "{ rows = [0, 5] }"}, {"data.train.rows", "[5, 9]"}};
  const std::vector<Override> valid = {{"data.validation", "{ inputs = \"v\", targets = \"w\" }"}};
  const std::vector<Override> part_v = {{"data.validation", "{ rows = [0, 5] }"},
                                        {"data.train.rows", "[5, 9]"}};
  const std::vector<Override> ragged = {{"data.train.lengths", "r"}, test[0], {"data.test.lengths", "a"}};
  const std::vector<Override> ragged_v = {
      {"data.train.lengths", "r"}, valid[0], {"data.validation.lengths", "a"}};
  const std::vector<Override> flat = {{"data.train.lengths", "r"}, test[0], {"data.test.offsets", "a"}};
  const std::vector<Override> flat_v = {
      {"data.train.lengths", "r"}, valid[0], {"data.validation.offsets", "a"}};
  return {
      {"data.file", {"e.h5"}},
      {"data.files", {"[\"e.h5\", \"f.h5\"]"}},
      {"data.layout", {"hwc"}},
      {"data.target_kind", {"one_hot"}},
      {"data.classes", {"12"}},
      {"data.ignored_class", {"-100"}},
      {"data.sequence", {"12"}},
      {"data.adjacency", {"graph"}},
      {"data.sequence_stride", {"3", {{"data.sequence", "12"}}}},
      {"data.normalize", {"unit"}},
      {"data.length", {"12", {{"data.train.lengths", "l"}}}},
      {"data.transforms", {"[{ type = \"log1p\" }]"}},
      {"data.inputs", {"{ input = { normalize = \"unit\" } }"}},
      {"data.bad_rows", {"skip"}},
      {"data.shuffle", {"none"}},
      {"data.shuffle_window", {"1024", {{"data.shuffle", "window"}}}},
      {"data.shuffle_block", {"64", {{"data.shuffle", "window"}}}},
      {"data.train.inputs", {"a"}},
      {"data.train.targets", {"b"}},
      {"data.train.lengths", {"l"}},
      {"data.train.offsets", {"o"}},
      {"data.train.file", {"g.h5"}},
      {"data.train.files", {"[\"g.h5\"]"}},
      {"data.train.rows", {"[0, 7]"}},
      {"data.train.fraction", {"0.5"}},
      {"data.train.indices", {"ids"}},
      {"data.train.mask", {"flags"}},
      {"data.validation.inputs", {"a", valid}},
      {"data.validation.targets", {"b", valid}},
      {"data.validation.lengths", {"l", ragged_v}},
      {"data.validation.offsets", {"o", flat_v}},
      {"data.validation.file", {"g.h5", valid}},
      {"data.validation.files", {"[\"g.h5\"]", valid}},
      {"data.validation.rows", {"[0, 4]", part_v}},
      {"data.validation.fraction", {"0.5", {{"data.train.fraction", "0.5"}}}},
      {"data.validation.indices", {"ids", {{"data.train.indices", "i"}}}},
      {"data.validation.mask", {"flags", {{"data.train.indices", "i"}}}},
      {"data.test.inputs", {"a", test}},
      {"data.test.targets", {"b", test}},
      {"data.test.lengths", {"l", ragged}},
      {"data.test.offsets", {"o", flat}},
      {"data.test.file", {"g.h5", test}},
      {"data.test.files", {"[\"g.h5\"]", test}},
      {"data.test.rows", {"[0, 4]", part}},
      {"data.test.fraction", {"0.5", {{"data.train.fraction", "0.5"}}}},
      {"data.test.indices", {"ids", {{"data.train.indices", "i"}}}},
      {"data.test.mask", {"flags", {{"data.train.indices", "i"}}}},
  };
}

Examples model_examples() {
  return {
      {"model.loss", {"mae"}},
      {"model.losses",
       {"[{ from = \"dense_1\", target = \"y\", type = \"mae\" }]",
        {{"data.train.targets", "{ y = \"y\" }"},
         {"model.losses", "[{ from = \"dense_1\", target = \"y\", type = \"mse\" }]"}}}},
      {"model.precision", {"bf16"}},
      {"model.label_smoothing", {"0.1"}},
      {"model.class_weights", {"[1, 0.5]"}},
      {"model.focal_gamma", {"1", {{"model.loss", "softmax_focal"}}}},
      {"model.focal_alpha", {"0.5", {{"model.loss", "binary_focal"}}}},
      {"model.dice_smooth", {"2", {{"model.loss", "binary_dice"}}}},
      {"model.huber_delta", {"2", {{"model.loss", "huber"}}}},
      {"model.l2", {"1e-4"}},
      {"model.weights", {"w.safetensors"}},
      {"model.weights_missing", {"initialise", {{"model.weights", "w.safetensors"}}}},
      {"model.weights_unexpected", {"ignore", {{"model.weights", "w.safetensors"}}}},
      {"model.weights_rename", {"[\"a. -> b.\"]", {{"model.weights", "w.safetensors"}}}},
      {"model.layers", {"[{ type = \"flatten\" }, { type = \"dense\", units = 10 }]"}},
      {"model.onnx", {"other.onnx", {}, true}},
      {"model.onnx_weights", {"initialise", {}, true}},
      {"model.onnx_frozen", {"[\"features.\"]", {}, true}},
  };
}

Examples other_examples() {
  const std::vector<Override> valid = {some_validation};
  return {
      {"run.dir", {"there"}},
      {"run.seed", {"5"}},
      {"run.isa", {"avx2"}},
      {"run.shm_dir", {"/tmp"}},
      {"run.deadline", {"5s"}},
      {"run.progress_every", {"1min"}},
      {"run.watchdog", {"30s"}},
      {"run.keep_state", {"false"}},
      {"run.redundancy", {"3"}},
      {"run.redundancy_every", {"2 epochs"}},
      {"run.others_may_write", {"true"}},
      {"optimizer.type", {"adamw"}},
      {"optimizer.learning_rate", {"1"}},
      {"optimizer.momentum", {"0.9", {{"optimizer.type", "sgd"}}}},
      {"optimizer.nesterov", {"true", {{"optimizer.type", "sgd"}, {"optimizer.momentum", "0.9"}}}},
      {"optimizer.beta1", {"0.8"}},
      {"optimizer.beta2", {"0.99"}},
      {"optimizer.epsilon", {"1e-6"}},
      {"optimizer.weight_decay", {"1e-4"}},
      {"optimizer.clip_norm", {"5"}},
      {"optimizer.clip_value", {"5"}},
      {"schedule.type", {"cosine"}},
      {"schedule.steps", {"100", {{"schedule.type", "cosine"}}}},
      {"schedule.warmup_steps", {"10"}},
      {"schedule.every", {"20", {{"schedule.type", "step"}, {"schedule.every", "10"}}}},
      {"schedule.factor", {"0.5", {{"schedule.type", "step"}, {"schedule.every", "10"}}}},
      {"schedule.power", {"2", {{"schedule.type", "polynomial"}}}},
      {"schedule.final_factor", {"0.1", {{"schedule.type", "cosine"}}}},
      {"train.epochs", {"3"}},
      {"train.max_steps", {"9"}},
      {"train.batch_size", {"64"}},
      {"train.unit_size", {"16"}},
      {"train.threads", {"2"}},
      {"train.device", {"debug"}},
      {"train.share_devices", {"true"}},
      {"train.device_sums", {"mpi"}},
      {"train.on_non_finite", {"skip"}},
      {"evaluation.every", {"10 steps"}},
      {"evaluation.metric", {"loss"}},
      {"evaluation.metrics", {"[\"f1\", \"auc\"]"}},
      {"evaluation.top_k", {"3"}},
      {"evaluation.patience", {"3", valid}},
      {"evaluation.min_improvement", {"0.1", {valid[0], {"evaluation.patience", "3"}}}},
      {"evaluation.keep_best", {"false"}},
      {"balance.policy", {"static"}},
      {"balance.classes", {"free"}},
      {"balance.shares",
       {"[\"8 cuda\", \"1 cpu avx2\"]", {{"balance.classes", "fixed"}, {"balance.shares", "[\"1 cpu\"]"}}}},
      {"balance.record_every", {"3 steps"}},
      {"checkpoint.every", {"2 epochs"}},
      {"checkpoint.keep", {"7"}},
      {"checkpoint.parity", {"8"}},
  };
}

const Examples& examples() {
  static const Examples table = [] {
    Examples all = data_examples();
    all.merge(other_examples());
    all.merge(model_examples());
    return all;
  }();
  return table;
}

TEST(DeckKeys, EveryKeyArrivesInItsSpecification) {
  for (const DeckKey& key : deck_keys()) {
    const auto example = examples().find(key.path);
    ASSERT_NE(example, examples().end()) << key.path << " has no example in this test";
    const std::string before = dump(with_example(example->second, example->second.beside));
    std::vector<Override> overrides = example->second.beside;
    overrides.push_back({key.path, example->second.value});
    EXPECT_NE(dump(with_example(example->second, overrides)), before) << key.path << " is parsed and ignored";
  }
  EXPECT_EQ(examples().size(), deck_keys().size());
}

TEST(DeckKeys, EveryKeyStandsInTheMapOfItsClass) {
  for (const DeckKey& key : deck_keys()) {
    const Example& example = examples().at(key.path);
    const Deck before = with_example(example, example.beside);
    std::vector<Override> overrides = example.beside;
    overrides.push_back({key.path, example.value});
    const Deck after = with_example(example, overrides);
    const bool mathematical = key.key_class == KeyClass::mathematical;
    EXPECT_EQ(after.mathematical != before.mathematical, mathematical) << key.path;
    if (!mathematical) {
      EXPECT_NE(after.operational, before.operational) << key.path;
    }
  }
}

TEST(DeckKeys, DefaultsOfTheTableAreThoseOfTheSpecifications) {
  Deck plain;
  plain.data.train.emplace();
  plain.data.train->inputs = {{"input", "x"}};
  plain.data.train->targets = "y";
  plain.data.train->files = {"decks/d.h5"};
  plain.data.needs_classes = true;
  plain.model.layers.resize(1);
  plain.model.layers[0].type = "dense";
  EXPECT_EQ(dump(with({})), dump(plain));
}

TEST(DeckKeys, TheTableIsInOrder) {
  std::set<std::string> tables, paths;
  std::string last;
  for (const DeckKey& key : deck_keys()) {
    EXPECT_TRUE(paths.insert(key.path).second) << key.path << " twice";
    EXPECT_FALSE(key.sentence.empty()) << key.path;
    if (key.table() != last) {
      EXPECT_TRUE(tables.insert(key.table()).second) << key.table() << " in two places";
    }
    last = key.table();
    if (!key.standard.empty()) {
      EXPECT_NO_THROW(check_value(key, parse_deck_value(key.standard, {}))) << key.path;
    }
  }
}

TEST(DeckKeys, FindsKeys) {
  EXPECT_EQ(find_deck_key("train.epochs")->name(), "epochs");
  EXPECT_EQ(find_deck_key("data.train.rows")->table(), "data.train");
  EXPECT_EQ(find_deck_key("train"), nullptr);
}

TEST(DeckKeys, TheReferenceNamesEveryKey) {
  const std::string reference = key_reference();
  for (const DeckKey& key : deck_keys()) {
    EXPECT_NE(reference.find("    " + key.name() + " = "), std::string::npos) << key.path;
    EXPECT_NE(reference.find("[" + key.table() + "]\n"), std::string::npos) << key.path;
    EXPECT_NE(reference.find(key.sentence), std::string::npos) << key.path;
  }
  EXPECT_NE(reference.find("epochs = an integer from 1 to 1000000000 (default 1, operational)"),
            std::string::npos)
      << reference;
}

}  // namespace
}  // namespace lepton::train
