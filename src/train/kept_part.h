// SPDX-License-Identifier: Apache-2.0
// A part of a state that dead processes have left in memory, and how all ranks read what one machine has of
// it. Called by kept_search and kept_copies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "comm/world.h"
#include "train/kept_state.h"

namespace lepton::train {

/// A slot of a file.
struct KeptPart {
  int rank = -1;  ///< whose machine has the file
  std::string path;
  int slot = 0;
  KeptLabel label;
  bool parameters = false, moments = false;  ///< of a living state: verified
  bool part = false, parity = false;         ///< of a copy: verified
  std::vector<uint64_t> hashes;              ///< of a copy: as Redundancy::begin() takes them
};

/// A file of this user, mapped to be read; empty where there is none.
class Mapping {
 public:
  explicit Mapping(const std::string& path);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

/// **Collective.** Bytes that one rank has, on all.
std::string from_rank(const comm::World& world, int rank, const std::string& bytes);
/// **Collective.** `elements` floats of one rank's memory to all, in pieces: take(begin, values).
void spread(const comm::World& world, int rank, std::span<const float> values, int64_t elements,
            const std::function<void(int64_t begin, std::span<const float> values)>& take);

}  // namespace lepton::train
