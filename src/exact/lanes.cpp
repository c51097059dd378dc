// SPDX-License-Identifier: Apache-2.0
// The lanes' layout, and the two rules of merging. Identities: 0 for sums; for maxima 0 (magnitudes, flags,
// the packed place of the first non-finite value) or INT64_MIN (stated checksums). A minimum travels as the
// maximum of its complement: the first non-finite (unit, place) as INT64_MAX - (unit * 2^20
// + place); equality of checksums c as max(c) == ~max(~c), because max(~c) = ~min(c).
#include "exact/lanes.h"

#include <algorithm>

#include "base/error.h"
#include "base/philox.h"

namespace lepton::exact {

static constexpr int place_bits = 20;
static constexpr size_t fixed_sums = 9;
static constexpr int limbs = ExactSum::limb_count;

static int64_t add_words(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

static uint64_t round_hash(const RoundId& round) {
  uint64_t hash = mix64(static_cast<uint64_t>(round.kind));
  hash = mix64(hash ^ static_cast<uint64_t>(round.step));
  return mix64(hash ^ static_cast<uint64_t>(round.attempt));
}

uint64_t unit_hash(const RoundId& round, int64_t unit) {
  return mix64(round_hash(round) ^ mix64(static_cast<uint64_t>(unit)));
}

uint64_t expected_unit_hash(const RoundId& round, int64_t count) {
  uint64_t sum = 0;
  for (int64_t unit = 0; unit < count; ++unit) sum += unit_hash(round, unit);
  return sum;
}

Lanes::Lanes(int tensors, int nodes, int exact_sums, int counts, size_t tallies)
    : tallies_(tallies),
      count_begin_(tallies + fixed_sums),
      sum_begin_(count_begin_ + counts),
      busy_begin_(sum_begin_ + static_cast<size_t>(exact_sums) * limbs),
      node_units_begin_(busy_begin_ + nodes),
      node_taken_begin_(node_units_begin_ + nodes),
      max_begin_(node_taken_begin_ + nodes),
      overflow_(max_begin_),
      non_finite_(overflow_ + 1),
      units_ns_(non_finite_ + 1),
      parameters_(units_ns_ + 1),
      magnitude_begin_(parameters_ + 2),
      values_(magnitude_begin_ + tensors) {
  clear();
}

void Lanes::clear() {
  std::fill(values_.begin() + static_cast<ptrdiff_t>(tallied_ ? 0 : tallies_), values_.end(), 0);
  tallied_ = false;
  values_[parameters_] = values_[parameters_ + 1] = INT64_MIN;
}

void Lanes::add_exact(int i, const ExactSum& sum) {
  ExactSum canonical = sum;
  canonical.normalise();
  int64_t* to = &values_[sum_begin_ + static_cast<size_t>(i) * limbs];
  for (int limb = 0; limb < limbs; ++limb) to[limb] = add_words(to[limb], canonical.limbs()[limb]);
}

ExactSum Lanes::exact(int i) const {
  ExactSum sum;
  const int64_t* from = &values_[sum_begin_ + static_cast<size_t>(i) * limbs];
  std::copy(from, from + limbs, sum.limbs().begin());
  sum.normalise();
  return sum;
}

void Lanes::raise_magnitude(int tensor, int64_t magnitude_bits) {
  int64_t& lane = values_[magnitude_begin_ + tensor];
  lane = std::max(lane, magnitude_bits);
}

int64_t Lanes::magnitude_bits(int tensor) const {
  return values_[magnitude_begin_ + tensor];
}

void Lanes::flag_non_finite(int64_t unit, int place) {
  CHECK(unit >= 0 && unit < int64_t{1} << (62 - place_bits), "unit fits its lane");
  CHECK(place >= 0 && place < 1 << place_bits, "place fits its lane");
  values_[non_finite_] = std::max(values_[non_finite_], INT64_MAX - ((unit << place_bits) | place));
}

bool Lanes::non_finite() const {
  return values_[non_finite_] != 0;
}

int64_t Lanes::first_non_finite_unit() const {
  return (INT64_MAX - values_[non_finite_]) >> place_bits;
}

int Lanes::first_non_finite_place() const {
  return static_cast<int>((INT64_MAX - values_[non_finite_]) & ((int64_t{1} << place_bits) - 1));
}

void Lanes::state_parameters(uint64_t checksum) {
  values_[parameters_] = std::max(values_[parameters_], static_cast<int64_t>(checksum));
  values_[parameters_ + 1] = std::max(values_[parameters_ + 1], static_cast<int64_t>(~checksum));
}

bool Lanes::parameters_equal() const {
  const int64_t largest = values_[parameters_], complement = values_[parameters_ + 1];
  const bool nobody = largest == INT64_MIN && complement == INT64_MIN;
  return nobody || largest == ~complement;
}

void merge_words(std::span<int64_t> to, std::span<const int64_t> from, size_t sum_count) {
  CHECK(to.size() == from.size() && sum_count <= to.size(), "lanes of one shape");
  for (size_t i = 0; i < sum_count; ++i) to[i] = add_words(to[i], from[i]);
  for (size_t i = sum_count; i < to.size(); ++i) to[i] = std::max(to[i], from[i]);
}

void Lanes::merge(const Lanes& other) {
  merge_words(values_, other.values_, max_begin_);
  tallied_ |= other.tallied_;
}

}  // namespace lepton::exact
