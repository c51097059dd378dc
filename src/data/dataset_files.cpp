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
  Columns columns{split.inputs, split.next ? split.inputs : split.targets};
  if (spec.sequence == 0) return columns;
  const int64_t next = split.next ? 1 : 0, length = spec.sequence;
  // Other arrays than the train split's are gone through once.
  const bool trained_on = (spec.train && &split == &*spec.train) || split.rows || split.fraction;
  const int64_t stride = trained_on && spec.sequence_stride > 0 ? spec.sequence_stride : length;
  columns.input_windows = {length, stride, 0, length + next};
  if (!columns.targets.empty()) columns.target_windows = {length, stride, next, length + next};
  return columns;
}

Source open_source(const std::vector<std::string>& files, const Columns& columns) {
  const auto& [inputs, targets, input_windows, target_windows] = columns;
  Source source;
  source.first_row.push_back(0);
  for (const std::string& file : files) {
    source.inputs.push_back(storage::Hdf5Array(file, inputs, input_windows).info());
    const ArrayInfo& input = source.inputs.back();
    check_alike(source.inputs.front(), input);
    source.first_row.push_back(source.first_row.back() + input.shape[0]);
    if (targets.empty()) continue;
    source.targets.push_back(storage::Hdf5Array(file, targets, target_windows).info());
    const ArrayInfo& target = source.targets.back();
    check_alike(source.targets.front(), target);
    REQUIRE(input.shape[0] == target.shape[0], Exit::data, file,
            "inputs and targets differ in length: " + inputs + " has " + std::to_string(input.shape[0]) +
                " rows, " + targets + " has " + std::to_string(target.shape[0]),
            "Each row of the inputs needs its target.");
  }
  const std::string where = files.front() + ":" + inputs;
  REQUIRE(source.rows() > 0, Exit::data, where, "the dataset has no rows", "");
  REQUIRE(source.input_row_bytes() > 0, Exit::data, where, "its rows are empty", "");
  REQUIRE(targets.empty() || source.target_row_bytes() > 0, Exit::data, files.front() + ":" + targets,
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

std::string pack_sources(const FoundSources& found) {
  std::vector<std::pair<std::vector<PackedArray>, std::vector<PackedArray>>> packed;
  for (const Source& source : found.sources) {
    packed.emplace_back();
    for (const ArrayInfo& array : source.inputs) packed.back().first.push_back(pack_array(array));
    for (const ArrayInfo& array : source.targets) packed.back().second.push_back(pack_array(array));
  }
  return comm::pack(std::pair(packed, found.source_of_split));
}

FoundSources unpack_sources(const std::string& bytes) {
  using Packed =
      std::pair<std::vector<std::pair<std::vector<PackedArray>, std::vector<PackedArray>>>, std::vector<int>>;
  const Packed packed = comm::unpack<Packed>(bytes, "description of the dataset");
  FoundSources found;
  found.source_of_split = packed.second;
  for (const auto& [inputs, targets] : packed.first) {
    Source& source = found.sources.emplace_back();
    source.first_row.push_back(0);
    for (const PackedArray& array : inputs) {
      source.inputs.push_back(unpack_array(array));
      source.first_row.push_back(source.first_row.back() + source.inputs.back().shape[0]);
    }
    for (const PackedArray& array : targets) source.targets.push_back(unpack_array(array));
  }
  return found;
}

}  // namespace lepton::data
