// SPDX-License-Identifier: Apache-2.0
// Dataset: what the deck's [data] table means for these files: arrays concatenated over files, splits as sets
// of rows, input shape and target kind; everything checked. No sample data is read here, only what lists the
// rows of splits. Sample id i of a split is row `row_of(i)` of its source; sources are shared by splits that
// name the same arrays. Invariant: the same on every rank, because rank 0 alone opens the files and tells the
// others what it found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/world.h"
#include "data/order.h"
#include "data/row_set.h"
#include "data/spec.h"
#include "data/transforms.h"
#include "storage/hdf5.h"
#include "tensor/shape.h"

namespace lepton::data {

/// A column of a source: an array in each of its files.
struct Column {
  std::string name;                        ///< of the input; of targets ""
  std::vector<storage::ArrayInfo> arrays;  ///< one per file; none: there is no such column
  /// Rows with lengths of their own: arrays of these, or of offsets into flat values, one per file; else
  /// none.
  std::vector<storage::ArrayInfo> extents = {};
  bool by_offsets = false;
  int64_t length = 0;  ///< steps in memory of rows with lengths of their own

  bool empty() const { return arrays.empty(); }
  bool ragged() const { return !extents.empty(); }
  const storage::StoredType& type() const { return arrays.front().type; }
  int64_t rows(size_t file) const { return by_offsets ? extents[file].shape[0] - 1 : arrays[file].shape[0]; }
  /// The column as if it were an array of rows of one length.
  storage::ArrayInfo as_rows(size_t file = 0) const;
  size_t step_bytes() const;  ///< of a row with a length of its own
  /// What a row takes in its file, on average; more than in memory where rows are cut.
  size_t file_row_bytes(size_t file) const;
  size_t value_bytes() const {
    return empty() ? 0 : ragged() ? static_cast<size_t>(length) * step_bytes() : arrays.front().row_bytes();
  }
  /// In memory. Behind the values of a row with a length of its own stands this, as int32.
  size_t row_bytes() const { return value_bytes() + (ragged() ? sizeof(int32_t) : 0); }
  std::string place() const { return arrays.front().file + ":" + arrays.front().path; }  ///< for errors
};

struct Input;

/// Columns over the same rows, over one or many files: inputs and (optionally) targets. A row in memory is
/// what its columns hold, side by side.
struct Source {
  std::vector<Column> inputs;
  std::vector<Column> targets;           ///< none: the source has no targets
  std::vector<int64_t> first_row;        ///< of each file, and the total behind
  int64_t used_begin = 0, used_end = 0;  ///< rows that some split can use; only these are read
  /// Where splits are lists of rows: theirs, and only these are looked at; else of no rows, which means all.
  RowSet used = {};
  bool uses(int64_t row) const { return used.rows() == 0 || used.contains(row); }
  int64_t rows() const { return first_row.back(); }
  size_t input_offset(size_t input) const;  ///< of its bytes in a row
  size_t input_row_bytes() const { return input_offset(inputs.size()); }
  /// Where the values of a network's input stand in a row, and as what.
  size_t offset_of(const Input& input) const;
  storage::StoredType type_of(const Input& input) const;
  size_t target_offset(size_t target) const;  ///< of its bytes in a row
  size_t row_bytes() const { return target_offset(targets.size()); }
  static constexpr int in_targets = -1;  ///< the first; -2 the second, and so on
  static int in_target(size_t target) { return in_targets - static_cast<int>(target); }
  /// An input, or of the targets the one that such a number stands for.
  const Column& column(int number) const;
  /// "file:/path, row r" in the file of such a column, for errors.
  std::string place(int64_t row, int number) const;
};

/// An input of the network, as the data give it: a column, or the lengths of its rows.
struct Input {
  std::string name;
  int column = 0;
  bool lengths = false;  ///< "NAME.length": how many steps of the input NAME count, shape [1]
  bool ragged = false;   ///< rows have lengths of their own, and zeros behind
  Shape shape = {};      ///< of one sample, ONNX order: [C, D, H, W], [C, H, W], [T, F], [T] or [F]
  Shape uncut = {};      ///< before random_crop leaves `shape` of it; empty: it does not
  ImageLayout layout = ImageLayout::none;
  InputRules rules = {};
  /// Its values number the rows of a table of so many (an embedding's), which is checked when rows are read;
  /// 0: they do not.
  int64_t table_rows = 0;
  std::vector<int64_t> column_rows = {};  ///< the same for each element by itself; empty: there are none
  int64_t stored_elements = 0;  ///< of a row; other than whole_elements() where one_hot makes more of them

  int64_t elements() const { return element_count(shape); }
  const Shape& whole_shape() const { return uncut.empty() ? shape : uncut; }
  int64_t whole_elements() const { return element_count(whole_shape()); }
  /// For normalisation: channels of an image or volume, features of a step, else features; see statistics.h.
  int64_t groups() const;
  int64_t stored_channels() const { return groups() / (whole_elements() / stored_elements); }
  Grid grid() const { return grid_of(shape); }
  static Grid grid_of(const Shape& shape);
};

/// One of the targets, as the data give it.
struct Target {
  TargetRules rules = {};
  TargetKind kind = TargetKind::values;  ///< resolved: classes, one_hot (-> classes), values
  int64_t outputs = 0;                   ///< classes, or values per sample; 0 while unknown
  /// Class ids per sample: 1, or one for each token of a sequence or pixel of an image.
  int64_t positions = 1;
};

struct SplitInfo {
  int source = 0;       ///< index into Dataset::sources()
  int64_t samples = 0;  ///< bad rows that were skipped already taken out (after SampleStore has been filled)
  int64_t first = 0, end = 0;           ///< rows of the source between which it lies, when not by fraction
  bool by_fraction = false;             ///< else a part of the shuffled good rows:
  double from_share = 0, to_share = 0;  ///< from round(from_share * rows) to round(to_share * rows)
  int64_t first_good = 0;  ///< position of sample 0 among the good rows (shuffled ones, by fraction)
  RowSet rows = {};        ///< where the files list them, ascending by sample id; else of no source
  bool listed() const { return rows.rows() > 0; }
};

class Dataset {
 public:
  /// **Collective.** Opens and checks all files; the same errors on every rank. Throws Error(no_input, data,
  /// deck).
  Dataset(const comm::World& world, const DataSpec& spec);

  const DataSpec& spec() const { return spec_; }
  const std::vector<Source>& sources() const { return sources_; }
  bool has(SplitKind kind) const { return splits_[static_cast<size_t>(kind)].has_value(); }
  const SplitInfo& split(SplitKind kind) const;  ///< CHECKs has()
  /// Row in the source of sample id i.
  int64_t row_of(SplitKind kind, int64_t sample) const;
  /// Whether a row of the split's source belongs to the split; bad rows belong to none.
  bool contains(SplitKind kind, int64_t row) const;

  const std::vector<Input>& inputs() const { return inputs_; }
  const Shape& input_shape() const { return inputs_.front().shape; }  ///< of the first input
  /// At least one; also where the data hold none.
  const std::vector<Target>& targets() const { return targets_; }
  // Of the first.
  TargetKind target_kind() const { return targets_.front().kind; }
  int64_t outputs() const { return targets_.front().outputs; }
  int64_t positions() const { return targets_.front().positions; }
  /// Where targets are the first input's next elements, there are as many classes as rows of its table,
  /// unless the deck says otherwise.
  void set_table_rows(size_t input, int64_t rows, std::vector<int64_t> columns);
  int64_t input_elements() const;  ///< values of a sample, of all inputs
  /// Groups of the inputs that are normalised, one after another: those of Statistics.
  int64_t statistics_groups() const;
  int64_t first_group(const Input& input) const;  ///< where those of one of inputs() begin
  /// Hash of names inside files, shapes, types and (once the store is filled) of the row data; of the train
  /// split's source where there is one, so that other splits may change.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  friend class SampleStore;  // settles what needs the data: classes, bad rows, fingerprint

  // dataset_splits.cpp:
  void resolve_splits(const std::vector<int>& source_of_split, std::vector<RowSet> rows_of_split);
  void resolve_fractions(int source, const std::vector<SplitKind>& members);
  void resolve_rows(int source, SplitKind kind);
  bool comparable(SplitKind a, SplitKind b) const;
  void refuse_trained_rows() const;
  void warn_of_overlaps() const;
  /// Takes bad rows (sorted, per source) out of the splits. Throws Error(data) when a split has no rows left.
  void settle(std::vector<std::vector<int64_t>> bad_rows);
  int64_t good_before(int source, int64_t row) const;
  int64_t good_row(int source, int64_t index) const;
  // dataset.cpp:
  void resolve_inputs(const Source& source);
  void add_lengths();
  void check_transforms(const Input& input, bool targets_have_places) const;
  void resolve_schema();
  /// What the targets of a source are, which must be what those of the `others` are. Adds to `description`.
  void resolve_targets(const Source& source, bool first, std::string* description);

  DataSpec spec_;
  std::vector<Source> sources_;
  std::vector<std::optional<SplitInfo>> splits_;
  std::vector<std::vector<int64_t>> bad_rows_;  // per source, sorted
  std::vector<Permutation> permutations_;       // per source, of its good rows
  std::vector<Input> inputs_;
  std::vector<Target> targets_;
  uint64_t fingerprint_ = 0;
};

/// The deck's text of a split, nullptr when it has none.
const SplitSpec* split_spec(const DataSpec& spec, SplitKind kind);
constexpr SplitKind all_splits[] = {SplitKind::train, SplitKind::validation, SplitKind::test};

}  // namespace lepton::data
