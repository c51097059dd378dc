// SPDX-License-Identifier: Apache-2.0
// Parity: the redundancy of one file in another beside it: a CRC32C of each block (Castagnoli's polynomial,
// RFC 3720) finds damaged ones, Reed-Solomon parity over stripes of blocks (a systematic Cauchy code over
// GF(256), by ISA-L) gives them back. Neighbouring blocks lie in different stripes, so that a burst, or a cut
// end, of parity/16 of the file is restored, which is also what the parity takes on disk.
// Invariant: what is restored has the hash that the file had; nothing else is ever returned. Called by
// checkpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace lepton::storage {

constexpr int parity_stripe = 16;     ///< blocks of the file per stripe
constexpr int parity_blocks_max = 8;  ///< parity blocks per stripe
constexpr size_t parity_block_bytes_max = size_t{1} << 16;
constexpr size_t parity_copied_bytes = size_t{1} << 14;
/// Of a file of so many bytes, at least 1: all of it up to parity_copied_bytes, so that it is restored even
/// where nothing of it is left; else so many that they fill whole stripes.
size_t parity_block_bytes(uint64_t file_bytes);

/// The parity file of these bytes, a function of them and of `parity_blocks` (1 to parity_blocks_max) alone.
std::vector<std::byte> encode_parity(std::span<const std::byte> file, int parity_blocks);
/// Of a file in several pieces, one behind the other, none of them empty, with this hash64().
std::vector<std::byte> encode_parity(std::span<const std::span<const std::byte>> file, uint64_t hash,
                                     int parity_blocks);

struct Restored {
  std::string bytes;
  int64_t blocks = 0;  ///< how many were damaged or missing
};
/// The file as it was, from what is left of it (nothing, or too much, may be) and of its parity file; nothing
/// where more is damaged than the parity gives back, or the parity file is of another kind. Any bytes may
/// come in; no more memory is taken than both of them and a restored file that they can be parts of need.
std::optional<Restored> restore(std::string_view file, std::span<const std::byte> parity);

}  // namespace lepton::storage
