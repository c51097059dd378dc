// SPDX-License-Identifier: Apache-2.0
// ISA-L's matrices and products. See the header.
#include "storage/erasure.h"

#include <isa-l/erasure_code.h>

#include <algorithm>
#include <array>
#include <climits>

#include "base/error.h"

namespace lepton::storage {

Erasure::Erasure(int data, int parity)
    : data_(data), parity_(parity), code_(static_cast<size_t>(data) * static_cast<size_t>(data + parity)) {
  CHECK(data >= 1 && parity >= 0 && data + parity <= blocks_max, "a code of at most 255 blocks");
  gf_gen_cauchy1_matrix(code_.data(), data + parity, data);
}

uint8_t Erasure::coefficient(int parity_block, int data_block) const {
  CHECK(parity_block >= 0 && parity_block < parity_ && data_block >= 0 && data_block < data_, "a block");
  return code_[static_cast<size_t>(data_ + parity_block) * static_cast<size_t>(data_) +
               static_cast<size_t>(data_block)];
}

std::vector<uint8_t> Erasure::restoring(int lost, std::span<const int> left) const {
  CHECK(lost >= 0 && lost < data_ && std::ssize(left) == data_, "as many blocks as there are of data");
  const auto columns = static_cast<size_t>(data_);
  std::vector<uint8_t> rows, inverse(columns * columns);
  for (const int block : left) {
    const auto row = code_.begin() + block * data_;
    rows.insert(rows.end(), row, row + data_);
  }
  CHECK(gf_invert_matrix(rows.data(), inverse.data(), data_) == 0, "blocks that differ give all back");
  const auto row = inverse.begin() + lost * data_;
  return {row, row + data_};
}

void multiply_add(uint8_t coefficient, std::span<const std::byte> from, std::span<std::byte> to) {
  CHECK(from.size() == to.size() && from.size() <= INT_MAX, "blocks of one size");
  std::array<unsigned char, 32> table;
  ec_init_tables(1, 1, &coefficient, table.data());
  // (ISA-L's interface forgets that it only reads the source.)
  auto* source = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(from.data()));
  auto* sum = reinterpret_cast<unsigned char*>(to.data());
  ec_encode_data_update(static_cast<int>(from.size()), 1, 1, 0, table.data(), source, &sum);
}

}  // namespace lepton::storage
