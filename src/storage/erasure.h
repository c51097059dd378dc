// SPDX-License-Identifier: Apache-2.0
// Erasure: a Reed-Solomon code over blocks, wherever they lie: of `data` blocks come `parity` more,
// and any `data` of them all give back the others (a systematic Cauchy code over GF(256), Blömer et al. 1995,
// by ISA-L). Blocks are numbered: first data, then parity. Called by storage/parity (blocks of one file),
// checkpoint and train (blocks of nodes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lepton::storage {

class Erasure {
 public:
  static constexpr int blocks_max = 255;
  /// Both together at most blocks_max; data at least 1.
  Erasure(int data, int parity);
  /// By what the data block enters the parity block, which is the sum of all data blocks so multiplied.
  uint8_t coefficient(int parity_block, int data_block) const;
  /// The same of all data blocks, for one parity block after the other.
  std::vector<uint8_t> parity_rows() const { return {code_.begin() + data_ * data_, code_.end()}; }
  /// By what each of these blocks, as many as there are data blocks, enters a lost data block.
  std::vector<uint8_t> restoring(int lost, std::span<const int> left) const;

 private:
  int data_, parity_;
  std::vector<uint8_t> code_;  ///< row i: how block i is made of the data blocks
};

/// to += coefficient * from, of equal size: in GF(256) a sum is an exclusive or.
void multiply_add(uint8_t coefficient, std::span<const std::byte> from, std::span<std::byte> to);

}  // namespace lepton::storage
