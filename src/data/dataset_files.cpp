// SPDX-License-Identifier: Apache-2.0
// Opening of sources: one Source per distinct (files, inputs, targets).
#include "data/dataset_files.h"

#include <glob.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "comm/pack.h"

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

/// All files hold the same kind of rows: everything but the first dimension.
void check_alike(const ArrayInfo& first, const ArrayInfo& other) {
  const Shape a(first.shape.begin() + 1, first.shape.end()), b(other.shape.begin() + 1, other.shape.end());
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

Columns columns_of(const DataSpec& spec, const SplitSpec& split) {
  Columns columns{split.inputs, split.next ? split.inputs.front().values : split.targets};
  if (spec.sequence == 0) return columns;
  const int64_t next = split.next ? 1 : 0, length = spec.sequence;
  // Other arrays than the train split's are gone through once.
  const bool trained_on = (spec.train && &split == &*spec.train) || split.rows || split.fraction;
  const int64_t stride = trained_on && spec.sequence_stride > 0 ? spec.sequence_stride : length;
  columns.input_windows = {length, stride, 0, length + next};
  if (!columns.targets.empty()) columns.target_windows = {length, stride, next, length + next};
  return columns;
}

/// Opens the column's array in one more file.
static const ArrayInfo& open_column(Column& column, const std::string& file, const std::string& path,
                                    const storage::RowWindows& windows) {
  column.arrays.push_back(storage::Hdf5Array(file, path, windows).info());
  check_alike(column.arrays.front(), column.arrays.back());
  return column.arrays.back();
}

/// Columns of one file have as many rows as its first.
static void check_rows(const Source& source, const ArrayInfo& other, const char* what) {
  const ArrayInfo& first = source.inputs.front().arrays.back();
  REQUIRE(
      first.shape[0] == other.shape[0], Exit::data, first.file,
      "inputs and " + std::string(what) + " differ in length: " + first.path + " has " +
          std::to_string(first.shape[0]) + " rows, " + other.path + " has " + std::to_string(other.shape[0]),
      "Each row of the inputs needs its " + std::string(what == std::string("targets") ? "target." : "row."));
}

Source open_source(const std::vector<std::string>& files, const Columns& columns) {
  Source source;
  for (const InputArrays& input : columns.inputs) source.inputs.push_back({input.name, {}});
  source.first_row.push_back(0);
  for (const std::string& file : files) {
    for (size_t i = 0; i < columns.inputs.size(); ++i)
      check_rows(source, open_column(source.inputs[i], file, columns.inputs[i].values, columns.input_windows),
                 "other inputs");
    source.first_row.push_back(source.first_row.back() + source.inputs.front().arrays.back().shape[0]);
    if (!columns.targets.empty())
      check_rows(source, open_column(source.targets, file, columns.targets, columns.target_windows),
                 "targets");
  }
  REQUIRE(source.rows() > 0, Exit::data, source.inputs.front().place(), "the dataset has no rows", "");
  for (const Column& input : source.inputs)
    REQUIRE(input.row_bytes() > 0, Exit::data, input.place(), "its rows are empty", "");
  REQUIRE(source.targets.empty() || source.target_row_bytes() > 0, Exit::data, source.targets.place(),
          "its rows are empty", "");
  return source;
}

FoundSources find_sources(const DataSpec& spec) {
  FoundSources found;
  std::vector<std::pair<Columns, std::vector<std::string>>> keys;  // of the sources: columns and files
  for (const SplitKind kind : all_splits) {
    const SplitSpec* split = split_spec(spec, kind);
    found.source_of_split.push_back(-1);
    if (split == nullptr) continue;
    const std::pair key(columns_of(spec, *split), expand_files(split->files, split->position));
    const auto known = std::find(keys.begin(), keys.end(), key);
    found.source_of_split.back() = static_cast<int>(known - keys.begin());
    if (known != keys.end()) continue;
    keys.push_back(key);
    found.sources.push_back(open_source(key.second, key.first));
  }
  return found;
}

using PackedColumn = std::pair<std::string, std::vector<PackedArray>>;

static PackedColumn pack_column(const Column& column) {
  PackedColumn packed{column.name, {}};
  for (const ArrayInfo& array : column.arrays) packed.second.push_back(pack_array(array));
  return packed;
}

static Column unpack_column(const PackedColumn& packed) {
  Column column{packed.first, {}};
  for (const PackedArray& array : packed.second) column.arrays.push_back(unpack_array(array));
  return column;
}

/// Of each source its columns, targets last.
using PackedSources = std::pair<std::vector<std::vector<PackedColumn>>, std::vector<int>>;

std::string pack_sources(const FoundSources& found) {
  PackedSources packed{{}, found.source_of_split};
  for (const Source& source : found.sources) {
    std::vector<PackedColumn>& columns = packed.first.emplace_back();
    for (const Column& input : source.inputs) columns.push_back(pack_column(input));
    columns.push_back(pack_column(source.targets));
  }
  return comm::pack(packed);
}

FoundSources unpack_sources(const std::string& bytes) {
  const auto packed = comm::unpack<PackedSources>(bytes, "description of the dataset");
  FoundSources found;
  found.source_of_split = packed.second;
  for (const std::vector<PackedColumn>& columns : packed.first) {
    Source& source = found.sources.emplace_back();
    for (const PackedColumn& column : columns) source.inputs.push_back(unpack_column(column));
    source.targets = std::move(source.inputs.back());
    source.inputs.pop_back();
    source.first_row.push_back(0);
    for (const ArrayInfo& array : source.inputs.front().arrays)
      source.first_row.push_back(source.first_row.back() + array.shape[0]);
  }
  return found;
}

}  // namespace lepton::data
