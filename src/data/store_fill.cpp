// SPDX-License-Identifier: Apache-2.0
// Reading and checking of one rank's rows. Blocks are some MiB, whole chunks, and never cross a file.
#include "data/store_fill.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/hash.h"
#include "base/philox.h"
#include "base/watchdog.h"
#include "data/input_check.h"
#include "data/row_check.h"
#include "data/source_reader.h"

namespace lepton::data {

namespace {

constexpr int64_t block_bytes =
    4 << 20;  // fast on parallel file systems, and still in cache when it is checked

size_t file_of(const Source& source, int64_t row) {
  const auto behind = std::upper_bound(source.first_row.begin(), source.first_row.end(), row);
  return static_cast<size_t>(behind - source.first_row.begin()) - 1;
}

/// Chunk length of the largest column of a file; 0: contiguous.
int64_t chunk_rows(const Source& source, size_t file) {
  const Column* largest = &source.inputs.front();
  for (const Column& input : source.inputs)
    if (input.row_bytes() > largest->row_bytes()) largest = &input;
  if (source.target_row_bytes() > largest->row_bytes()) largest = &source.targets;
  return largest->by_offsets ? 0 : largest->arrays[file].chunk_rows;  // chunks of flat values hold no rows
}

size_t file_row_bytes(const Source& source, size_t file) {
  size_t bytes = source.targets.empty() ? 0 : source.targets.file_row_bytes(file);
  for (const Column& input : source.inputs) bytes += input.file_row_bytes(file);
  return bytes;
}

/// The chunk boundary nearest to `row`, in its file.
int64_t nearest_boundary(const Source& source, int64_t row, int64_t part_rows) {
  const size_t file = file_of(source, row);
  const int64_t chunk = chunk_rows(source, file), first = source.first_row[file];
  if (chunk <= 1 || chunk > part_rows) return row;
  return std::min(first + (row - first + chunk / 2) / chunk * chunk, source.first_row[file + 1]);
}

std::string number_text(double value) {
  if (std::floor(value) == value && std::abs(value) < 0x1p53)
    return std::to_string(static_cast<int64_t>(value));
  char text[32];  // the shortest that tells it from its neighbours, so that 1.0000001 is not called 1
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

void note_bad_label(Findings& findings, int64_t row, const std::string& what) {
  if (findings.bad_label_row >= 0) return;
  findings.bad_label_row = row;
  findings.bad_label = what;
}

void check_label(const storage::ArrayInfo& array, const std::byte* target, int64_t row,
                 const Dataset& dataset, Findings& findings) {
  const int64_t classes = dataset.outputs();
  if (dataset.target_kind() == TargetKind::one_hot) {
    if (!one_hot_class(array.type, target, classes))
      note_bad_label(findings, row, "the targets are not one-hot: exactly one value must be 1, all others 0");
    return;
  }
  for (int64_t i = 0; i < dataset.positions(); ++i, target += array.type.bytes) {
    if (is_ignored(array.type, target, dataset.spec().ignored_class)) continue;
    const auto id = class_id(array.type, target);
    if (!id || (classes > 0 && *id >= classes)) {
      const std::string range = classes > 0 ? "in [0, " + std::to_string(classes) + ")" : "from 0 up";
      note_bad_label(findings, row,
                     "the label " + number_text(stored_number(array.type, target, 0)) +
                         " is not a class id: a whole number " + range);
      return;
    }
    findings.largest_label = std::max<int64_t>(findings.largest_label, *id);
  }
}

/// The inputs of one row. The first that is bad; nullopt: none.
std::optional<int> check_inputs(std::span<InputCheck> checks, const std::byte* values, int64_t row,
                                const Dataset& dataset, Findings& findings) {
  for (size_t i = 0; i < checks.size(); ++i) {
    if (!checks[i].good(values)) return static_cast<int>(i);
    const auto number = checks[i].wrong_number(values);
    if (!number) continue;
    if (findings.bad_label_row < 0) findings.bad_label_column = static_cast<int>(i);
    note_bad_label(findings, row,
                   "the input " + number_text(*number) + " is not the number of a row in a table of " +
                       std::to_string(dataset.inputs()[i].table_rows));
  }
  return std::nullopt;
}

bool in_range(double value, TargetRange range) {
  if (range == TargetRange::sign) return value == -1 || value == 0 || value == 1;
  return value >= 0 && (value <= 1 || range == TargetRange::not_negative);
}

void check_range(const storage::ArrayInfo& array, const std::byte* target, int64_t count, int64_t row,
                 TargetRange range, Findings& findings) {
  for (int64_t i = 0; i < count; ++i) {
    const double value = stored_number(array.type, target, i);
    if (in_range(value, range)) continue;
    const char* const wanted = range == TargetRange::sign ? " is no label: the loss takes 1, and 0 or -1"
                               : range == TargetRange::not_negative
                                   ? " is below 0: the loss takes counts"
                                   : " is not in [0, 1]: the loss takes 0, 1 and probabilities between them";
    note_bad_label(findings, row, "the target " + number_text(value) + wanted);
    return;
  }
}

/// The targets of one row whose inputs are good. False: a bad row; labels that are none are noted apart.
bool check_targets(const Source& source, const std::byte* targets, int64_t row, const Dataset& dataset,
                   Findings& findings) {
  const storage::ArrayInfo& array = source.targets.arrays.front();
  if (dataset.target_kind() != TargetKind::values) {
    check_label(array, targets, row, dataset, findings);
    return true;
  }
  const int64_t count = static_cast<int64_t>(source.target_row_bytes()) / array.type.bytes;
  if (!fits_float32(array.type, targets, count)) return false;
  const TargetRange range = dataset.spec().target_range;
  if (range != TargetRange::any) check_range(array, targets, count, row, range, findings);
  return true;
}

}  // namespace

std::vector<int64_t> cut_rows(const Source& source, int64_t begin, int64_t end, int parts) {
  std::vector<int64_t> begins = {begin};
  const int64_t rows = end - begin, part_rows = rows / parts;
  for (int part = 1; part < parts; ++part) {
    // rows * part / parts without overflow
    const int64_t even = begin + part_rows * part + rows % parts * part / parts;
    const int64_t cut = even < end ? nearest_boundary(source, even, part_rows) : end;
    begins.push_back(std::clamp(cut, begins.back(), end));
  }
  begins.push_back(end);
  return begins;
}

void read_source_rows(const Source& source, int64_t begin, int64_t end, std::span<std::byte> out,
                      Findings& findings, const Dataset& dataset) {
  const size_t row_bytes = source.row_bytes();
  CHECK(out.size() == static_cast<size_t>(end - begin) * row_bytes, "room for the rows");
  SourceReader reader(source);
  while (begin < end) {
    const size_t file = file_of(source, begin);
    const int64_t first = source.first_row[file], file_end = std::min(end, source.first_row[file + 1]);
    const int64_t chunk = std::max<int64_t>(1, chunk_rows(source, file));
    const auto bytes = static_cast<int64_t>(std::max(row_bytes, file_row_bytes(source, file)));
    const int64_t wanted = std::max<int64_t>(1, block_bytes / bytes);
    const int64_t block = std::max<int64_t>(1, wanted / chunk) * chunk;
    while (begin < file_end) {
      // Ends at a multiple of the block, so that every later block starts at a chunk.
      const int64_t stop = std::min(file_end, first + ((begin - first) / block + 1) * block);
      const std::span<std::byte> rows = out.first(static_cast<size_t>(stop - begin) * row_bytes);
      reader.read(begin, stop, rows);
      check_rows(source, begin, stop, rows.data(), dataset, findings);
      beat();
      out = out.subspan(rows.size());
      begin = stop;
    }
  }
  for (size_t i = 0; i < source.inputs.size(); ++i) findings.cut.push_back(reader.cut(i));
}

void check_rows(const Source& source, int64_t begin, int64_t end, const std::byte* rows,
                const Dataset& dataset, Findings& findings) {
  std::vector<InputCheck> checks;
  for (size_t i = 0; i < source.inputs.size(); ++i) checks.emplace_back(source, dataset.inputs()[i]);
  for (int64_t row = begin; row < end; ++row, rows += source.row_bytes()) {
    if (!source.uses(row)) continue;
    findings.hash += hash64({rows, source.row_bytes()}, mix64(static_cast<uint64_t>(row)));
    const std::optional<int> bad_input = check_inputs(checks, rows, row, dataset, findings);
    const bool good =
        !bad_input && (source.targets.empty() ||
                       check_targets(source, rows + source.input_row_bytes(), row, dataset, findings));
    if (good) continue;
    if (findings.bad_rows.empty()) findings.first_bad_column = bad_input.value_or(Source::in_targets);
    findings.bad_rows.push_back(row);
  }
}

}  // namespace lepton::data
