// SPDX-License-Identifier: Apache-2.0
// The head of a node's state memory, by which it can be found whole after the death of every process: what it
// is, and two records of what its slots hold. A record (step, slot, small run state) counts from the instant
// at which its sequence number is stored, which is last; a slot that is about to be overwritten first loses
// its record. So at any instant at least one record counts whose slot is whole (DESIGN sections 3 and 4).
// Layout of the memory: head, then what cut_state() cuts (train/node_state.h). Written by the node's leader;
// read by a later start (train/kept_search.h).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "checkpoint/layout.h"

namespace lepton::train {

/// Whose state it is, and which part.
struct KeptLabel {
  int64_t generation = 0;  ///< of the run's owner that wrote it
  int32_t node = 0, nodes = 1, moments = 0;
  int64_t elements = 0, slice_begin = 0, slice_end = 0;
  // Of copies with parity (train/redundant_state.h):
  int32_t parity = -1;        ///< blocks of a stripe; -1: this is the living state
  int64_t segment_bytes = 0;  ///< of their blocks
  bool copies() const { return parity >= 0; }
};

struct KeptRecord {
  int64_t step = 0;
  int slot = 0;
  std::string small_state;  ///< RunState, encoded
};

class KeptState {
 public:
  /// Of zeroed memory with room for small states of so many bytes; or of a file that somebody else has
  /// written.
  explicit KeptState(std::span<std::byte> memory, size_t small_bytes = 0)
      : memory_(memory), small_bytes_(small_bytes) {}
  /// Bytes in front of the state itself, with room for small states of so many bytes.
  static size_t head_bytes(size_t small_bytes);

  void begin(const KeptLabel& label, const checkpoint::Identity& identity);
  /// The slot is about to be written: it holds no state until the next commit.
  void overwrite(int slot);
  /// The slot is whole. False: the small state is too large to be kept.
  bool commit(int64_t step, int slot, const std::string& small_state);

  /// What a file says of itself; nothing where it is not whole. Nothing else is asked of such a file.
  std::optional<KeptLabel> label() const;
  /// Where the state begins.
  size_t state_begin() const;
  checkpoint::Identity identity() const;
  /// A record that counts, and verifies.
  std::optional<KeptRecord> record(int which) const;

 private:
  struct Head;
  Head& head() const;
  std::span<char> identity_text() const;
  std::span<char> small_state(int which) const;

  std::span<std::byte> memory_;
  size_t small_bytes_;  ///< of who writes; a file tells itself
};

}  // namespace lepton::train
