// SPDX-License-Identifier: Apache-2.0
// The table of deck keys as a whole, its own rows of [run], [train], [evaluation], [balance] and
// [checkpoint], and the reference that users read. See the header.
#include "train/deck_keys.h"

#include <iterator>

#include "storage/parity.h"

namespace lepton::train {

namespace {

using enum KeyClass;

std::vector<DeckKey> run_keys() {
  return {
      {"run.dir", KeyType::text, operational, "\"runs/lepton\"",
       "directory of the run, relative to the working directory",
       [](Deck& deck, const DeckValue& value) { deck.run.directory = value.text; }},
      {"run.seed", KeyType::integer, mathematical, "0",
       "of initial values, order, dropout and splits by fraction",
       [](Deck& deck, const DeckValue& value) {
         deck.run.seed = deck.data.seed = static_cast<uint64_t>(value.integer);
       },
       at_least(0)},
      {"run.isa",
       KeyType::choice,
       operational,
       "\"auto\"",
       "caps the instruction set, so that unlike machines give the same bits; avx512 keeps "
       "products in bf16 from AMX",
       [](Deck& deck, const DeckValue& value) { deck.run.isa = value.text; },
       {},
       {"auto", "avx2", "avx512"}},
      {"run.shm_dir", KeyType::text, operational, "\"/dev/shm\"",
       "where the memory shared by the ranks of a machine lies",
       [](Deck& deck, const DeckValue& value) { deck.run.shm_directory = value.text; }},
      {"run.others_may_write", KeyType::boolean, operational, "false",
       "use a run directory even if everybody can write into it",
       [](Deck& deck, const DeckValue& value) { deck.run.others_may_write = value.boolean; }},
      {"run.deadline", KeyType::duration, operational, "\"10min\"", "longest wait for another rank",
       [](Deck& deck, const DeckValue& value) { deck.run.deadline_s = value.number; }},
      {.path = "run.watchdog",
       .type = KeyType::duration,
       .key_class = operational,
       .standard = "\"auto\"",
       .sentence =
           "how long a rank may make no progress in a step before the job ends with 75; auto: 20 times the "
           "longest step so far, at least a minute",
       .set =
           [](Deck& deck, const DeckValue& value) {
             deck.run.watched = value.text != "off";
             deck.run.watchdog_s = value.number;
           },
       .choices = {"auto", "off"}},
      {"run.progress_every", KeyType::duration, operational, "\"10s\"",
       "time between progress lines where there is no terminal",
       [](Deck& deck, const DeckValue& value) { deck.run.progress_s = value.number; }},
  };
}

/// Of what stays in memory when processes die, and machines.
std::vector<DeckKey> survival_keys() {
  return {
      {"run.keep_state", KeyType::boolean, operational, "true",
       "whether the state stays in run.shm_dir when the processes die, so that a crash costs the step in "
       "flight",
       [](Deck& deck, const DeckValue& value) { deck.run.keep_state = value.boolean; }},
      {"run.redundancy",
       KeyType::integer,
       operational,
       "1",
       "machines of a group of up to 32 nodes that may be lost with all that they hold: parity of copies of "
       "the state lies on the others; 0: none",
       [](Deck& deck, const DeckValue& value) { deck.run.redundancy = static_cast<int>(value.integer); },
       {.least = 0, .most = 8}},
      {.path = "run.redundancy_every",
       .type = KeyType::interval_or_duration,
       .key_class = operational,
       .standard = "\"10s\"",
       .sentence =
           "when to make such a copy; by time: later where copies would cost more than a hundredth of it",
       .set =
           [](Deck& deck, const DeckValue& value) {
             deck.run.redundancy_s = value.interval.seconds;
             deck.run.redundancy_steps = value.interval.steps;
             deck.run.redundancy_epochs = value.interval.epochs;
           }},
  };
}

std::vector<DeckKey> train_keys() {
  return {
      {"train.epochs",
       KeyType::integer,
       operational,
       "1",
       "passes over the train split, counted from the beginning",
       [](Deck& deck, const DeckValue& value) { deck.train.epochs = value.integer; },
       {.least = 1, .most = 1e9}},
      {"train.max_steps",
       KeyType::integer,
       operational,
       "0",
       "end after so many steps, counted from the beginning, if train.epochs are longer; 0: train.epochs "
       "alone",
       [](Deck& deck, const DeckValue& value) { deck.train.max_steps = value.integer; },
       {.least = 0, .most = 1e15}},
      {"train.batch_size",
       KeyType::integer,
       mathematical,
       "32",
       "samples of one step, over all ranks",
       [](Deck& deck, const DeckValue& value) { deck.train.batch_size = value.integer; },
       {.least = 1, .most = 1e9}},
      {"train.unit_size",
       KeyType::integer,
       mathematical,
       "32",
       "samples of a work unit; batch_size where that is smaller and this is not given",
       [](Deck& deck, const DeckValue& value) { deck.train.unit_size = value.integer; },
       {.least = 1, .most = 1e9}},
      {"train.threads",
       KeyType::integer,
       operational,
       "0",
       "compute threads per rank; 0: this rank's share of the cores",
       [](Deck& deck, const DeckValue& value) { deck.train.threads = static_cast<int>(value.integer); },
       {.least = 0, .most = 4096}},
      {"train.on_non_finite",
       KeyType::choice,
       mathematical,
       "\"stop\"",
       "what Inf or NaN in a step does: end the run, or skip the step",
       [](Deck& deck, const DeckValue& value) {
         deck.train.on_non_finite = static_cast<OnNonFinite>(value.choice);
       },
       {},
       {"stop", "skip"}},
  };
}

/// Of [train] too.
std::vector<DeckKey> device_keys() {
  return {
      {"train.device",
       KeyType::choice,
       operational,
       "\"cpu\"",  // until tools/gpu_check has passed on a GPU; then auto
       "what ranks compute on: auto takes a GPU where there is one; debug tests the way of a GPU without one",
       [](Deck& deck, const DeckValue& value) {
         deck.train.device_is_automatic = value.text == "auto";
         deck.train.device = value.text == "cpu"     ? DeviceKind::cpu
                             : value.text == "debug" ? DeviceKind::debug
                                                     : DeviceKind::cuda;
       },
       {},
       {"auto", "cpu", "cuda", "debug"}},
      {"train.share_devices", KeyType::boolean, operational, "false",
       "whether ranks of a machine may share a device",
       [](Deck& deck, const DeckValue& value) { deck.train.share_devices = value.boolean; }},
      {"train.device_sums",
       KeyType::choice,
       operational,
       "\"auto\"",
       "how devices exchange sums and parameters between nodes: by NCCL, by an MPI that reaches device "
       "memory, or by MPI through the host; auto takes the first that can be (no effect without devices or "
       "with one node)",
       [](Deck& deck, const DeckValue& value) {
         deck.train.device_sums = static_cast<DeviceSums>(value.choice);
       },
       {},
       {"auto", "nccl", "mpi", "host"}},
  };
}

/// The choices, and behind them what an evaluation can count.
std::vector<std::string> with_metrics(std::vector<std::string> choices) {
  for (const char* name :
       {"precision", "recall", "f1", "macro_precision", "macro_recall", "macro_f1", "mean_iou", "auc"})
    choices.emplace_back(name);
  return choices;
}

std::vector<DeckKey> evaluation_keys() {
  return {
      {"evaluation.every", KeyType::interval, operational, "\"1 epoch\"",
       "when to evaluate the validation and test splits",
       [](Deck& deck, const DeckValue& value) {
         deck.evaluation.every_epochs = value.interval.epochs;
         deck.evaluation.every_steps = value.interval.steps;
       }},
      {"evaluation.metric",
       KeyType::choice,
       operational,
       "\"auto\"",
       "what decides which model is best: auto is accuracy for classes, mae for mae, else rmse; metrics has "
       "it too then",
       [](Deck& deck, const DeckValue& value) { deck.evaluation.metric = value.text; },
       {},
       with_metrics({"auto", "loss", "accuracy", "mae", "rmse"})},
      {.path = "evaluation.metrics",
       .type = KeyType::names,
       .key_class = operational,
       .standard = "[]",
       .sentence =
           "further figures of evaluations, from exact counts: precision, recall and f1 of class 1 where "
           "there are two, macro_ means over the classes that occur, mean_iou likewise; auc, of two classes: "
           "the area under the ROC curve of scores cut to 16 bits",
       .set = [](Deck& deck, const DeckValue& value) { deck.evaluation.metrics = value.texts; },
       .choices = with_metrics({})},
      {"evaluation.top_k",
       KeyType::integer,
       operational,
       "5",
       "among how many of the largest scores the class must be for the figure topK (losses that take class "
       "labels)",
       [](Deck& deck, const DeckValue& value) { deck.loss.top = value.integer; },
       {.least = 1, .most = 1e6}},
      {"evaluation.patience",
       KeyType::integer,
       operational,
       "0",
       "stop after so many evaluations without improvement; 0: never",
       [](Deck& deck, const DeckValue& value) { deck.evaluation.patience = value.integer; },
       {.least = 0, .most = 1e9}},
      {"evaluation.min_improvement", KeyType::number, operational, "0",
       "a smaller change of the metric is no improvement",
       [](Deck& deck, const DeckValue& value) { deck.evaluation.min_improvement = value.number; },
       at_least(0)},
      {"evaluation.keep_best", KeyType::boolean, operational, "true",
       "keep the model of the best evaluation as best.safetensors",
       [](Deck& deck, const DeckValue& value) { deck.evaluation.keep_best = value.boolean; }},
  };
}

std::vector<DeckKey> balance_keys() {
  return {
      {.path = "balance.policy",
       .type = KeyType::choice,
       .key_class = operational,
       .standard = "\"steal\"",
       .sentence = "how units are shared out, within a class: by threads, by the speeds of the last steps, "
                   "or so and with units "
                   "that move from late nodes to early ones",
       .set =
           [](Deck& deck, const DeckValue& value) {
             deck.balance.policy = static_cast<balance::Policy>(value.choice);
           },
       .choices = {"static", "proportional", "steal"}},
      {"balance.classes",
       KeyType::choice,
       operational,
       "\"refuse\"",
       "what to do with ranks that compute differently: refuse them, give each class its fixed share of "
       "units "
       "(the same bits for the same shares), or let units go anywhere (the bits may differ)",
       [](Deck& deck, const DeckValue& value) {
         deck.balance.classes = static_cast<ClassPolicy>(value.choice);
       },
       {},
       {"refuse", "fixed", "free"}},
      {"balance.shares", KeyType::shares, operational, "",
       "units for each class of ranks, named as run.json and the refusal show it, or by how that begins "
       "(classes = \"fixed\")",
       [](Deck& deck, const DeckValue& value) {
         for (const auto& [units, name] : value.shares) deck.balance.shares.push_back({units, name});
       }},
      {.path = "balance.record_every",
       .type = KeyType::interval_or_duration,
       .key_class = operational,
       .standard = "\"10s\"",
       .sentence =
           "when metrics.jsonl gets a line of kind balance besides the end: units and speeds of all nodes",
       .set =
           [](Deck& deck, const DeckValue& value) {
             deck.balance.record_every_s = value.interval.seconds;
             deck.balance.record_every_steps = value.interval.steps;
             deck.balance.record_every_epochs = value.interval.epochs;
           }},
  };
}

std::vector<DeckKey> checkpoint_keys() {
  return {
      {.path = "checkpoint.every",
       .type = KeyType::interval_or_duration,
       .key_class = operational,
       .standard = "\"60s\"",
       .sentence = "when to write a checkpoint besides the end; auto: by the time that writing takes and how "
                   "often the "
                   "run has failed",
       .set =
           [](Deck& deck, const DeckValue& value) {
             deck.checkpoint.every_s = value.interval.seconds;
             deck.checkpoint.every_steps = value.interval.steps;
             deck.checkpoint.every_epochs = value.interval.epochs;
             deck.checkpoint.automatic = value.text == "auto";
           },
       .choices = {"auto"}},
      {"checkpoint.keep",
       KeyType::integer,
       operational,
       "3",
       "checkpoints that are kept, the newest ones",
       [](Deck& deck, const DeckValue& value) { deck.checkpoint.keep = static_cast<int>(value.integer); },
       {.least = 1, .most = 1e6}},
      {"checkpoint.parity",
       KeyType::integer,
       operational,
       "2",
       "parity blocks written for each 16 blocks (64 KiB) of a checkpoint's files, so that as many damaged "
       "ones "
       "of the 16 heal; 0: none",
       [](Deck& deck, const DeckValue& value) { deck.checkpoint.parity = static_cast<int>(value.integer); },
       {.least = 0, .most = storage::parity_blocks_max}},
  };
}

std::vector<DeckKey> make_table() {
  std::vector<DeckKey> table;
  for (std::vector<DeckKey> rows : {run_keys(), survival_keys(), data_keys(), model_keys(), train_keys(),
                                    device_keys(), evaluation_keys(), balance_keys(), checkpoint_keys()})
    table.insert(table.end(), std::make_move_iterator(rows.begin()), std::make_move_iterator(rows.end()));
  return table;
}

}  // namespace

const std::vector<DeckKey>& deck_keys() {
  static const std::vector<DeckKey> table = make_table();
  return table;
}

const DeckKey* find_deck_key(const std::string& path) {
  for (const DeckKey& key : deck_keys())
    if (key.path == path) return &key;
  return nullptr;
}

std::string key_reference() {
  std::string text, table;
  for (const DeckKey& key : deck_keys()) {
    if (key.table() != table) {
      text += (table.empty() ? "[" : "\n[") + key.table() + "]\n";
      table = key.table();
    }
    const std::string standard = key.required           ? "required"
                                 : key.standard.empty() ? "absent by default"
                                                        : "default " + key.standard;
    text += "    " + key.name() + " = " + expectation(key) + " (" + standard + ", " +
            (key.key_class == mathematical ? "mathematical" : "operational") + "): " + key.sentence + "\n";
  }
  return text;
}

}  // namespace lepton::train
