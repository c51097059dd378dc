// SPDX-License-Identifier: Apache-2.0
// Opening of sources: one Source per distinct (files, inputs, targets).
#include "data/dataset_files.h"

#include <glob.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "comm/pack.h"
#include "data/ragged_reader.h"
#include "data/split_rows.h"

namespace lepton::data {

namespace {

using storage::ArrayInfo;
using PackedArray = std::pair<std::vector<std::string>, std::vector<int64_t>>;

std::vector<std::string> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> files;
  if (glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc; ++i) files.emplace_back(found.gl_pathv[i]);
  globfree(&found);
  std::sort(files.begin(), files.end());
  return files;
}

/// All files hold the same kind of rows: everything but the first dimension, and of padded rows the second.
void check_alike(const ArrayInfo& first, const ArrayInfo& other, size_t free_dimensions) {
  const auto rest = [&](const Shape& shape) {
    return Shape(shape.begin() + static_cast<int64_t>(std::min(shape.size(), free_dimensions)), shape.end());
  };
  const Shape a = rest(first.shape), b = rest(other.shape);
  const std::string where = other.file + ":" + other.path;
  REQUIRE(a == b, Exit::data, where,
          "its rows have shape " + shape_text(b) + ", those of " + first.file + " have " + shape_text(a),
          "Files that are concatenated hold rows of one shape.");
  REQUIRE(first.type == other.type, Exit::data, where,
          "it holds " + other.type.text() + ", " + first.file + " holds " + first.type.text(),
          "Files that are concatenated hold one number type; convert one of them.");
}

PackedArray pack_array(const ArrayInfo& array) {
  std::vector<int64_t> numbers = {static_cast<int64_t>(array.type.kind),
                                  array.type.bytes,
                                  array.type.big_endian,
                                  array.chunk_rows,
                                  array.filtered,
                                  array.windows.length,
                                  array.windows.stride,
                                  array.windows.first,
                                  array.windows.span};
  numbers.insert(numbers.end(), array.shape.begin(), array.shape.end());
  return {{array.file, array.path}, numbers};
}

ArrayInfo unpack_array(const PackedArray& packed) {
  const auto& [names, numbers] = packed;
  CHECK(names.size() == 2 && numbers.size() > 9, "a packed array");
  ArrayInfo array;
  array.file = names[0];
  array.path = names[1];
  array.type = {static_cast<storage::StoredType::Kind>(numbers[0]), static_cast<int>(numbers[1]),
                numbers[2] != 0};
  array.chunk_rows = numbers[3];
  array.filtered = numbers[4] != 0;
  array.windows = {numbers[5], numbers[6], numbers[7], numbers[8]};
  array.shape.assign(numbers.begin() + 9, numbers.end());
  return array;
}

}  // namespace

std::vector<std::string> expand_files(const std::vector<std::string>& patterns,
                                      const SourcePosition& position) {
  REQUIRE(!patterns.empty(), Exit::deck, position.text(), "no data file is given",
          "Set data.file or data.files.");
  std::vector<std::string> files;
  for (const std::string& pattern : patterns) {
    const bool is_glob =
        pattern.find_first_of("*?[") != std::string::npos && access(pattern.c_str(), F_OK) != 0;
    if (!is_glob) {
      files.push_back(pattern);
      continue;
    }
    const std::vector<std::string> found = matches(pattern);
    REQUIRE(!found.empty(), Exit::no_input, position.text(), "no file matches " + pattern,
            "Check data.files.");
    files.insert(files.end(), found.begin(), found.end());
  }
  std::set<std::string> seen;
  for (const std::string& file : files)
    REQUIRE(seen.insert(file).second, Exit::deck, position.text(), file + " is named twice",
            "Each file counts once; make the globs of data.files disjoint.");
  return files;
}

/// In the order of the rules.
static std::vector<std::string> target_paths(const DataSpec& spec, const SplitSpec& split) {
  if (split.next) return {split.inputs.front().values};
  if (!split.targets.empty()) return {split.targets};
  std::vector<std::string> paths;
  for (const TargetRules& rules : spec.targets)
    for (const auto& [name, path] : split.named_targets)
      if (name == rules.name) paths.push_back(path);
  CHECK(paths.empty() || paths.size() == spec.targets.size(), "a path for each target");
  return paths;
}

Columns columns_of(const DataSpec& spec, const SplitSpec& split) {
  Columns columns{split.inputs, target_paths(spec, split)};
  if (spec.sequence == 0) return columns;
  const int64_t next = split.next ? 1 : 0, length = spec.sequence;
  // Other arrays than the train split's are gone through once.
  const bool trained_on = (spec.train && &split == &*spec.train) || split.part();
  const int64_t stride = trained_on && spec.sequence_stride > 0 ? spec.sequence_stride : length;
  columns.input_windows = {length, stride, 0, length + next};
  if (!columns.targets.empty()) columns.target_windows = {length, stride, next, length + next};
  return columns;
}

/// Opens an array of a column in one more file.
static void open_array(std::vector<ArrayInfo>& arrays, const std::string& file, const std::string& path,
                       const storage::RowWindows& windows, size_t free_dimensions = 1) {
  arrays.push_back(storage::Hdf5Array(file, path, windows).info());
  check_alike(arrays.front(), arrays.back(), free_dimensions);
}

/// Lengths [N] or offsets [N + 1] of rows, and values that go with them.
static void open_extents(Column& column, const std::string& file, const InputArrays& input) {
  open_array(column.extents, file, column.by_offsets ? input.offsets : input.lengths, {});
  const ArrayInfo &extents = column.extents.back(), &values = column.arrays.back();
  const std::string where = extents.file + ":" + extents.path;
  REQUIRE(extents.shape.size() == 1 && extents.shape[0] >= (column.by_offsets ? 1 : 0), Exit::data, where,
          column.by_offsets ? "offsets have shape [N + 1], this array has " + shape_text(extents.shape)
                            : "lengths have shape [N], this array has " + shape_text(extents.shape),
          "");
  if (column.by_offsets) return;
  REQUIRE(values.shape.size() >= 2 && values.shape[1] > 0, Exit::data, values.file + ":" + values.path,
          "rows with lengths have shape [N, T] or [N, T, F], this array has " + shape_text(values.shape),
          "Of flat values give offsets, not lengths.");
  REQUIRE(values.shape[0] == extents.shape[0], Exit::data, where,
          "there are " + std::to_string(extents.shape[0]) + " lengths for " +
              std::to_string(values.shape[0]) + " rows of " + values.path,
          "Each row needs its length.");
}

static void open_input(Column& column, const std::string& file, const InputArrays& input,
                       const storage::RowWindows& windows) {
  const bool by_lengths = !input.lengths.empty();
  column.by_offsets = !input.offsets.empty();
  open_array(column.arrays, file, input.values, windows, by_lengths ? 2 : 1);
  if (!by_lengths && !column.by_offsets) return;
  open_extents(column, file, input);
  column.length = std::max(column.length, longest_row(column, column.arrays.size() - 1));
}

/// Columns of one file have as many rows as its first.
static void check_rows(const Source& source, const Column& other, const char* what, const char* hint) {
  const size_t file = source.inputs.front().arrays.size() - 1;
  const ArrayInfo first = source.inputs.front().as_rows(file), second = other.as_rows(file);
  REQUIRE(first.shape[0] == second.shape[0], Exit::data, first.file,
          "inputs and " + std::string(what) + " differ in length: " + first.path + " has " +
              std::to_string(first.shape[0]) + " rows, " + second.path + " has " +
              std::to_string(second.shape[0]),
          hint);
}

Source open_source(const std::vector<std::string>& files, const Columns& columns) {
  Source source;
  for (const InputArrays& input : columns.inputs) source.inputs.push_back({input.name, {}});
  source.targets.resize(columns.targets.size());
  source.first_row.push_back(0);
  for (const std::string& file : files) {
    for (size_t i = 0; i < columns.inputs.size(); ++i) {
      open_input(source.inputs[i], file, columns.inputs[i], columns.input_windows);
      check_rows(source, source.inputs[i], "other inputs", "Each row is one sample, in all of them.");
    }
    source.first_row.push_back(source.first_row.back() +
                               source.inputs.front().rows(source.first_row.size() - 1));
    for (size_t i = 0; i < columns.targets.size(); ++i) {
      open_array(source.targets[i].arrays, file, columns.targets[i], columns.target_windows);
      check_rows(source, source.targets[i], "targets", "Each row of the inputs needs its target.");
    }
  }
  REQUIRE(source.rows() > 0, Exit::data, source.inputs.front().place(), "the dataset has no rows", "");
  for (const Column& input : source.inputs)
    REQUIRE(input.value_bytes() > 0, Exit::data, input.place(), "its rows are empty", "");
  for (const Column& target : source.targets)
    REQUIRE(target.value_bytes() > 0, Exit::data, target.place(), "its rows are empty", "");
  return source;
}

void settle_lengths(const DataSpec& spec, FoundSources& found) {
  if (found.sources.empty()) return;
  const int trained_on = found.source_of_split[static_cast<size_t>(SplitKind::train)];
  const Source decides = found.sources[static_cast<size_t>(std::max(0, trained_on))];
  for (Source& source : found.sources)
    for (size_t i = 0; i < source.inputs.size(); ++i) {
      Column& column = source.inputs[i];
      const int64_t wanted = spec.rules(column.name).length;
      if (column.ragged()) column.length = wanted > 0 ? wanted : decides.inputs[i].length;
    }
}

FoundSources find_sources(const DataSpec& spec) {
  FoundSources found;
  std::vector<std::pair<Columns, std::vector<std::string>>> keys;  // of the sources: columns and files
  for (const SplitKind kind : all_splits) {
    const SplitSpec* split = split_spec(spec, kind);
    found.source_of_split.push_back(-1);
    found.rows_of_split.emplace_back();
    if (split == nullptr) continue;
    const std::pair key(columns_of(spec, *split), expand_files(split->files, split->position));
    const auto known = std::find(keys.begin(), keys.end(), key);
    found.source_of_split.back() = static_cast<int>(known - keys.begin());
    if (known == keys.end()) {
      keys.push_back(key);
      found.sources.push_back(open_source(key.second, key.first));
    }
    if (split->listed())
      found.rows_of_split.back() =
          read_split_rows(found.sources[static_cast<size_t>(found.source_of_split.back())], *split);
  }
  settle_lengths(spec, found);
  return found;
}

/// Name; whether extents are offsets, and the length; arrays, extents.
using PackedColumn = std::pair<std::pair<std::string, std::vector<int64_t>>,
                               std::pair<std::vector<PackedArray>, std::vector<PackedArray>>>;

static PackedColumn pack_column(const Column& column) {
  PackedColumn packed{{column.name, {column.by_offsets, column.length}}, {}};
  for (const ArrayInfo& array : column.arrays) packed.second.first.push_back(pack_array(array));
  for (const ArrayInfo& array : column.extents) packed.second.second.push_back(pack_array(array));
  return packed;
}

static Column unpack_column(const PackedColumn& packed) {
  const auto& [name, numbers] = packed.first;
  CHECK(numbers.size() == 2, "a packed column");
  Column column{name, {}, {}, numbers[0] != 0, numbers[1]};
  for (const PackedArray& array : packed.second.first) column.arrays.push_back(unpack_array(array));
  for (const PackedArray& array : packed.second.second) column.extents.push_back(unpack_array(array));
  return column;
}

/// Of each source its inputs and its targets; of each split its source, and its rows where the files list
/// them.
using PackedColumns = std::vector<PackedColumn>;
using PackedRows = std::pair<int64_t, std::vector<uint64_t>>;
using PackedSources = std::pair<std::vector<std::pair<PackedColumns, PackedColumns>>,
                                std::pair<std::vector<int>, std::vector<PackedRows>>>;

std::string pack_sources(const FoundSources& found) {
  PackedSources packed{{}, {found.source_of_split, {}}};
  for (const RowSet& rows : found.rows_of_split) packed.second.second.emplace_back(rows.rows(), rows.words());
  for (const Source& source : found.sources) {
    auto& [inputs, targets] = packed.first.emplace_back();
    for (const Column& input : source.inputs) inputs.push_back(pack_column(input));
    for (const Column& target : source.targets) targets.push_back(pack_column(target));
  }
  return comm::pack(packed);
}

FoundSources unpack_sources(const std::string& bytes) {
  const auto packed = comm::unpack<PackedSources>(bytes, "description of the dataset");
  FoundSources found;
  found.source_of_split = packed.second.first;
  for (const auto& [rows, words] : packed.second.second) found.rows_of_split.emplace_back(rows, words);
  for (const auto& [inputs, targets] : packed.first) {
    Source& source = found.sources.emplace_back();
    for (const PackedColumn& column : inputs) source.inputs.push_back(unpack_column(column));
    for (const PackedColumn& column : targets) source.targets.push_back(unpack_column(column));
    source.first_row.push_back(0);
    for (size_t file = 0; file < source.inputs.front().arrays.size(); ++file)
      source.first_row.push_back(source.first_row.back() + source.inputs.front().rows(file));
  }
  return found;
}

}  // namespace lepton::data
