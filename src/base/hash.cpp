// SPDX-License-Identifier: Apache-2.0
// XXH3 behind base/hash.h; the only file that includes xxHash, compiled in so that its version is ours.
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <charconv>
#include <new>
#include <stdexcept>

namespace lepton {

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

uint64_t hash64(std::string_view text, uint64_t seed) {
  return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

std::string hex64(uint64_t value) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text(16, '0');
  for (size_t i = 16; i-- > 0; value >>= 4) text[i] = digits[value & 15];
  return text;
}

uint64_t parse_hex64(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (text.size() != 16 || error != std::errc{} || end != text.data() + text.size())
    throw std::invalid_argument("not 16 hexadecimal digits: '" + std::string(text) + "'");
  return value;
}

static XXH3_state_t* state_of(void* state) {
  return static_cast<XXH3_state_t*>(state);
}

StreamHash::StreamHash() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(state_of(state_));
}

StreamHash::~StreamHash() {
  XXH3_freeState(state_of(state_));
}

void StreamHash::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(state_of(state_), bytes.data(), bytes.size());
}

uint64_t StreamHash::value() const {
  return XXH3_64bits_digest(state_of(state_));
}

uint64_t hash64(std::span<const std::span<const std::byte>> pieces) {
  StreamHash hash;
  for (const auto& piece : pieces) hash.add(piece);
  return hash.value();
}

}  // namespace lepton
