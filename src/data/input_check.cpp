// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "data/input_check.h"

#include "data/row_check.h"

namespace lepton::data {

namespace {

constexpr storage::StoredType converted{storage::StoredType::Kind::floating, 4, false};

const std::byte* bytes_of(const std::vector<float>& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}

}  // namespace

InputCheck::InputCheck(const Source& source, const Input& input)
    : converter_(source, input),
      type_(source.type_of(input)),
      offset_(source.offset_of(input)),
      elements_(input.whole_elements()),
      table_rows_(input.table_rows),
      column_rows_(input.column_rows),
      normalised_(input.rules.normalisation != Normalisation::none),
      values_(input.rules.transforms.empty() ? 0 : static_cast<size_t>(elements_)) {}

bool InputCheck::good(const std::byte* row) {
  if (values_.empty())
    return normalised_ ? all_finite(type_, row + offset_, elements_)
                       : fits_float32(type_, row + offset_, elements_);
  converter_.values(row, values_);
  return all_finite(converted, bytes_of(values_), elements_);
}

std::optional<InputCheck::WrongNumber> InputCheck::wrong_number(const std::byte* row) {
  if (table_rows_ == 0 && column_rows_.empty()) return std::nullopt;
  if (!values_.empty()) converter_.values(row, values_);
  const storage::StoredType& type = values_.empty() ? type_ : converted;
  const std::byte* numbers = values_.empty() ? row + offset_ : bytes_of(values_);
  if (table_rows_ > 0)
    if (const auto wrong = not_a_row_number(type, numbers, elements_, table_rows_))
      return WrongNumber{*wrong, table_rows_};
  for (size_t i = 0; i < column_rows_.size(); ++i) {
    const std::byte* number = numbers + i * static_cast<size_t>(type.bytes);
    if (column_rows_[i] == 0) continue;
    if (const auto wrong = not_a_row_number(type, number, 1, column_rows_[i]))
      return WrongNumber{*wrong, column_rows_[i]};
  }
  return std::nullopt;
}

std::string bad_row_text(const Input& input) {
  return input.rules.transforms.empty() ? "the row holds NaN or Inf"
                                        : "the row holds NaN or Inf, or becomes so by the input's transforms "
                                          "(log1p of a number below -1, "
                                          "or one_hot of what is no class)";
}

}  // namespace lepton::data
