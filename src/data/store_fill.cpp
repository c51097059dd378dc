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
  for (const Column& target : source.targets)
    if (target.row_bytes() > largest->row_bytes()) largest = &target;
  return largest->by_offsets ? 0 : largest->arrays[file].chunk_rows;  // chunks of flat values hold no rows
}

size_t file_row_bytes(const Source& source, size_t file) {
  size_t bytes = 0;
  for (const Column& input : source.inputs) bytes += input.file_row_bytes(file);
  for (const Column& target : source.targets) bytes += target.file_row_bytes(file);
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

void note_bad_label(Findings& findings, int64_t row, int column, const std::string& what) {
  if (findings.bad_label_row >= 0) return;
  findings.bad_label_row = row;
  findings.bad_label_column = column;
  findings.bad_label = what;
}

/// What the targets number `index` of a row hold, at `at`.
struct StoredLabels {
  size_t index;
  const storage::StoredType& type;
  const std::byte* at;
  int64_t row;
};

void check_label(const StoredLabels& labels, const Target& target, Findings& findings) {
  const int column = Source::in_target(labels.index);
  const int64_t classes = target.outputs;
  if (target.kind == TargetKind::one_hot) {
    if (!one_hot_class(labels.type, labels.at, classes))
      note_bad_label(findings, labels.row, column,
                     "the targets are not one-hot: exactly one value must be 1, all others 0");
    return;
  }
  const std::byte* at = labels.at;
  for (int64_t i = 0; i < target.positions; ++i, at += labels.type.bytes) {
    if (is_ignored(labels.type, at, target.rules.ignored_class)) continue;
    const auto id = class_id(labels.type, at);
    if (!id || (classes > 0 && *id >= classes)) {
      const std::string range = classes > 0 ? "in [0, " + std::to_string(classes) + ")" : "from 0 up";
      note_bad_label(findings, labels.row, column,
                     "the label " + number_text(stored_number(labels.type, at, 0)) +
                         " is not a class id: a whole number " + range);
      return;
    }
    int64_t& largest = findings.largest_label[labels.index];
    largest = std::max<int64_t>(largest, *id);
  }
}

/// The inputs of one row. The first that is bad; nullopt: none.
std::optional<int> check_inputs(std::span<InputCheck> checks, const std::byte* values, int64_t row,
                                Findings& findings) {
  for (size_t i = 0; i < checks.size(); ++i) {
    if (!checks[i].good(values)) return static_cast<int>(i);
    const auto number = checks[i].wrong_number(values);
    if (!number) continue;
    note_bad_label(findings, row, static_cast<int>(i),
                   "the input " + number_text(number->value) + " is not the number of a row in a table of " +
                       std::to_string(number->rows));
  }
  return std::nullopt;
}

bool in_range(double value, TargetRange range) {
  if (range == TargetRange::sign) return value == -1 || value == 0 || value == 1;
  return value >= 0 && (value <= 1 || range == TargetRange::not_negative);
}

void check_range(const StoredLabels& labels, int64_t count, TargetRange range, Findings& findings) {
  for (int64_t i = 0; i < count; ++i) {
    const double value = stored_number(labels.type, labels.at, i);
    if (in_range(value, range)) continue;
    const char* const wanted = range == TargetRange::sign ? " is no label: the loss takes 1, and 0 or -1"
                               : range == TargetRange::not_negative
                                   ? " is below 0: the loss takes counts"
                                   : " is not in [0, 1]: the loss takes 0, 1 and probabilities between them";
    note_bad_label(findings, labels.row, Source::in_target(labels.index),
                   "the target " + number_text(value) + wanted);
    return;
  }
}

/// The targets of one row whose inputs are good. The first that make it a bad row; labels that are none are
/// noted apart.
std::optional<int> check_targets(const Source& source, const std::byte* values, int64_t row,
                                 const Dataset& dataset, Findings& findings) {
  const auto labels_of = [&](size_t i) {
    return StoredLabels{i, source.targets[i].type(), values + source.target_offset(i), row};
  };
  const auto count_of = [&](size_t i) {
    return static_cast<int64_t>(source.targets[i].row_bytes()) / source.targets[i].type().bytes;
  };
  // First, as nothing else is looked at in a bad row, whichever of its targets makes it one.
  for (size_t i = 0; i < source.targets.size(); ++i)
    if (dataset.targets()[i].kind == TargetKind::values &&
        !fits_float32(labels_of(i).type, labels_of(i).at, count_of(i)))
      return Source::in_target(i);
  for (size_t i = 0; i < source.targets.size(); ++i) {
    const Target& target = dataset.targets()[i];
    if (target.kind != TargetKind::values)
      check_label(labels_of(i), target, findings);
    else if (target.rules.range != TargetRange::any)
      check_range(labels_of(i), count_of(i), target.rules.range, findings);
  }
  return std::nullopt;
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
  findings.largest_label.resize(dataset.targets().size(), -1);
  std::vector<InputCheck> checks;
  for (size_t i = 0; i < source.inputs.size(); ++i) checks.emplace_back(source, dataset.inputs()[i]);
  for (int64_t row = begin; row < end; ++row, rows += source.row_bytes()) {
    if (!source.uses(row)) continue;
    findings.hash += hash64({rows, source.row_bytes()}, mix64(static_cast<uint64_t>(row)));
    std::optional<int> bad = check_inputs(checks, rows, row, findings);
    if (!bad) bad = check_targets(source, rows, row, dataset, findings);
    if (!bad) continue;
    if (findings.bad_rows.empty()) findings.first_bad_column = *bad;
    findings.bad_rows.push_back(row);
  }
}

}  // namespace lepton::data
