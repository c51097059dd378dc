// SPDX-License-Identifier: Apache-2.0
// Deck: the TOML file that describes a run, validated whole before anything is touched, as the modules' own
// specifications with source positions. One table (deck_keys.cpp) names every key with type, range, default,
// mathematical or operational, and a sentence; validation, defaults, help, reference and the fingerprint of
// the mathematics are made from it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "balance/planner.h"
#include "data/spec.h"
#include "model/spec.h"
#include "ops/loss.h"
#include "ops/precision.h"
#include "optim/spec.h"
#include "tensor/device.h"

namespace lepton::train {

struct RunSpec {
  std::string directory = "runs/lepton";  ///< relative to the working directory
  uint64_t seed = 0;
  std::string isa = "auto";  ///< auto | avx2 | avx512
  std::string shm_directory = "/dev/shm";
  bool others_may_write = false;  ///< into the directory
  bool keep_state = true;         ///< in shm_directory, when the processes die
  int redundancy = 1;             ///< nodes that may be lost
  double redundancy_s = 10;       ///< between copies of the state; or, where one is not 0,
  int64_t redundancy_steps = 0, redundancy_epochs = 0;
  double deadline_s = 600;  ///< of every wait for another rank
  bool watched = true;      ///< threads that make no progress end the job
  double watchdog_s = 0;    ///< after so long; 0: as steps are measured
  double progress_s = 10;   ///< between plain progress lines
};

/// Initial weights from a file; read when a run begins, not when it goes on.
struct WeightsSpec {
  std::string file;  ///< "": none
  bool initialise_missing = false, ignore_unexpected = false;
  /// Beginnings of names in the file and what stands for them in the network; the first that fits counts.
  std::vector<std::pair<std::string, std::string>> rename;
};

enum class OnNonFinite { stop, skip };

/// How devices exchange sums and parameters between nodes.
enum class DeviceSums {
  automatic,  ///< the first of the others that can be
  nccl,
  mpi,  ///< on device memory
  host  ///< by MPI from the host's copy
};

struct TrainSpec {
  int64_t epochs = 1;
  int64_t batch_size = 32, unit_size = 32;
  int threads = 0;  ///< per rank; 0: this rank's share of the cores
  DeviceKind device = DeviceKind::cpu;
  bool device_is_automatic = false;  ///< without one the rank computes on the CPU
  bool share_devices = false;
  DeviceSums device_sums = DeviceSums::automatic;
  OnNonFinite on_non_finite = OnNonFinite::stop;
  int64_t max_steps = 0;  ///< or --max-steps; 0: none
};

/// When and on what to evaluate during training, and what follows from it.
struct EvaluationSpec {
  int64_t every_epochs = 1, every_steps = 0;  ///< one of them; 0 0: only at the end
  /// "loss" | "accuracy" | "mae" | "rmse" | one of metrics; "auto" is resolved by loss kind
  std::string metric = "accuracy";
  std::vector<std::string> metrics;  ///< further figures, by name
  int64_t patience = 0;  ///< early stopping after so many evaluations without improvement; 0: never
  double min_improvement = 0;
  bool keep_best = true;  ///< best.safetensors, when there is a validation (or test) split
};

/// What a job does whose ranks compute differently (train/classes.h).
enum class ClassPolicy { refuse, fixed, free };

/// So many of each sum(units) units are for ranks whose class begins with `name`.
struct ClassShare {
  int64_t units = 1;
  std::string name;
};

struct BalanceSpec {
  balance::Policy policy = balance::Policy::steal;
  /// Between two lines of kind balance in metrics.jsonl: seconds, or training steps.
  double record_every_s = 10;
  int64_t record_every_steps = 0, record_every_epochs = 0;
  ClassPolicy classes = ClassPolicy::refuse;
  std::vector<ClassShare> shares;  ///< of ClassPolicy::fixed
};

struct CheckpointSpec {
  double every_s = 60;  ///< one of the three at most is > 0
  int64_t every_steps = 0, every_epochs = 0;
  bool automatic =
      false;  ///< by what writing takes and how often the run failed; else with three 0: at the end
  int keep = 3;
  int parity = 2;  ///< blocks per stripe
};

/// A network that an ONNX file holds, instead of layers.
struct NetworkFile {
  std::string path;         ///< "": the deck has layers
  bool initialise = false;  ///< its weights are left aside
  /// Beginnings of names of its tensors that stay as they are.
  std::vector<std::string> frozen;
};

/// One of several losses: of a layer's output, with a target of its own. The sum of their means, each times
/// its weight, is what training makes small.
struct NamedLoss {
  std::string name, from, target;
  ops::LossSpec spec;
  double weight = 1;
  data::TargetKind target_kind = data::TargetKind::automatic;
  int64_t classes = 0;
  SourcePosition position;
};

struct Deck {
  std::string path;
  RunSpec run;
  data::DataSpec data;
  model::ModelSpec model;
  WeightsSpec weights;
  std::string adjacency;  ///< path of the graph's matrix in the train split's first file; "": there is none
  NetworkFile network;
  ops::Precision precision = ops::Precision::fp32;
  ops::LossSpec loss;
  std::vector<double> class_weights;  ///< of the loss; empty: all 1
  std::vector<NamedLoss> losses;      ///< several, instead of the loss; empty: it is the only one
  optim::OptimizerSpec optimizer;
  TrainSpec train;
  EvaluationSpec evaluation;
  BalanceSpec balance;
  CheckpointSpec checkpoint;

  /// Canonical "key -> value" of every mathematical key (layers included), defaults filled in: kept in
  /// checkpoints and compared at a restart. Excludes what only says where a run ends (epochs, max_steps,
  /// early stopping) and all that is operational.
  std::map<std::string, std::string> mathematical;
  /// The same for operational keys: changes are noted in the log.
  std::map<std::string, std::string> operational;
  std::string resolved;  ///< the deck as resolved, TOML, for the run directory: all keys, files absolute
  std::vector<std::string> warnings;  ///< whole sentences, for rank 0 to log

  std::map<std::string, SourcePosition> positions;  ///< of the keys that the deck gives
  /// "file:line:column" of a key's value, for errors that only data or machine show; else the deck.
  std::string place(const std::string& key) const;
};

/// One `--set key=value`; value in TOML syntax, a bare word is taken as a string. A path given so is relative
/// to the working directory.
struct Override {
  std::string key, value;
};

/// **Local.** Parses and validates. Throws Error(deck) with file, line, column, key and the nearest
/// valid name for everything else. `text` is the file's content (setup.h reads it).
Deck parse_deck(const std::string& path, const std::string& text, const std::vector<Override>& overrides);

/// Settles schedule.steps where a cosine or polynomial schedule leaves it open (0): what the run recorded at
/// its first start, else (recorded_steps 0) epochs x steps_per_epoch. Writes it to the specification, to
/// `mathematical` and to `resolved`. Called by train once the dataset is known, before keys are compared.
/// Throws Error(deck) where the warm-up takes all of it.
void resolve_schedule_steps(Deck& deck, int64_t steps_per_epoch, int64_t recorded_steps = 0);

/// The reference of all keys, grouped by table, made from the table of keys.
std::string key_reference();

}  // namespace lepton::train
