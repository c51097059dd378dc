// SPDX-License-Identifier: Apache-2.0
// Lanes: the integers that travel with a round's sums and prove it (DESIGN section 1): units counted once,
// hash of their ids, loss and weights as exact sums, metric counts, M per tensor, flags, votes, speeds,
// checksums. One flat array of int64: the first part is added, the rest takes maxima, so one reduction
// carries all and any order of merging gives the same bits. A minimum travels as the maximum of its
// complement. In front of all lie the tallies of evaluations, which may be many: rounds in which nothing is
// tallied leave them out. Invariant: zero is neutral in every lane (cleared memory is an empty round), so
// maxima hold non-negative values only. Each compute thread fills its own Lanes and merges them into the
// node's once per round, under a lock.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/exact_sum.h"

namespace lepton::exact {

/// What a round is: part of unit hashes and messages. Training, or the evaluation of a split.
enum class RoundKind : int { train = 0, validation = 1, test = 2, evaluate_train = 3 };
constexpr size_t round_kinds = 4;

struct RoundId {
  int64_t round =
      0;  ///< attempts and evaluation rounds since the processes started; never hashed, never stored
  RoundKind kind = RoundKind::train;
  int64_t step = 0;
  int attempt = 0;
};

/// Hash of (kind, step, attempt, unit): summed modulo 2^64 over units, it catches a unit lost or added twice.
uint64_t unit_hash(const RoundId& round, int64_t unit);
/// The sum that units 0 .. count-1 must give.
uint64_t expected_unit_hash(const RoundId& round, int64_t count);

/// to = merged with from: the first `sum_count` words added modulo 2^64, the others the maximum.
void merge_words(std::span<int64_t> to, std::span<const int64_t> from, size_t sum_count);

class Lanes {
 public:
  /// Of `tensors` magnitudes, per-node speeds, `exact_sums` exact sums, `counts` counts, and `tallies`.
  Lanes(int tensors, int nodes, int exact_sums, int counts, size_t tallies = 0);

  // Added.
  int64_t& units() { return fixed(0); }
  uint64_t unit_hash_sum() const { return static_cast<uint64_t>(values_[tallies_ + 1]); }
  void add_unit(uint64_t hash) {
    ++fixed(0);
    fixed(1) = static_cast<int64_t>(unit_hash_sum() + hash);
  }
  int64_t& checksum_failures() { return fixed(2); }  ///< blocks whose checksum disagrees
  int64_t& stop_votes() { return fixed(3); }
  /// Nodes whose part of the checkpoint in flight is durable.
  int64_t& checkpoint_reports() { return fixed(4); }
  int64_t& checkpoint_failures() { return fixed(5); }
  int64_t& checkpoint_votes() { return fixed(6); }  ///< rank 0 asks for a checkpoint after this step
  /// The same for copies of the state with parity on other nodes.
  int64_t& redundancy_reports() { return fixed(7); }
  int64_t& redundancy_votes() { return fixed(8); }
  int64_t& count(int i) { return values_[count_begin_ + i]; }
  std::span<int64_t> counts() { return {values_.data() + count_begin_, values_.data() + sum_begin_}; }
  /// To be added to. From then on, until cleared, they are not zero for certain.
  std::span<int64_t> tallies() {
    tallied_ = true;
    return {values_.data(), tallies_};
  }
  bool tallied() const { return tallied_; }
  void add_exact(int i, const ExactSum& sum);
  ExactSum exact(int i) const;
  /// Compute time of the node's threads.
  int64_t& node_busy_ns(int node) { return values_[busy_begin_ + node]; }
  int64_t& node_units(int node) { return values_[node_units_begin_ + node]; }
  /// Of these, how many came to it from other nodes within the round.
  int64_t& node_taken(int node) { return values_[node_taken_begin_ + node]; }
  // Maxima.
  void raise_magnitude(int tensor, int64_t magnitude_bits);  ///< float32 bits of the largest |gradient|
  int64_t magnitude_bits(int tensor) const;                  ///< 0: no non-zero element
  /// The lowest (unit, place) at which something non-finite appeared; place: node index, or tensors behind.
  void flag_non_finite(int64_t unit, int place);
  bool non_finite() const;
  int64_t first_non_finite_unit() const;
  int first_non_finite_place() const;
  void flag_overflow() { values_[overflow_] = 1; }
  bool overflow() const { return values_[overflow_] != 0; }
  /// Time until the last unit was done.
  void raise_units_ns(int64_t ns) { values_[units_ns_] = ns > values_[units_ns_] ? ns : values_[units_ns_]; }
  int64_t units_ns() const { return values_[units_ns_]; }
  /// Every node states its checksum of the same thing; equal() is whether all that were stated agreed.
  void state_parameters(uint64_t checksum);
  bool parameters_equal() const;

  void clear();
  /// Adds `other` (same shape): sums added modulo 2^64, maxima taken.
  void merge(const Lanes& other);
  std::span<int64_t> values() { return values_; }
  std::span<const int64_t> values() const { return values_; }
  size_t sum_count() const { return max_begin_; }
  size_t tally_count() const { return tallies_; }

 private:
  int64_t& fixed(size_t i) { return values_[tallies_ + i]; }
  size_t tallies_;
  bool tallied_ = true;
  size_t count_begin_, sum_begin_, busy_begin_, node_units_begin_, node_taken_begin_;
  size_t max_begin_, overflow_, non_finite_, units_ns_, parameters_, magnitude_begin_;
  std::vector<int64_t> values_;
};

}  // namespace lepton::exact
