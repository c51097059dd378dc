// SPDX-License-Identifier: Apache-2.0
// See the header. Nothing is flushed: what a process has stored stays in the file when it dies.
#include "train/kept_state.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/hash.h"
#include "train/run_record.h"

namespace lepton::train {

namespace {

constexpr uint64_t magic = 0x325450454b54504c;  // "LPTKEPT2"
constexpr size_t identity_bytes_max = size_t{32} << 10;

constexpr size_t whole_pages(size_t bytes) {
  return (bytes + 4095) / 4096 * 4096;
}

}  // namespace

struct KeptState::Head {
  struct Record {
    std::atomic<uint64_t> sequence;  ///< 0: does not count
    int64_t step;
    uint64_t bytes, hash;
    int32_t slot;
  };
  std::atomic<uint64_t> magic;
  KeptLabel label;
  uint64_t small_bytes, identity_bytes, hash;  ///< the hash: of all before it, and of the identity
  Record records[2];

  uint64_t hash_of(std::span<const char> identity) const {
    const uint64_t sizes[2] = {small_bytes, identity_bytes};
    return hash64(std::as_bytes(identity),
                  hash64(std::as_bytes(std::span(&label, 1)), hash64(std::as_bytes(std::span(sizes)))));
  }
};

size_t KeptState::head_bytes(size_t small_bytes) {
  return whole_pages(sizeof(Head)) + identity_bytes_max + 2 * whole_pages(small_bytes);
}

size_t KeptState::state_begin() const {
  return head_bytes(head().small_bytes);
}

KeptState::Head& KeptState::head() const {
  return *reinterpret_cast<Head*>(memory_.data());
}

std::span<char> KeptState::identity_text() const {
  return {reinterpret_cast<char*>(memory_.data()) + whole_pages(sizeof(Head)), identity_bytes_max};
}

std::span<char> KeptState::small_state(int which) const {
  const size_t bytes = head().small_bytes;
  return {identity_text().data() + identity_bytes_max + static_cast<size_t>(which) * whole_pages(bytes),
          bytes};
}

void KeptState::begin(const KeptLabel& label, const checkpoint::Identity& identity) {
  const std::string text = RunIdentity{identity, 0, {}}.encode();
  if (text.size() > identity_bytes_max) return;  // then nothing is ever found
  Head& h = head();
  std::memset(static_cast<void*>(&h.label), 0, sizeof h.label);  // its padding is hashed
  h.label.generation = label.generation;
  h.label.node = label.node;
  h.label.nodes = label.nodes;
  h.label.moments = label.moments;
  h.label.elements = label.elements;
  h.label.slice_begin = label.slice_begin;
  h.label.slice_end = label.slice_end;
  h.label.parity = label.parity;
  h.label.segment_bytes = label.segment_bytes;
  std::copy(text.begin(), text.end(), identity_text().begin());
  h.small_bytes = small_bytes_;
  h.identity_bytes = text.size();
  h.hash = h.hash_of(identity_text().first(text.size()));
  h.magic.store(magic, std::memory_order_release);
}

void KeptState::overwrite(int slot) {
  for (Head::Record& record : head().records)
    if (record.slot == slot) record.sequence.store(0, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // before the first byte of the slot
}

bool KeptState::commit(int64_t step, int slot, const std::string& small) {
  Head& h = head();
  if (small.size() > h.small_bytes) return false;
  const uint64_t first = h.records[0].sequence.load(std::memory_order_relaxed),
                 second = h.records[1].sequence.load(std::memory_order_relaxed);
  const int which = first <= second ? 0 : 1;  // the older one, or one that does not count
  Head::Record& record = h.records[which];
  record.sequence.store(0, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  std::copy(small.begin(), small.end(), small_state(which).begin());
  record.step = step;
  record.slot = slot;
  record.bytes = small.size();
  record.hash = hash64(small, static_cast<uint64_t>(step) * 2 + static_cast<uint64_t>(slot));
  record.sequence.store(std::max(first, second) + 1, std::memory_order_release);
  return true;
}

std::optional<KeptLabel> KeptState::label() const {
  if (memory_.size() < head_bytes(0)) return std::nullopt;
  const Head& h = head();
  if (h.magic.load(std::memory_order_acquire) != magic || h.identity_bytes > identity_bytes_max ||
      h.hash != h.hash_of(identity_text().first(h.identity_bytes)) || h.small_bytes > memory_.size() ||
      state_begin() > memory_.size())
    return std::nullopt;
  const KeptLabel& l = h.label;
  if (l.elements <= 0 || l.slice_begin < 0 || l.slice_begin > l.slice_end || l.slice_end > l.elements ||
      l.moments < 0 || l.moments > 2 || l.nodes < 1 || l.node < 0 || l.node >= l.nodes || l.parity < -1 ||
      l.parity >= std::max(1, l.nodes) || l.segment_bytes < 0 ||
      static_cast<uint64_t>(l.segment_bytes) > memory_.size())
    return std::nullopt;
  return l;
}

checkpoint::Identity KeptState::identity() const {
  return RunIdentity::decode(std::string(identity_text().data(), head().identity_bytes),
                             "the state kept in memory")
      .identity;
}

std::optional<KeptRecord> KeptState::record(int which) const {
  const Head::Record& record = head().records[which];
  if (record.sequence.load(std::memory_order_acquire) == 0 || record.bytes > head().small_bytes ||
      record.slot < 0 || record.slot > 1)
    return std::nullopt;
  KeptRecord found{record.step, record.slot, std::string(small_state(which).data(), record.bytes)};
  if (hash64(found.small_state, static_cast<uint64_t>(found.step) * 2 + static_cast<uint64_t>(found.slot)) !=
      record.hash)
    return std::nullopt;
  return found;
}

}  // namespace lepton::train
