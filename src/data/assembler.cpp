// SPDX-License-Identifier: Apache-2.0
// A unit's inputs and targets, column by column of its rows.
#include "data/assembler.h"

#include "data/row_check.h"
#include "data/stored_value.h"

namespace lepton::data {

Assembler::Assembler(const Dataset& dataset, int source, const Statistics& statistics) {
  const Source& columns = dataset.sources()[static_cast<size_t>(source)];
  const int64_t groups = dataset.statistics_groups();
  CHECK(groups == 0 || std::ssize(statistics.mean) == groups, "statistics of another dataset");
  for (const Input& input : dataset.inputs())
    inputs_.emplace_back(columns, input, statistics, dataset.first_group(input));
  input_elements_ = dataset.input_elements();
  input_bytes_ = columns.input_row_bytes();
  if (columns.targets.empty()) return;
  target_type_ = columns.targets.type();
  target_elements_ = static_cast<int64_t>(columns.target_row_bytes()) / target_type_.bytes;
  one_hot_ = dataset.target_kind() == TargetKind::one_hot;
  ignored_ = dataset.spec().ignored_class;
}

void Assembler::input(size_t index, std::span<const std::byte* const> rows, const UnitDraws* draws,
                      std::span<float> values) const {
  inputs_[index].convert(rows, draws, values);
}

void Assembler::inputs(std::span<const std::byte* const> rows, const UnitDraws* draws,
                       std::span<float> values) const {
  CHECK(values.size() == rows.size() * static_cast<size_t>(input_elements_), "size of a unit's inputs");
  for (const InputConverter& input : inputs_) {
    const size_t count = rows.size() * static_cast<size_t>(input.elements());
    input.convert(rows, draws, values.first(count));
    values = values.subspan(count);
  }
}

void Assembler::classes(std::span<const std::byte* const> rows, std::span<int32_t> classes) const {
  const int64_t positions = one_hot_ ? 1 : target_elements_;
  CHECK(classes.size() == rows.size() * static_cast<size_t>(positions) && target_elements_ > 0,
        "size of a unit's classes");
  int32_t* out = classes.data();
  for (const std::byte* row : rows)
    for (int64_t i = 0; i < positions; ++i) {
      const std::byte* target = row + input_bytes_ + i * target_type_.bytes;
      const auto id =
          one_hot_ ? one_hot_class(target_type_, target, target_elements_) : class_id(target_type_, target);
      const bool none =
          one_hot_ ? id && ignored_ == int64_t{*id} : is_ignored(target_type_, target, ignored_);
      CHECK(id || none, "a label that was not checked");
      *out++ = none ? -1 : *id;
    }
}

void Assembler::values(std::span<const std::byte* const> rows, std::span<float> values) const {
  CHECK(values.size() == rows.size() * static_cast<size_t>(target_elements_), "size of a unit's values");
  with_type(target_type_, [&](auto tag) {
    float* out = values.data();
    for (const std::byte* row : rows)
      for (int64_t i = 0; i < target_elements_; ++i)
        *out++ = static_cast<float>(
            as_double(load<typename decltype(tag)::Type, decltype(tag)::swap>(row + input_bytes_, i)));
  });
}

}  // namespace lepton::data
