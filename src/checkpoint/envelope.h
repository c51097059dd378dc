// SPDX-License-Identifier: Apache-2.0
// The envelope around the small run state (state.bin): magic "LEPTON01", version, length, checksum, then the
// bytes. Boost archives accept most flipped bits in silence and some lead to huge allocations (MEASURED.md),
// so nothing is decoded that has not come out of open_envelope(). Called by writer and reader.
#pragma once

#include <string>
#include <string_view>

namespace lepton::checkpoint {

std::string seal_envelope(std::string_view content);
/// Throws Error(data) naming `path` unless every byte is as seal_envelope() made it.
std::string open_envelope(std::string_view sealed, const std::string& path);

}  // namespace lepton::checkpoint
