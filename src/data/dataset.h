// SPDX-License-Identifier: Apache-2.0
// Dataset: what the deck's [data] table means for these files: arrays concatenated over files, splits as sets
// of rows, input shape and target kind; everything checked. No sample data is read here. Sample id i of a
// split is row `row_of(i)` of its source; sources are shared by splits that name the same arrays. Invariant:
// the same on every rank, because rank 0 alone opens the files and tells the others what it found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/world.h"
#include "data/order.h"
#include "data/spec.h"
#include "storage/hdf5.h"
#include "tensor/shape.h"

namespace lepton::data {

/// Two named columns over the same rows: inputs and (optionally) targets, over one or many files.
struct Source {
  std::vector<storage::ArrayInfo> inputs, targets;  ///< one per file; targets empty if none
  std::vector<int64_t> first_row;                   ///< of each file, and the total behind
  int64_t used_begin = 0, used_end = 0;             ///< rows that some split can use; only these are read
  int64_t rows() const { return first_row.back(); }
  size_t input_row_bytes() const { return inputs.front().row_bytes(); }
  size_t target_row_bytes() const { return targets.empty() ? 0 : targets.front().row_bytes(); }
  size_t row_bytes() const { return input_row_bytes() + target_row_bytes(); }
  /// "file:/path, row r" in the column's own file, for errors.
  std::string place(int64_t row, bool in_targets) const;
};

struct SplitInfo {
  int source = 0;       ///< index into Dataset::sources()
  int64_t samples = 0;  ///< bad rows that were skipped already taken out (after SampleStore has been filled)
  int64_t first = 0, end = 0;           ///< rows of the source, when not by fraction
  bool by_fraction = false;             ///< else a part of the shuffled good rows:
  double from_share = 0, to_share = 0;  ///< from round(from_share * rows) to round(to_share * rows)
  int64_t first_good = 0;  ///< position of sample 0 among the good rows (shuffled ones, by fraction)
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

  const Shape& input_shape() const { return input_shape_; }  ///< ONNX order: [C, H, W] or [F]
  ImageLayout layout() const { return layout_; }             ///< resolved
  TargetKind target_kind() const {
    return target_kind_;
  }                                             ///< resolved: classes, one_hot (-> classes), values
  int64_t outputs() const { return outputs_; }  ///< classes, or values per sample; 0 while unknown
  /// Class ids per sample: 1, or one for each token of a sequence or pixel of an image.
  int64_t positions() const { return positions_; }
  /// Inputs are numbers of rows of a table of so many (an embedding's), which is checked when rows are read;
  /// 0: they are not.
  int64_t input_rows() const { return input_rows_; }
  /// Where targets are the next inputs, there are as many classes as rows, unless the deck says otherwise.
  void set_input_rows(int64_t rows);
  /// Values per sample, and for normalisation: channels of an image, else features. See statistics.h.
  int64_t input_elements() const { return element_count(input_shape_); }
  int64_t groups() const { return input_shape_.front(); }
  /// Hash of names inside files, shapes, types and (once the store is filled) of the row data; of the train
  /// split's source where there is one, so that other splits may change.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  friend class SampleStore;  // settles what needs the data: classes, bad rows, fingerprint

  void resolve_splits(const std::vector<int>& source_of_split);
  void resolve_fractions(int source, const std::vector<SplitKind>& members);
  void resolve_schema();
  void warn_of_overlaps() const;
  /// Takes bad rows (sorted, per source) out of the splits. Throws Error(data) when a split has no rows left.
  void settle(std::vector<std::vector<int64_t>> bad_rows);
  int64_t good_before(int source, int64_t row) const;
  int64_t good_row(int source, int64_t index) const;

  DataSpec spec_;
  std::vector<Source> sources_;
  std::vector<std::optional<SplitInfo>> splits_;
  std::vector<std::vector<int64_t>> bad_rows_;  // per source, sorted
  std::vector<Permutation> permutations_;       // per source, of its good rows
  Shape input_shape_;
  ImageLayout layout_ = ImageLayout::none;
  TargetKind target_kind_ = TargetKind::values;
  int64_t outputs_ = 0, positions_ = 1, input_rows_ = 0;
  uint64_t fingerprint_ = 0;
};

/// The deck's text of a split, nullptr when it has none.
const SplitSpec* split_spec(const DataSpec& spec, SplitKind kind);
constexpr SplitKind all_splits[] = {SplitKind::train, SplitKind::validation, SplitKind::test};

}  // namespace lepton::data
