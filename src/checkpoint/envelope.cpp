// SPDX-License-Identifier: Apache-2.0
// Layout, little-endian: magic (8 bytes), version (8), length of the content (8), XXH3 of the content (8),
// content. Each header field has exactly one right value, so the header needs no checksum of its own.
#include "checkpoint/envelope.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "base/hash.h"

namespace lepton::checkpoint {

static_assert(std::endian::native == std::endian::little, "the header is copied as it lies in memory");

constexpr std::string_view magic = "LEPTON01";
constexpr uint64_t version = 1;
constexpr size_t header_bytes = 32;

std::string seal_envelope(std::string_view content) {
  const std::array<uint64_t, 3> fields = {version, content.size(), hash64(content)};
  std::string sealed(header_bytes + content.size(), '\0');
  std::memcpy(sealed.data(), magic.data(), magic.size());
  std::memcpy(sealed.data() + magic.size(), fields.data(), sizeof fields);
  if (!content.empty()) std::memcpy(sealed.data() + header_bytes, content.data(), content.size());
  return sealed;
}

std::string open_envelope(std::string_view sealed, const std::string& path) {
  const char* hint = "The file is damaged; use an older checkpoint.";
  REQUIRE(sealed.size() >= header_bytes && sealed.substr(0, magic.size()) == magic, Exit::data, path,
          "is not a Lepton run state (it does not begin with " + std::string(magic) + ")", hint);
  std::array<uint64_t, 3> fields;
  std::memcpy(fields.data(), sealed.data() + magic.size(), sizeof fields);
  REQUIRE(fields[0] == version, Exit::data, path, "has the unknown version " + std::to_string(fields[0]),
          hint);
  const std::string_view content = sealed.substr(header_bytes);
  REQUIRE(fields[1] == content.size(), Exit::data, path,
          "holds " + std::to_string(content.size()) + " bytes of " + std::to_string(fields[1]), hint);
  REQUIRE(fields[2] == hash64(content), Exit::data, path, "the checksum does not fit", hint);
  return std::string(content);
}

}  // namespace lepton::checkpoint
