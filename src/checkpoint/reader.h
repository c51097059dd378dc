// SPDX-License-Identifier: Apache-2.0
// Reader: finds the newest checkpoint that can be read, verifies every byte before HDF5 or Boost sees it, and
// reads ranges. Damage that heals is healed in memory; where the newest one is looked for, damage is named in
// a warning, and a checkpoint that does not heal is skipped in favour of the one before. Called by train
// (restart, evaluate, predict, inspect), by any number of ranks at once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/integrity.h"
#include "checkpoint/layout.h"
#include "checkpoint/manifest.h"
#include "comm/world.h"

namespace lepton::checkpoint {

/// **Local.** Paths of the directories step-* of a checkpoints folder, newest first (never *.tmp,
/// and no symbolic links).
std::vector<std::string> list_checkpoints(const std::string& directory);

class Reader {
 public:
  /// **Local.** Opens one checkpoint; verifies manifest and small state. Throws Error(data), Error(no_input).
  explicit Reader(const std::string& checkpoint);
  ~Reader();
  Reader(Reader&&) noexcept;
  const Manifest& manifest() const;
  const std::string& small_state() const;
  /// Elements [begin, end) of an array; verifies each touched shard whole and keeps the last one, so reading
  /// all arrays of one shard before the next one is cheapest. Error(data) naming the file.
  void read(const std::string& array, int64_t begin, int64_t end, std::span<float> out) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct Valid {
  std::string path;
  std::vector<Damage> damages;  ///< all of them heal
};
/// **Collective.** The newest checkpoint that can be read (ranks share the hashing), or nothing when there is
/// none. Rank 0 warns of each damaged one. Throws Error(data), agreed, when there are checkpoints but all are
/// bad.
std::optional<Valid> newest_valid(const comm::World& world, const std::string& directory);

}  // namespace lepton::checkpoint
