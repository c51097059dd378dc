// SPDX-License-Identifier: Apache-2.0
// The keyed permutation and the three orders built from it. Called per sample of a batch (batch.cpp) and per
// sample of a split by fraction (dataset.cpp). Nothing here is stored, so nothing here is saved.
#include "data/order.h"

#include <algorithm>

#include "base/error.h"
#include "base/philox.h"

namespace lepton::data {

namespace {

constexpr int rounds = 6;
constexpr uint64_t window_salt = 0x77696E646F77;  // "window": keys of windows differ from those of epochs

/// The round function: any function will do for a bijection, a good mix for a random-looking one.
uint64_t mix_round(uint64_t key, int round, uint64_t half) {
  return mix64(key ^ mix64(half + (static_cast<uint64_t>(round) << 58)));
}

}  // namespace

Permutation::Permutation(uint64_t key, int64_t n) : key_(key), n_(n), half_bits_(1) {
  CHECK(n >= 0 && n < (int64_t{1} << 62), "permutation of " + std::to_string(n));
  while ((int64_t{1} << (2 * half_bits_)) < n) ++half_bits_;
}

// Round i maps (L, R) to (R, L ^ F_i(R)), a bijection of the 4^half_bits numbers (Luby and Rackoff 1988). An
// image beyond n is mapped again until it falls inside; the cycle through an index of [0, n) always comes
// back there.
int64_t Permutation::operator()(int64_t index) const {
  CHECK(index >= 0 && index < n_, "index " + std::to_string(index) + " of " + std::to_string(n_));
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t value = static_cast<uint64_t>(index);
  do {
    uint64_t left = value >> half_bits_, right = value & mask;
    for (int round = 0; round < rounds; ++round) {
      const uint64_t next = left ^ (mix_round(key_, round, right) & mask);
      left = right;
      right = next;
    }
    value = left << half_bits_ | right;
  } while (value >= static_cast<uint64_t>(n_));
  return static_cast<int64_t>(value);
}

int64_t Permutation::inverse(int64_t image) const {
  CHECK(image >= 0 && image < n_, "image " + std::to_string(image) + " of " + std::to_string(n_));
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t value = static_cast<uint64_t>(image);
  do {
    uint64_t left = value >> half_bits_, right = value & mask;
    for (int round = rounds - 1; round >= 0; --round) {
      const uint64_t before = right ^ (mix_round(key_, round, left) & mask);
      right = left;
      left = before;
    }
    value = left << half_bits_ | right;
  } while (value >= static_cast<uint64_t>(n_));
  return static_cast<int64_t>(value);
}

EpochOrder::EpochOrder(Shuffle shuffle, uint64_t seed, int64_t samples, int64_t window, int64_t block)
    : shuffle_(shuffle), seed_(seed), samples_(samples), block_(block), blocks_(0), window_blocks_(1) {
  if (shuffle != Shuffle::window) return;
  CHECK(block > 0 && window > 0, "shuffle_block and shuffle_window are positive");
  blocks_ = (samples + block - 1) / block;
  window_blocks_ = std::max<int64_t>(1, window / block);
}

int64_t EpochOrder::sample(int64_t epoch, int64_t position) const {
  CHECK(position >= 0 && position < samples_, "position " + std::to_string(position));
  if (shuffle_ == Shuffle::none) return position;
  if (shuffle_ == Shuffle::window) return window_sample(epoch, position);
  return Permutation(stream_key(seed_, Purpose::shuffle, static_cast<uint64_t>(epoch)), samples_)(position);
}

// The blocks of the dataset stand in permuted order; all are `block_` long but the dataset's last, which
// stands at place `last` and shifts what follows it. start(k) is the position of the block at place k. A
// window is `window_blocks_` places; inside it positions are permuted.
int64_t EpochOrder::window_sample(int64_t epoch, int64_t position) const {
  const uint64_t key = stream_key(seed_, Purpose::shuffle, static_cast<uint64_t>(epoch));
  const Permutation order(key, blocks_);
  const int64_t last = order.inverse(blocks_ - 1), missing = blocks_ * block_ - samples_;
  const auto start = [&](int64_t place) {
    return std::min(place, blocks_) * block_ - (place > last ? missing : 0);
  };
  int64_t window = position / (window_blocks_ * block_);
  if (start((window + 1) * window_blocks_) <= position) ++window;
  const int64_t begin = start(window * window_blocks_), end = start((window + 1) * window_blocks_);
  const Permutation inside(stream_key(key, Purpose::shuffle, window_salt + static_cast<uint64_t>(window)),
                           end - begin);
  const int64_t shuffled = begin + inside(position - begin);
  int64_t place = shuffled / block_;
  if (start(place + 1) <= shuffled) ++place;
  return order(place) * block_ + (shuffled - start(place));
}

}  // namespace lepton::data
