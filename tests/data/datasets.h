// SPDX-License-Identifier: Apache-2.0
// For MPI tests of data: a scratch directory that all ranks see, files made by rank 0, and errors that must
// be the same on every rank.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/world.h"
#include "data/dataset.h"
#include "data/store.h"
#include "storage/make_hdf5.h"
#include "storage/scratch.h"

namespace lepton::testing {

/// A directory of rank 0's, gone when all are done.
class SharedScratch {
 public:
  explicit SharedScratch(const comm::World& world) : world_(world) {
    if (world.rank() == 0) {
      own_ = std::make_unique<Scratch>();
      path_ = own_->path();
    }
    world.broadcast(path_);
  }
  ~SharedScratch() { world_.barrier(); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  /// **Collective.** Rank 0 writes the file.
  std::string make(const std::string& name, const std::vector<TestArray>& arrays) const {
    const std::string file = *this / name;
    if (world_.rank() == 0) make_hdf5(file, arrays);
    world_.barrier();
    return file;
  }

 private:
  const comm::World& world_;
  std::unique_ptr<Scratch> own_;
  std::string path_;
};

/// Ways to cut the ranks into nodes: `test` runs on each.
inline void for_each_nodes(const std::function<void(const comm::World&)>& test) {
  for (const int ranks_per_node : {1, 2, 1000}) {
    const comm::World world(60, ranks_per_node);
    test(world);
    world.barrier();
  }
}

/// `work` throws the same Error on every rank, agreed, with this code and a text that holds `part`.
template <class Work>
void expect_agreed(const comm::World& world, Exit code, const std::string& part, Work&& work) {
  std::string text = "no error";
  try {
    work();
  } catch (const Error& error) {
    text = error.what();
    EXPECT_TRUE(error.agreed()) << text;
    EXPECT_EQ(error.code(), code) << text;
  }
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nexpected: " << part;
  for (const std::string& other : world.all_gather(text)) EXPECT_EQ(other, text);
}

inline data::SplitSpec split_of(const std::vector<std::string>& files, const std::string& inputs,
                                const std::string& targets = "") {
  data::SplitSpec split;
  split.files = files;
  split.inputs = {{"input", inputs}};
  split.targets = targets;
  split.position = SourcePosition{"deck.toml", 4, 1};
  return split;
}

inline data::DataSpec spec_of(const data::SplitSpec& train, bool needs_classes = false) {
  data::DataSpec spec;
  spec.train = train;
  spec.needs_classes = needs_classes;
  spec.seed = 11;
  spec.position = SourcePosition{"deck.toml", 3, 1};
  return spec;
}

inline const std::string shm = "/dev/shm";

}  // namespace lepton::testing
