// SPDX-License-Identifier: Apache-2.0
// Adding a tensor or a part of one: per segment (16 KiB of floats), under the block's lock, one pass that
// converts, adds, sums the checksum and finds the largest magnitude in registers; if that shows an overflow,
// all of it is taken back (sums modulo 2^64 forget nothing). A block that is busy is put aside and tried
// again at the end, or when the list of those is full. Called by every compute thread for each tensor of a
// unit, through train's gradient sink.
#include "exact/accumulator.h"

#include <algorithm>
#include <array>

#include "base/failpoint.h"
#include "exact/lock_word.h"
#include "ops/quantise.h"

namespace lepton::exact {

/// A part of a tensor within one block.
struct Accumulator::Part {
  int64_t begin = 0;  // arena element
  std::span<const float> values;
  int scale = 0;
  uint32_t overflow_bits = 0;
};

/// What adding showed.
struct Accumulator::Found {
  uint32_t largest = 0;  // finite
  bool overflow = false, non_finite = false;
};

/// The blocks that were busy. Small, because few threads hold locks at a time.
struct Accumulator::Aside {
  std::array<Part, 32> parts;
  size_t count = 0;
};

static size_t aligned(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

size_t Accumulator::bytes(const ArenaLayout& layout) {
  const auto blocks = static_cast<size_t>(layout.blocks());
  return aligned(static_cast<size_t>(layout.elements()) * sizeof(int64_t)) +
         aligned(blocks * sizeof(int64_t)) + blocks * sizeof(Lock);
}

Accumulator::Accumulator(const ArenaLayout& layout, std::span<std::byte> memory) : layout_(layout) {
  CHECK(memory.size() >= bytes(layout), "room for the sums");
  const auto elements = static_cast<size_t>(layout.elements()), blocks = static_cast<size_t>(layout.blocks());
  std::byte* at = memory.data();
  elements_ = {reinterpret_cast<int64_t*>(at), elements};
  at += aligned(elements * sizeof(int64_t));
  checksums_ = {reinterpret_cast<int64_t*>(at), blocks};
  at += aligned(blocks * sizeof(int64_t));
  locks_ = {reinterpret_cast<Lock*>(at), blocks};

  const std::vector<Segment>& segments = layout.segments();
  const int tensors = static_cast<int>(layout.tensors().size());
  first_segment_.assign(static_cast<size_t>(tensors) + 1, 0);
  for (const Segment& segment : segments) ++first_segment_[segment.tensor + 1];
  for (int t = 0; t < tensors; ++t) first_segment_[t + 1] += first_segment_[t];
}

void Accumulator::add_locked(const Part& part, Found& found) {
  const int64_t block = part.begin / block_elements;
  const std::span<int64_t> sums = elements_.subspan(static_cast<size_t>(part.begin), part.values.size());
  const ops::Quantised added = ops::quantise_add(part.values, part.scale, sums);
  if (added.magnitude_bits >= part.overflow_bits) [[unlikely]]
    ops::quantise_take_back(part.values, part.scale, sums);
  else
    checksums_[block] = static_cast<int64_t>(static_cast<uint64_t>(checksums_[block]) + added.check);
  if (added.magnitude_bits >= infinity_bits) [[unlikely]] {
    found.non_finite = true;
  } else {
    found.largest = std::max(found.largest, added.magnitude_bits);
    found.overflow = found.overflow || added.magnitude_bits >= part.overflow_bits;
  }
  failpoint("accumulate", std::as_writable_bytes(sums));
}

bool Accumulator::try_add(const Part& part, Found& found) {
  LockWord lock(locks_[part.begin / block_elements].word);
  if (!lock.try_lock()) return false;
  add_locked(part, found);
  lock.unlock();
  return true;
}

// Multiples of the golden ratio.
int64_t rotation(int start, int64_t count) {
  const uint32_t fraction = static_cast<uint32_t>(start) * 0x9E3779B9u;
  return static_cast<int64_t>((static_cast<uint64_t>(fraction) * static_cast<uint64_t>(count)) >> 32);
}

/// Adds of those put aside what it can, until at most `keep` are left.
void Accumulator::come_back(Aside& aside, size_t keep, Found& found) {
  for (Pace pace; aside.count > keep; pace.step()) {
    for (size_t i = aside.count; i-- > 0;)
      if (try_add(aside.parts[i], found)) aside.parts[i] = aside.parts[--aside.count];
    if (aside.count > keep && pace.waited_s() > lock_deadline_s)
      throw DeadlineError("a block of the gradient sum", lock_deadline_s,
                          "another thread of this node holds its lock");
  }
}

void Accumulator::add(int tensor, int64_t first, std::span<const float> values, int scale,
                      uint32_t overflow_bits, int start, int64_t unit, int place, Lanes& lanes) {
  const ArenaTensor& whole = layout_.tensors()[tensor];
  const int64_t begin = whole.offset + first, end = begin + static_cast<int64_t>(values.size());
  CHECK(first >= 0 && begin < end && end <= whole.offset + whole.count, "elements of " + whole.name);
  // A tensor has one segment per block.
  const int64_t segments = first_segment_[tensor] + begin / block_elements - whole.offset / block_elements;
  const int64_t count = (end - 1) / block_elements - begin / block_elements + 1;
  const int64_t turn = rotation(start, count);
  Aside aside;
  Found found;
  for (int64_t k = 0; k < count; ++k) {
    const Segment& segment = layout_.segments()[segments + (k + turn < count ? k + turn : k + turn - count)];
    const int64_t from = std::max(segment.begin, begin), to = std::min(segment.end, end);
    const Part part{from, values.subspan(static_cast<size_t>(from - begin), static_cast<size_t>(to - from)),
                    scale, std::min(overflow_bits, infinity_bits)};
    if (try_add(part, found)) continue;
    if (aside.count == aside.parts.size()) come_back(aside, aside.parts.size() / 2, found);
    aside.parts[aside.count++] = part;
  }
  come_back(aside, 0, found);
  lanes.raise_magnitude(tensor, found.largest);
  if (found.overflow) lanes.flag_overflow();
  if (found.non_finite) lanes.flag_non_finite(unit, place);
}

void Accumulator::fold(int64_t b, const Accumulator& other) {
  const size_t begin = static_cast<size_t>(b * block_elements), count = block(b).size();
  for (size_t i = begin; i < begin + count; ++i)
    elements_[i] =
        static_cast<int64_t>(static_cast<uint64_t>(elements_[i]) + static_cast<uint64_t>(other.elements_[i]));
  checksums_[b] =
      static_cast<int64_t>(static_cast<uint64_t>(checksums_[b]) + static_cast<uint64_t>(other.checksums_[b]));
}

bool Accumulator::intact(int64_t b) const {
  return ops::checksum(block(b)) == static_cast<uint64_t>(checksums_[b]);
}

void Accumulator::clear(int64_t b) {
  const size_t begin = static_cast<size_t>(b * block_elements);
  std::fill_n(elements_.begin() + static_cast<std::ptrdiff_t>(begin), block(b).size(), 0);
  checksums_[b] = 0;
}

std::span<const int64_t> Accumulator::block(int64_t b) const {
  const size_t begin = static_cast<size_t>(b * block_elements);
  return elements_.subspan(begin, std::min(static_cast<size_t>(block_elements), elements_.size() - begin));
}

}  // namespace lepton::exact
