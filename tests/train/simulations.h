// SPDX-License-Identifier: Apache-2.0
// For tests of simulate: a scratch directory that all ranks see, with a data set of 90 training rows and 10
// for tests, a deck of it, and a cluster file of six machines; on any number of ranks.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "storage/file.h"
#include "storage/hdf5.h"
#include "train/setup.h"
#include "train/simulate.h"

namespace lepton::train {

class Simulations : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/lepton_simulate_" +
                 testing::UnitTest::GetInstance()->current_test_info()->name();
    if (world_.rank() == 0) {
      constexpr storage::StoredType bytes{storage::StoredType::Kind::unsigned_integer, 1, false};
      std::filesystem::remove_all(directory_);
      std::filesystem::create_directories(directory_);
      storage::Hdf5Image image;
      const std::vector<std::byte> inputs(100 * 12), targets(100);
      image.add("x", bytes, {100, 12}, inputs);
      image.add("y", bytes, {100}, targets);
      storage::write_file_durably(directory_ + "/d.h5", image.pieces().joined(), "");
      std::ofstream(file("deck.toml"))
          << "[data]\nfile = \"d.h5\"\ntrain = { inputs = \"x\", targets = \"y\", rows = [0, 90] }\n"
             "test = { rows = [90, 100] }\nclasses = 10\n[model]\nlayers = [{ type = \"dense\", units = 10 "
             "}]\n"
             "[optimizer]\ntype = \"adam\"\n[train]\nepochs = 3\nbatch_size = 40\nunit_size = 2\n";
      std::ofstream(file("cluster.toml")) << cluster_text;
    }
    world_.barrier();
  }
  void TearDown() override {
    world_.barrier();
    if (world_.rank() == 0) std::filesystem::remove_all(directory_);
  }

  /// Five machines of two ranks with two threads each, and one half as fast.
  static constexpr const char* cluster_text =
      "[[nodes]]\ncount = 5\nranks = 2\nthreads = 2\nunit_ms = 10\nnoise = 0\n"
      "[[nodes]]\nranks = 2\nthreads = 2\nspeed = 0.5\nnoise = 0\n"
      "[network]\nlatency_us = 10\ngigabytes_per_second = 1\n";

  std::string file(const std::string& name) const { return directory_ + "/" + name; }
  Options options(const std::vector<Override>& overrides = {}) const {
    Options options;
    options.target = file("deck.toml");
    options.cluster = file("cluster.toml");
    options.overrides = overrides;
    return options;
  }

  comm::World world_;
  std::string directory_;
};

/// A deck with its data and its network. **Collective.**
struct LoadedDeck {
  LoadedDeck(const comm::World& world, const Options& options)
      : deck(load_deck(world, options)), dataset(world, deck.data), graph(graph_for(world, deck, dataset)) {}
  Deck deck;
  data::Dataset dataset;
  model::Graph graph;
};

}  // namespace lepton::train
