// SPDX-License-Identifier: Apache-2.0
// The commands of the program: what main.cpp calls after it has parsed the command line. Each returns an exit
// code or throws Error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "train/deck.h"

namespace lepton::comm {
class World;
}

namespace lepton::train {

struct Options {
  std::string target;               ///< the deck; for inspect and compare a path, for status either
  std::string other;                ///< compare: the second run
  std::vector<Override> overrides;  ///< --set
  bool json = false;
  bool where = false;     ///< status: only the run directory
  bool fresh = false;     ///< train
  int64_t max_steps = 0;  ///< train
  std::string from;  ///< train: start from another run's checkpoint; simulate: a run that has measured units
  bool accept_new_arithmetic = false;  ///< train
  std::string checkpoint;  ///< evaluate, predict: a checkpoint, run directory or model.safetensors; default:
                           ///< the deck's run
  std::string split;       ///< evaluate: "test" (default) | "validation" | "train"
  std::string cluster;     ///< simulate: the file that describes machines
  std::vector<int64_t> sizes;         ///< simulate: of jobs, in ranks; none: doubling up to the cluster
  int64_t simulated_steps = 0;        ///< simulate: 0: as many as take seconds
  std::string inputs, output;         ///< predict: FILE.h5:path -> FILE.h5; the first may be a glob; export
  std::vector<std::string> texts;     ///< prepare: files; with `labelled` one per class
  std::string tokens = "characters";  ///< prepare: "bytes" | "characters" | "words"
  bool labelled = false;              ///< prepare
  std::string graph;                  ///< prepare: an HDF5 file
  bool feature_shares = false;        ///< prepare: a node's features are divided by their sum
  int64_t vocabulary = 0;             ///< prepare: most words; 0: VocabularySpec's
  int64_t length = 0;                 ///< prepare: of labelled rows, in tokens; 0: the longest
  double validation = 0;              ///< prepare: share of a running text
  std::string prompt;                 ///< generate
  int64_t count = 200;                ///< generate: tokens
  double temperature = 1;             ///< generate: 0: always the most likely token
  int64_t top_k = 0;                  ///< generate: of so many most likely tokens; 0: of all
  uint64_t seed = 1;                  ///< generate
  int64_t opset = 17;                 ///< export
  bool normalize = false;             ///< export: inputs come as they are stored
  std::string version;                ///< export: of the program, for the file
};

/// **Collective** each, but inspect, status and compare, which need no MPI.
Exit train(const comm::World& world, const Options& options);
Exit evaluate(const comm::World& world, const Options& options);
Exit predict(const comm::World& world, const Options& options);
Exit prepare(const comm::World& world, const Options& options);
Exit generate(const comm::World& world, const Options& options);
/// Named so because `export` is a word of C++.
Exit export_model(const comm::World& world, const Options& options);
Exit check(const comm::World& world, const Options& options);
/// Rank 0 alone works.
Exit simulate(const comm::World& world, const Options& options);
Exit inspect(const Options& options);
Exit status(const Options& options);
Exit compare(const Options& options);

}  // namespace lepton::train
