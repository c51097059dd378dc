// SPDX-License-Identifier: Apache-2.0
// The envelope of messages: eight bytes of magic, length, XXH3 of the payload, payload. Any single flipped
// bit and any truncation is refused before the payload is looked at.
#include "comm/pack.h"

#include <cstring>
#include <string_view>

#include "base/hash.h"

namespace lepton::comm {

namespace {

struct EnvelopeHead {
  char magic[8];
  uint64_t length;
  uint64_t hash;
};
constexpr char magic[8] = {'L', 'P', 'T', 'N', 'M', 'S', 'G', '1'};

}  // namespace

std::string seal(const std::string& payload) {
  EnvelopeHead head{};
  std::memcpy(head.magic, magic, sizeof(magic));
  head.length = payload.size();
  head.hash = hash64(std::string_view(payload));
  std::string envelope(sizeof(head), '\0');
  std::memcpy(envelope.data(), &head, sizeof(head));
  return envelope + payload;
}

std::string unseal(const std::string& envelope, const std::string& what) {
  const std::string hint = "Memory or network of a node may be faulty.";
  EnvelopeHead head{};
  REQUIRE(envelope.size() >= sizeof(head), Exit::io, what, "a message arrived truncated", hint);
  std::memcpy(&head, envelope.data(), sizeof(head));
  REQUIRE(std::memcmp(head.magic, magic, sizeof(magic)) == 0, Exit::io, what, "a message arrived damaged",
          hint);
  REQUIRE(head.length == envelope.size() - sizeof(head), Exit::io, what,
          "a message arrived with a wrong length", hint);
  std::string payload = envelope.substr(sizeof(head));
  REQUIRE(hash64(std::string_view(payload)) == head.hash, Exit::io, what, "a message arrived damaged", hint);
  return payload;
}

}  // namespace lepton::comm
