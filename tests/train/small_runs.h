// SPDX-License-Identifier: Apache-2.0
// For MPI tests of train: a scratch directory that all ranks see, with a small data set (four classes by the
// brighter quadrant of 6 x 6 images, also one-hot, and a regression with binary targets beside it) and decks
// of dense, convolutional and branched networks; whole trainings in this process on worlds cut into nodes as
// the test likes.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/philox.h"
#include "base/stop.h"
#include "comm/world.h"
#include "ops/table.h"
#include "scratch.h"
#include "storage/hdf5.h"
#include "train/commands.h"

namespace lepton::train {

inline const char* const dense_layers =
    "[{ type = \"flatten\" }, { type = \"dense\", units = 16, activation = \"relu\" }, "
    "{ type = \"dense\", units = 4 }]";
inline const char* const wide_layers =  // a thread has several units in hand
    "[{ type = \"flatten\" }, { type = \"dense\", units = 600, activation = \"relu\" }, "
    "{ type = \"dense\", units = 600, activation = \"relu\" }, { type = \"dense\", units = 4 }]";
inline const char* const conv_layers =
    "[{ type = \"conv2d\", filters = 8, kernel = 3, padding = \"same\", bias = false }, { type = "
    "\"batch_norm\" }, "
    "{ type = \"relu\" }, { type = \"max_pool2d\", size = 2 }, { type = \"flatten\" }, "
    "{ type = \"dropout\", rate = 0.25 }, { type = \"dense\", units = 4 }]";

inline const char* const several_layers =
    "[{ type = \"flatten\" }, { type = \"dense\", units = 16, activation = \"relu\", name = \"stem\" }, "
    "{ type = \"dense\", units = 4, name = \"quadrant\" }, "
    "{ type = \"dense\", units = 4, from = \"stem\", name = \"hot\" }]";
inline const char* const graph_layers =  // no chain: shared and frozen weights, frozen running statistics
    "[{ type = \"flatten\" }, { type = \"dense\", units = 16, activation = \"relu\", name = \"stem\" }, "
    "{ type = \"dense\", units = 16, activation = \"tanh\", name = \"a\" }, "
    "{ type = \"dense\", units = 16, weights_of = \"a\", name = \"b\" }, "
    "{ type = \"batch_norm\", frozen = true, name = \"held\" }, "
    "{ type = \"dense\", units = 16, frozen = true, from = \"stem\", name = \"kept\" }, "
    "{ type = \"add\", from = [\"held\", \"kept\", \"a\", \"stem\"] }, { type = \"batch_norm\" }, "
    "{ type = \"dense\", units = 4, name = \"head\" }]";

constexpr int64_t train_rows = 150, validation_rows = 40, test_rows = 50;

/// Caps the instruction set before any test of this program plans an op, as the commands do.
class CapFirst : public testing::Environment {
  void SetUp() override { ops::cap_instruction_set("auto"); }
};
inline testing::Environment* const cap_first = testing::AddGlobalTestEnvironment(new CapFirst);

class SmallRuns {
 public:
  /// **Collective.** Like the destructor.
  SmallRuns() : world_(60, 1000) {
    start_log(1, 1);  // warnings only
    clear_stop();
    std::string path = testing::TempDir() + "lepton-small-runs-" + std::to_string(getpid());
    world_.broadcast(path);
    path_ = path;
    if (world_.rank() == 0) {
      scratch_ = std::make_unique<Scratch>(path);
      std::filesystem::create_directories(path + "/shm");
      write_data();
      write_deck("dense.toml", dense_layers, "type = \"adam\"\nlearning_rate = 0.01\n");
      write_deck("wide.toml", wide_layers, "type = \"adam\"\n");
      write_deck("conv.toml", conv_layers,
                 "type = \"sgd\"\nlearning_rate = 0.1\nmomentum = 0.9\nweight_decay = 1e-4\n");
      write_deck("graph.toml", graph_layers, "type = \"adamw\"\nlearning_rate = 0.01\nweight_decay = 0.1\n");
      write_regression_deck();
      write_several_deck();
    }
    world_.barrier();
  }
  ~SmallRuns() { world_.barrier(); }

  const comm::World& world() const { return world_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  /// What `train` is called with: dense.toml, wide.toml, conv.toml, graph.toml, regression.toml or
  /// several.toml, into run directory `run`.
  Options options(const std::string& deck, const std::string& run,
                  std::vector<Override> overrides = {}) const {
    Options options;
    options.target = file(deck);
    // What a failed run leaves in shared memory goes with the directory.
    options.overrides = {{"run.dir", "\"" + file(run) + "\""}, {"run.shm_dir", "\"" + file("shm") + "\""}};
    options.overrides.insert(options.overrides.end(), overrides.begin(), overrides.end());
    return options;
  }
  /// **Collective.** Trains on nodes of so many ranks. Errors pass through; all ranks wait for each other
  /// after it.
  Exit train(const Options& options, int ranks_per_node = 1000) const {
    const comm::World world(60, ranks_per_node);
    const Exit exit = lepton::train::train(world, options);
    world.barrier();
    return exit;
  }
  /// **Collective.** The code with which it ends, thrown or returned, after the check that all ranks end with
  /// the same one.
  int code_of(const Options& options, std::string* message = nullptr, int ranks_per_node = 1000) const {
    int code = 0;
    try {
      code = static_cast<int>(train(options, ranks_per_node));
    } catch (const Error& error) {
      code = static_cast<int>(error.code());
      if (message) *message = error.what();
    }
    std::vector<int64_t> codes{code, -code};
    world_.all_max(codes);
    EXPECT_EQ(codes[0], code);
    EXPECT_EQ(-codes[1], code);
    return code;
  }
  std::string ledger(const std::string& run) const { return read_text(file(run) + "/ledger.txt"); }
  /// Lines of metrics.jsonl of this kind.
  std::vector<std::string> metrics(const std::string& run, const std::string& kind) const {
    std::vector<std::string> found;
    for (const std::string& line : lines_of(file(run) + "/metrics.jsonl"))
      if (line.find("\"kind\":\"" + kind + "\"") != std::string::npos) found.push_back(line);
    return found;
  }

 private:
  struct Images {
    std::vector<uint8_t> pixels, labels, one_hot;
  };
  static Images make_images(int64_t rows, uint64_t seed) {
    Images images{std::vector<uint8_t>(rows * 36), std::vector<uint8_t>(rows),
                  std::vector<uint8_t>(rows * 4)};
    auto& [pixels, labels, one_hot] = images;
    for (int64_t r = 0; r < rows; ++r) {
      const uint64_t random = mix64(seed * 1000 + r);
      labels[r] = random % 4;
      one_hot[r * 4 + labels[r]] = 1;
      for (int64_t p = 0; p < 36; ++p) {
        const bool bright = (p / 6 >= 3) == (labels[r] / 2 == 1) && (p % 6 >= 3) == (labels[r] % 2 == 1);
        pixels[r * 36 + p] = static_cast<uint8_t>(mix64(random + p) % 160 + (bright ? 60 : 0));
      }
    }
    return images;
  }
  static void add_images(storage::Hdf5Image& image, const std::string& split, const Images& images) {
    constexpr storage::StoredType bytes{storage::StoredType::Kind::unsigned_integer, 1, false};
    const auto rows = static_cast<int64_t>(images.labels.size());
    image.add(split + "/images", bytes, {rows, 6, 6}, std::as_bytes(std::span(images.pixels)));
    image.add(split + "/labels", bytes, {rows}, std::as_bytes(std::span(images.labels)));
    image.add(split + "/one_hot", bytes, {rows, 4}, std::as_bytes(std::span(images.one_hot)));
  }
  void write_data() const {
    storage::Hdf5Image image;
    const Images train = make_images(train_rows, 1), validation = make_images(validation_rows, 2);
    const Images test = make_images(test_rows, 3);  // the image refers to them until its bytes are made
    add_images(image, "train", train);
    add_images(image, "validation", validation);
    add_images(image, "test", test);
    std::vector<int32_t> listed;  // rows 20 to 119 of train, and which of them
    std::vector<uint8_t> mask(train_rows, 0);
    for (int32_t i = 0; i < 100; ++i) {
      listed.push_back(20 + i * 37 % 100);
      mask[static_cast<size_t>(20 + i)] = 1;
    }
    constexpr storage::StoredType numbers{storage::StoredType::Kind::signed_integer, 4, false};
    constexpr storage::StoredType flags{storage::StoredType::Kind::unsigned_integer, 1, false};
    image.add("train/listed", numbers, {100}, std::as_bytes(std::span(listed)));
    image.add("train/mask", flags, {train_rows}, std::as_bytes(std::span(mask)));
    std::vector<float> x(train_rows * 5), y(train_rows);
    for (size_t i = 0; i < x.size(); ++i) x[i] = uniform01(static_cast<uint32_t>(mix64(i))) * 2 - 1;
    for (int64_t r = 0; r < train_rows; ++r)
      y[r] = x[r * 5] * 2 - x[r * 5 + 1] + 0.5f * std::fabs(x[r * 5 + 2]);
    constexpr storage::StoredType floats{storage::StoredType::Kind::floating, 4, false};
    image.add("regression/x", floats, {train_rows, 5}, std::as_bytes(std::span(x)));
    image.add("regression/y", floats, {train_rows}, std::as_bytes(std::span(y)));
    constexpr storage::StoredType bytes_of_labels{storage::StoredType::Kind::unsigned_integer, 1, false};
    std::vector<uint8_t> above(train_rows), signs(train_rows * 2);
    for (int64_t r = 0; r < train_rows; ++r) {
      above[r] = y[r] > 0.25f;
      signs[r * 2] = x[r * 5] > 0;
      signs[r * 2 + 1] = x[r * 5 + 1] > 0;
    }
    const std::vector<float> constant(train_rows, 0.1f);
    image.add("regression/above", bytes_of_labels, {train_rows}, std::as_bytes(std::span(above)));
    image.add("regression/signs", bytes_of_labels, {train_rows, 2}, std::as_bytes(std::span(signs)));
    image.add("regression/constant", floats, {train_rows}, std::as_bytes(std::span(constant)));
    const std::vector<std::byte> bytes = image.pieces().joined();
    std::ofstream(file("data.h5"), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  /// 5 steps per epoch, the last one short; 3 units of at most 16 per full batch.
  void write_deck(const std::string& name, const std::string& layers, const std::string& optimizer) const {
    write_text(file(name),
               "[run]\nseed = 3\nprogress_every = \"1h\"\n"
               "[data]\nfile = \"data.h5\"\nnormalize = \"standardize\"\n"
               "train = { inputs = \"train/images\", targets = \"train/labels\" }\n"
               "test = { inputs = \"test/images\", targets = \"test/labels\" }\n"
               "[model]\nlayers = " +
                   layers + "\n[optimizer]\n" + optimizer +
                   "[train]\nepochs = 3\nbatch_size = 34\nunit_size = 12\nthreads = 1\n"
                   "[checkpoint]\nevery = \"4 steps\"\n");
  }
  void write_regression_deck() const {
    write_text(file("regression.toml"),
               "[run]\nseed = 3\nprogress_every = \"1h\"\n"
               "[data]\nfile = \"data.h5\"\ntarget_kind = \"values\"\n"
               "train = { inputs = \"regression/x\", targets = \"regression/y\", fraction = 0.7 }\n"
               "validation = { fraction = 0.1 }\ntest = { fraction = 0.2 }\n"
               "[model]\nloss = \"mse\"\nlayers = [{ type = \"dense\", units = 16, activation = \"tanh\" }, "
               "{ type = \"dense\", units = 1 }]\n"
               "[optimizer]\ntype = \"adamw\"\nlearning_rate = 0.02\nclip_norm = 0.5\n"
               "[train]\nepochs = 10\nbatch_size = 32\nunit_size = 8\nthreads = 1\n");
  }

  /// Two outputs, three losses.
  void write_several_deck() const {
    const std::string targets = "/images\", targets = { quadrant = \"", rest = "/labels\", hot = \"";
    write_text(
        file("several.toml"),
        "[run]\nseed = 3\nprogress_every = \"1h\"\n[data]\nfile = \"data.h5\"\nnormalize = \"standardize\"\n"
        "train = { inputs = \"train" +
            targets + "train" + rest +
            "train/one_hot\" } }\n"
            "test = { inputs = \"test" +
            targets + "test" + rest + "test/one_hot\" } }\n[model]\nlayers = " + several_layers +
            "\nlosses = [{ from = \"quadrant\", target = \"quadrant\", type = \"softmax_cross_entropy\" }, "
            "{ from = \"hot\", target = \"hot\", type = \"binary_cross_entropy\", weight = 0.5, name = "
            "\"sides\" }, { from = \"hot\", target = \"hot\", type = \"mse\", weight = 0.25 }]\n"
            "[optimizer]\ntype = \"adam\"\nlearning_rate = 0.01\n"
            "[train]\nepochs = 3\nbatch_size = 34\nunit_size = 12\nthreads = 1\n"
            "[checkpoint]\nevery = \"4 steps\"\n");
  }

  const comm::World world_;
  std::string path_;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace lepton::train
