// SPDX-License-Identifier: Apache-2.0
// Hashes of bytes (XXH3, Collet): fingerprints, chains and checks against accidents, not against attackers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace lepton {

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0);
uint64_t hash64(std::string_view text, uint64_t seed = 0);
/// Of their concatenation.
uint64_t hash64(std::span<const std::span<const std::byte>> pieces);
template <class T>
uint64_t hash64_of(std::span<const T> values, uint64_t seed = 0) {
  return hash64(std::as_bytes(values), seed);
}
/// 16 lower-case hexadecimal digits, and back (nullopt-free: throws std::invalid_argument on bad text).
std::string hex64(uint64_t value);
uint64_t parse_hex64(std::string_view text);

/// A hash of a stream of bytes, fed piece by piece; equal to hash64 of the concatenation (seed 0).
class StreamHash {
 public:
  StreamHash();
  ~StreamHash();
  StreamHash(const StreamHash&) = delete;
  StreamHash& operator=(const StreamHash&) = delete;
  void add(std::span<const std::byte> bytes);
  uint64_t value() const;

 private:
  void* state_;
};

}  // namespace lepton
