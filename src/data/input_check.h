// SPDX-License-Identifier: Apache-2.0
// InputCheck: whether one input of a stored row can be taken: finite as what becomes of it, and where its
// values number the rows of a table, such numbers. Looks at stored bytes where nothing but conversion changes
// them, else at the values after the input's transforms. One per thread. Called by store_fill and predict.
#pragma once

#include <optional>
#include <vector>

#include "data/input_converter.h"

namespace lepton::data {

class InputCheck {
 public:
  InputCheck(const Source& source, const Input& input);
  /// False: the row is a bad one. Normalisation, which is in double, brings what is large to its own scale.
  bool good(const std::byte* row);
  struct WrongNumber {
    double value;
    int64_t rows;  ///< of the table that it is to number
  };
  /// Of a good row: a value that is not the number of a row of the input's table, or of its own.
  std::optional<WrongNumber> wrong_number(const std::byte* row);

 private:
  InputConverter converter_;
  storage::StoredType type_;
  size_t offset_;
  int64_t elements_, table_rows_;
  std::vector<int64_t> column_rows_;
  bool normalised_;
  std::vector<float> values_;  // after transforms; empty: stored bytes are looked at
};

/// For errors: what makes a row a bad one.
std::string bad_row_text(const Input& input);

}  // namespace lepton::data
