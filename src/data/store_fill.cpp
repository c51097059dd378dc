// SPDX-License-Identifier: Apache-2.0
// Reading and checking of one rank's rows. Blocks are some MiB, whole chunks, and never cross a file.
#include "data/store_fill.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/hash.h"
#include "base/philox.h"
#include "base/watchdog.h"
#include "data/row_check.h"

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
  const bool targets_larger = source.target_row_bytes() > source.input_row_bytes();
  return targets_larger ? source.targets[file].chunk_rows : source.inputs[file].chunk_rows;
}

/// The chunk boundary nearest to `row`, in its file.
int64_t nearest_boundary(const Source& source, int64_t row, int64_t part_rows) {
  const size_t file = file_of(source, row);
  const int64_t chunk = chunk_rows(source, file), first = source.first_row[file];
  if (chunk <= 1 || chunk > part_rows) return row;
  return std::min(first + (row - first + chunk / 2) / chunk * chunk, source.first_row[file + 1]);
}

void interleave(const std::byte* column, size_t column_bytes, int64_t rows, std::byte* out,
                size_t row_bytes) {
  for (int64_t i = 0; i < rows; ++i, out += row_bytes, column += column_bytes)
    std::memcpy(out, column, column_bytes);
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

/// Inputs that are numbers of rows of a table.
void check_row_numbers(const storage::ArrayInfo& array, const std::byte* inputs, int64_t count, int64_t row,
                       const Dataset& dataset, Findings& findings) {
  if (dataset.input_rows() == 0) return;
  if (const auto number = not_a_row_number(array.type, inputs, count, dataset.input_rows())) {
    if (findings.bad_label_row < 0) findings.bad_label_in_targets = false;
    note_bad_label(findings, row,
                   "the input " + number_text(*number) + " is not the number of a row in a table of " +
                       std::to_string(dataset.input_rows()));
  }
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
  const storage::ArrayInfo& array = source.targets.front();
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
  const size_t input_bytes = source.input_row_bytes(), target_bytes = source.target_row_bytes();
  const size_t row_bytes = input_bytes + target_bytes;
  CHECK(out.size() == static_cast<size_t>(end - begin) * row_bytes, "room for the rows");
  std::vector<std::byte> scratch;
  while (begin < end) {
    const size_t file = file_of(source, begin);
    const int64_t first = source.first_row[file], file_end = std::min(end, source.first_row[file + 1]);
    const storage::ArrayInfo& input_info = source.inputs[file];
    const storage::Hdf5Array inputs(input_info.file, input_info.path, input_info.windows);
    REQUIRE(inputs.info().shape == input_info.shape && inputs.info().type == input_info.type, Exit::data,
            source.place(begin, false), "the file has changed since it was opened", "");
    std::unique_ptr<storage::Hdf5Array> targets;
    if (target_bytes > 0) {
      const storage::ArrayInfo& info = source.targets[file];
      targets = std::make_unique<storage::Hdf5Array>(info.file, info.path, info.windows);
    }
    const int64_t chunk = std::max<int64_t>(1, chunk_rows(source, file));
    const int64_t wanted = std::max<int64_t>(1, block_bytes / static_cast<int64_t>(row_bytes));
    const int64_t block = std::max<int64_t>(1, wanted / chunk) * chunk;
    while (begin < file_end) {
      // Ends at a multiple of the block, so that every later block starts at a chunk.
      const int64_t stop = std::min(file_end, first + ((begin - first) / block + 1) * block);
      const int64_t rows = stop - begin;
      const size_t n = static_cast<size_t>(rows);
      if (targets) {
        scratch.resize(n * std::max(input_bytes, target_bytes));
        inputs.read_rows(begin - first, stop - first, std::span(scratch).first(n * input_bytes));
        interleave(scratch.data(), input_bytes, rows, out.data(), row_bytes);
        targets->read_rows(begin - first, stop - first, std::span(scratch).first(n * target_bytes));
        interleave(scratch.data(), target_bytes, rows, out.data() + input_bytes, row_bytes);
      } else {
        inputs.read_rows(begin - first, stop - first, out.first(n * input_bytes));
      }
      check_rows(source, begin, stop, out.data(), dataset, findings);
      beat();
      out = out.subspan(n * row_bytes);
      begin = stop;
    }
  }
}

void check_rows(const Source& source, int64_t begin, int64_t end, const std::byte* rows,
                const Dataset& dataset, Findings& findings) {
  const storage::ArrayInfo& input = source.inputs.front();
  const int64_t input_count = static_cast<int64_t>(source.input_row_bytes()) / input.type.bytes;
  // Normalisation computes in double, and brings what is large to its own scale.
  const bool normalised = dataset.spec().normalisation != Normalisation::none;
  for (int64_t row = begin; row < end; ++row, rows += source.row_bytes()) {
    findings.hash += hash64({rows, source.row_bytes()}, mix64(static_cast<uint64_t>(row)));
    const bool good_inputs =
        normalised ? all_finite(input.type, rows, input_count) : fits_float32(input.type, rows, input_count);
    if (good_inputs) check_row_numbers(input, rows, input_count, row, dataset, findings);
    const bool good =
        good_inputs && (source.targets.empty() ||
                        check_targets(source, rows + source.input_row_bytes(), row, dataset, findings));
    if (good) continue;
    if (findings.bad_rows.empty()) findings.first_bad_in_targets = good_inputs;
    findings.bad_rows.push_back(row);
  }
}

}  // namespace lepton::data
