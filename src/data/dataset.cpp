// SPDX-License-Identifier: Apache-2.0
// What the columns of a dataset are: rows in memory, inputs and targets, and their description. (Splits:
// dataset_splits.cpp.)
#include "data/dataset.h"

#include <algorithm>

#include "base/hash.h"
#include "data/dataset_files.h"
#include "data/dataset_schema.h"

namespace lepton::data {

namespace {

std::string numbers_text(const Shape& shape, const storage::StoredType& type) {
  return shape_text(Shape(shape.begin() + 1, shape.end())) + " " + type.text();
}

}  // namespace

const SplitSpec* split_spec(const DataSpec& spec, SplitKind kind) {
  const auto& split = kind == SplitKind::train        ? spec.train
                      : kind == SplitKind::validation ? spec.validation
                                                      : spec.test;
  return split ? &*split : nullptr;
}

storage::ArrayInfo Column::as_rows(size_t file) const {
  storage::ArrayInfo array = arrays[file];
  if (!ragged()) return array;
  const auto inner = array.shape.begin() + (by_offsets ? 1 : 2);
  Shape shape = {rows(file), length};
  shape.insert(shape.end(), inner, array.shape.end());
  array.shape = std::move(shape);
  return array;
}

size_t Column::step_bytes() const {
  const size_t bytes = arrays.front().row_bytes();
  return by_offsets ? bytes : bytes / static_cast<size_t>(arrays.front().shape[1]);
}

size_t Column::file_row_bytes(size_t file) const {
  const storage::ArrayInfo& array = arrays[file];
  if (!by_offsets) return array.row_bytes();
  const int64_t count = std::max<int64_t>(1, rows(file));
  return static_cast<size_t>((array.shape[0] + count - 1) / count) * step_bytes();
}

size_t Source::offset_of(const Input& input) const {
  const auto column = static_cast<size_t>(input.column);
  return input_offset(column) + (input.lengths ? inputs[column].value_bytes() : 0);
}

storage::StoredType Source::type_of(const Input& input) const {
  if (input.lengths) return {storage::StoredType::Kind::signed_integer, 4, false};
  return inputs[static_cast<size_t>(input.column)].type();
}

int64_t Input::groups() const {
  if (layout != ImageLayout::sequence) return shape.front();
  return shape.size() > 1 ? shape.back() : 1;
}

Grid Input::grid_of(const Shape& shape) {
  if (shape.size() == 4) return {shape[1], shape[2], shape[3], shape[0]};
  if (shape.size() == 3) return {1, shape[1], shape[2], shape[0]};
  return {1, 1, 1, element_count(shape)};
}

size_t Source::input_offset(size_t input) const {
  size_t offset = 0;
  for (size_t i = 0; i < input; ++i) offset += inputs[i].row_bytes();
  return offset;
}

size_t Source::target_offset(size_t target) const {
  size_t offset = input_row_bytes();
  for (size_t i = 0; i < target; ++i) offset += targets[i].row_bytes();
  return offset;
}

const Column& Source::column(int number) const {
  return number < 0 ? targets[static_cast<size_t>(in_targets - number)] : inputs[static_cast<size_t>(number)];
}

std::string Source::place(int64_t row, int number) const {
  const auto behind = std::upper_bound(first_row.begin(), first_row.end(), row);
  const size_t file = static_cast<size_t>(behind - first_row.begin()) - 1;
  const storage::ArrayInfo& array = column(number).arrays[file];
  return array.file + ":" + array.path + ", row " + std::to_string(row - first_row[file]);
}

Dataset::Dataset(const comm::World& world, const DataSpec& spec)
    : spec_(spec), splits_(std::size(all_splits)) {
  for (const TargetRules& rules : spec_.target_rules()) targets_.push_back({rules});
  std::string packed;
  comm::agree(world, [&] {
    if (world.rank() == 0) packed = pack_sources(find_sources(spec_));
  });
  world.broadcast(packed);
  comm::agree(world, [&] {
    FoundSources found = unpack_sources(packed);
    REQUIRE(!found.sources.empty(), Exit::deck, spec_.position.text(), "no split is given",
            "Set data.train (or test, for evaluate and predict).");
    sources_ = std::move(found.sources);
    resolve_splits(found.source_of_split, std::move(found.rows_of_split));
    resolve_schema();
    settle(std::vector<std::vector<int64_t>>(sources_.size()));
  });
  if (world.rank() == 0) warn_of_overlaps();
}

void Dataset::set_table_rows(size_t input, int64_t rows, std::vector<int64_t> columns) {
  inputs_[input].table_rows = rows;
  inputs_[input].column_rows = std::move(columns);
  const bool next = has(SplitKind::train) && spec_.train->next && target_kind() == TargetKind::classes;
  if (next && input == 0 && outputs() == 0) targets_.front().outputs = rows;
}

int64_t Dataset::input_elements() const {
  int64_t sum = 0;
  for (const Input& input : inputs_) sum += input.elements();
  return sum;
}

int64_t Dataset::statistics_groups() const {
  return first_group(inputs_.back()) +
         (inputs_.back().rules.normalisation == Normalisation::none ? 0 : inputs_.back().groups());
}

int64_t Dataset::first_group(const Input& input) const {
  int64_t sum = 0;
  for (const Input& before : inputs_) {
    if (&before == &input) break;
    if (before.rules.normalisation != Normalisation::none) sum += before.groups();
  }
  return sum;
}

/// The inputs' shapes must be those of the other sources.
void Dataset::resolve_inputs(const Source& source) {
  const bool first = inputs_.empty();
  CHECK(first || inputs_.size() == source.inputs.size(), "splits with other inputs");
  for (size_t i = 0; i < source.inputs.size(); ++i) {
    const Column& column = source.inputs[i];
    Input input;
    input.name = column.name;
    input.column = static_cast<int>(i);
    input.ragged = column.ragged();
    input.rules = spec_.rules(column.name);
    const InputSchema found = input.ragged ? ragged_schema(column.as_rows(), input.rules.layout)
                                           : input_schema(column.as_rows(), input.rules.layout);
    input.stored_elements = element_count(found.shape);
    const InputSchema given = after_transforms(found, input.rules.transforms, column.place());
    input.shape = after_crop(given.shape, input.rules.transforms, column.place());
    if (input.shape != given.shape) input.uncut = given.shape;
    input.layout = given.layout;
    REQUIRE(first || (inputs_[i].whole_shape() == given.shape && inputs_[i].layout == input.layout),
            Exit::data, column.place(),
            "its samples have shape " + shape_text(given.shape) + ", those of another split have " +
                shape_text(inputs_[first ? 0 : i].whole_shape()),
            "All splits hold samples of one shape and layout.");
    if (first) inputs_.push_back(std::move(input));
  }
}

/// Behind all columns, so that these have the numbers of their inputs.
void Dataset::add_lengths() {
  const size_t columns = inputs_.size();
  for (size_t i = 0; i < columns; ++i) {
    if (!inputs_[i].ragged) continue;
    Input& lengths = inputs_.emplace_back();
    lengths.name = inputs_[i].name + ".length";
    lengths.column = static_cast<int>(i);
    lengths.lengths = true;
    lengths.shape = {1};
    lengths.stored_elements = 1;
  }
}

void Dataset::check_transforms(const Input& input, bool targets_have_places) const {
  const std::string where = spec_.position.text(), name = "the input \"" + input.name + "\"";
  for (const Transform& transform : input.rules.transforms) {
    if (transform.kind == Transform::Kind::one_hot)
      REQUIRE(input.rules.normalisation == Normalisation::none, Exit::deck, where,
              name + " is one-hot by its transforms, and normalised too", "Set normalize = \"none\" for it.");
    if (!is_random(transform)) continue;
    REQUIRE(input.shape.size() >= 3, Exit::deck, where,
            "random_flip and random_crop move points of images and volumes, but " + name + " is " +
                shape_text(input.shape),
            "Set its layout to what the array holds, or leave them out.");
    REQUIRE(transform.kind != Transform::Kind::random_flip || transform.axis != Axis::depth ||
                input.shape.size() == 4,
            Exit::deck, where, name + " has no depth to be flipped: it is " + shape_text(input.shape),
            "Flip it horizontally or vertically.");
    REQUIRE(!targets_have_places, Exit::deck, where,
            "random transforms of " + name + " would move its points away from their targets",
            "Leave them out where targets are images too.");
  }
}

void Dataset::resolve_targets(const Source& source, bool first, std::string* description) {
  for (size_t i = 0; i < source.targets.size(); ++i) {
    const storage::ArrayInfo& array = source.targets[i].arrays.front();
    Target& target = targets_[i];
    const TargetSchema found = target_schema(array, target.rules, spec_.position);
    const TargetSchema before{target.kind, target.outputs, target.positions};
    REQUIRE(first || before == found, Exit::data, array.file + ":" + array.path,
            "its targets differ in kind or number from those of another split", "");
    target.kind = found.kind;
    target.outputs = found.outputs;
    target.positions = found.positions;
    if (description) *description += " " + array.path + " " + numbers_text(array.shape, array.type);
  }
}

void Dataset::resolve_schema() {
  std::string description;
  bool first = true, targets_have_places = false;
  const int trained_on = has(SplitKind::train) ? split(SplitKind::train).source : -1;
  for (const Source& source : sources_) {
    resolve_inputs(source);
    const bool counts = trained_on < 0 || &source == &sources_[static_cast<size_t>(trained_on)];
    for (const Column& input : source.inputs) {
      if (!counts) break;
      const storage::ArrayInfo array = input.as_rows();
      description += (&input == &source.inputs.front() ? "" : " ") + array.path + " " +
                     numbers_text(array.shape, array.type);
      if (input.ragged()) description += " by " + input.extents.front().path;
    }
    if (counts) description += " x " + std::to_string(source.rows());
    for (const SplitKind kind : all_splits)
      if (counts && has(kind) && split(kind).listed() && &source == &sources_[split(kind).source])
        description += std::string(" ") + split_name(kind) + " " + hex64(split(kind).rows.hash());
    resolve_targets(source, first, counts ? &description : nullptr);
    first = first && source.targets.empty();
    for (const Column& target : source.targets) targets_have_places |= target.arrays.front().shape.size() > 2;
  }
  for (const Target& target : targets_) targets_have_places |= target.positions > 1;
  for (const Input& input : inputs_) check_transforms(input, targets_have_places);
  add_lengths();
  fingerprint_ = hash64(description);
}

}  // namespace lepton::data
