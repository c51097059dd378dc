// SPDX-License-Identifier: Apache-2.0
// What stands about a run beside its checkpoints, each file rewritten whole by rename:
// identity.json: what the run is, from its first start on, so that a start before the first checkpoint is
// compared like any other. Its checksum is verified: it decides whether a start is refused.
// run.json: the history that must not enter the state: starts with times, ranks, nodes, arithmetic class and
// operational keys, and the parentage of --from. It decides nothing.
// **Rank 0 only**, but for the text of an identity.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/layout.h"

namespace lepton::train {

/// The state from which a run began with --from; all "" when it began from initial values.
struct Parent {
  std::string path;           ///< as given, absolute
  std::string checkpoint;     ///< the one that was read, absolute
  std::string manifest_hash;  ///< of its manifest, which holds the hashes of all its bytes

  bool operator==(const Parent&) const = default;
};

/// What a run began with in place of initial values; all "" where there was no such file.
struct InitialWeights {
  std::string path;             ///< of the file, absolute
  std::string parameters_hash;  ///< of the whole initial state, as `inspect` tells it of models

  bool operator==(const InitialWeights&) const = default;
};

struct RunIdentity {
  checkpoint::Identity identity;
  int64_t schedule_steps = 0;  ///< resolved at the first start
  Parent parent;
  InitialWeights weights = {};

  std::string encode() const;  ///< JSON, deterministic
  /// Throws Error(data) naming `path` unless the text is as encode() made it.
  static RunIdentity decode(const std::string& text, const std::string& path);
  bool operator==(const RunIdentity&) const = default;
};

/// Nothing before the first start. Throws Error(data) where the file is damaged.
std::optional<RunIdentity> read_identity(const std::string& run_directory);
void write_identity(const std::string& run_directory, const RunIdentity& identity);

struct StartRecord {
  int ranks = 1, nodes = 1;
  int64_t step = 0;  ///< of the state it starts from
  std::string arithmetic_class, parent;
  std::vector<std::string> classes;  ///< of its ranks, each once
  std::map<std::string, std::string> operational;
  std::vector<std::string> healed = {};  ///< "step-00000018/state.bin: what was wrong"
};

/// Starts recorded so far.
int64_t count_starts(const std::string& run_directory);
/// What the starts so far say of the machines: how many ended without saying so, or with an error of the
/// machine (74), and in how long since the first one began.
struct FailureHistory {
  int64_t failures = 0;
  double observed_s = 0;
};
FailureHistory failure_history(const std::string& run_directory);
/// What the starts so far have healed, each with its time in front.
std::vector<std::string> healing_history(const std::string& run_directory);
/// Appends a start with the present time; notes changed operational keys against the last start in the log.
/// The parent that was recorded first stays.
void record_start(const std::string& run_directory, const StartRecord& start);
/// Completes the last record: time, step, exit code.
void record_end(const std::string& run_directory, int64_t step, int exit_code);

}  // namespace lepton::train
