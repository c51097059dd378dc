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
  for (size_t i = 0; i < columns.targets.size(); ++i) {
    const Column& column = columns.targets[i];
    const Target& target = dataset.targets()[i];
    targets_.push_back({column.type(), static_cast<int64_t>(column.row_bytes()) / column.type().bytes,
                        columns.target_offset(i), target.kind == TargetKind::one_hot,
                        target.rules.ignored_class});
  }
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

void Assembler::classes(std::span<const std::byte* const> rows, std::span<int32_t> classes,
                        size_t target) const {
  CHECK(target < targets_.size(), "no such target");
  const auto& [type, elements, offset, one_hot, ignored] = targets_[target];
  const int64_t positions = one_hot ? 1 : elements;
  CHECK(classes.size() == rows.size() * static_cast<size_t>(positions), "size of a unit's classes");
  int32_t* out = classes.data();
  for (const std::byte* row : rows)
    for (int64_t i = 0; i < positions; ++i) {
      const std::byte* at = row + offset + i * type.bytes;
      const auto id = one_hot ? one_hot_class(type, at, elements) : class_id(type, at);
      const bool none = one_hot ? id && ignored == int64_t{*id} : is_ignored(type, at, ignored);
      CHECK(id || none, "a label that was not checked");
      *out++ = none ? -1 : *id;
    }
}

void Assembler::values(std::span<const std::byte* const> rows, std::span<float> values, size_t target) const {
  CHECK(target < targets_.size(), "no such target");
  const StoredTarget& stored = targets_[target];
  CHECK(values.size() == rows.size() * static_cast<size_t>(stored.elements), "size of a unit's values");
  with_type(stored.type, [&](auto tag) {
    float* out = values.data();
    for (const std::byte* row : rows)
      for (int64_t i = 0; i < stored.elements; ++i)
        *out++ = static_cast<float>(
            as_double(load<typename decltype(tag)::Type, decltype(tag)::swap>(row + stored.offset, i)));
  });
}

}  // namespace lepton::data
