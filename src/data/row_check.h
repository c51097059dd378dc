// SPDX-License-Identifier: Apache-2.0
// Checks of stored rows: finite numbers, class ids, one-hot rows. Called by store.cpp for every resident row,
// once, and by the assembler, which reads labels that have been checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "storage/hdf5.h"

namespace lepton::data {

/// No NaN and no Inf among n numbers; always true for integer types.
bool all_finite(const storage::StoredType& type, const std::byte* row, int64_t n);

/// The same for the numbers as float32, in which a float64 beyond 3.4e38 is Inf too: what inputs become that
/// are not normalised, and targets.
bool fits_float32(const storage::StoredType& type, const std::byte* row, int64_t n);

/// The first of n numbers that is not a whole number in [0, rows); nullopt if all are.
std::optional<double> not_a_row_number(const storage::StoredType& type, const std::byte* row, int64_t n,
                                       int64_t rows);

/// The i-th number of a row as double.
double stored_number(const storage::StoredType& type, const std::byte* row, int64_t i);

/// The class id in a row: a whole number in [0, 2^31 - 1) of any stored type; nullopt for everything else.
std::optional<int32_t> class_id(const storage::StoredType& type, const std::byte* row);
/// The largest of `count` class ids but for the ignored one; -1 where none is left.
int64_t largest_class(const storage::StoredType& type, const std::byte* row, int64_t count,
                      const std::optional<int64_t>& ignored = std::nullopt);
/// Whether the number in a row is the class id that is ignored, which may be negative.
bool is_ignored(const storage::StoredType& type, const std::byte* row, const std::optional<int64_t>& ignored);
/// The class of a one-hot row of n numbers: exactly one is 1, all others are 0.
std::optional<int32_t> one_hot_class(const storage::StoredType& type, const std::byte* row, int64_t n);

}  // namespace lepton::data
