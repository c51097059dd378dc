// SPDX-License-Identifier: Apache-2.0
// Damage as files suffer it, and as somebody makes it who knows that lengths matter. A function of the seed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/philox.h"

namespace lepton::fuzz {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : state_(seed) {}

  /// One to four changes: cut, inserted bytes, a huge number, a part moved to elsewhere, flipped bits.
  std::string mutate(std::string bytes) {
    for (uint64_t changes = 1 + next() % 4; changes > 0; --changes) {
      const size_t at = bytes.empty() ? 0 : next() % bytes.size();
      switch (next() % 6) {
        case 0:
          bytes.resize(at);
          break;
        case 1:
          bytes.insert(at, next() % 64, static_cast<char>(next()));
          break;
        case 2:  // a count or a length becomes huge
          for (size_t i = at; i < std::min(bytes.size(), at + 8); ++i) bytes[i] = static_cast<char>(0xff);
          break;
        case 3:
          bytes.insert(bytes.empty() ? 0 : next() % bytes.size(), bytes.substr(at, next() % 64));
          break;
        default:
          if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << next() % 8));
      }
    }
    return bytes;
  }

 private:
  uint64_t next() { return state_ = mix64(state_ + 0x9e3779b97f4a7c15ull); }
  uint64_t state_;
};

}  // namespace lepton::fuzz
