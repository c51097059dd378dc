// SPDX-License-Identifier: Apache-2.0
// DataSpec: the deck's [data] table, parsed. Filled by train/deck, understood by dataset.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "tensor/shape.h"

namespace lepton::data {

enum class SplitKind : int { train = 0, validation = 1, test = 2 };
const char* split_name(SplitKind kind);  ///< "train", "validation", "test"

/// Where a split has one of its inputs: paths inside its files.
struct InputArrays {
  std::string name = "input";
  std::string values;
  std::string lengths = {},
              offsets = {};  ///< of rows that have lengths of their own: one of them; see RaggedReader
  bool operator==(const InputArrays&) const = default;
};

struct SplitSpec {
  std::vector<std::string>
      files;  ///< resolved paths or globs; a glob is sorted bytewise, files are concatenated
  std::vector<InputArrays> inputs;  ///< in the order of the train split; unnamed: one, called "input"
  std::string targets;              ///< path inside the files; may be empty (predict)
  /// Several targets by name, with their paths, instead of it.
  std::vector<std::pair<std::string, std::string>> named_targets = {};
  bool next = false;  ///< targets are the inputs moved by one element (with DataSpec::sequence)
  std::optional<std::pair<int64_t, int64_t>> rows;  ///< [from, to)
  std::optional<double>
      fraction;  ///< of the shuffled rows (by seed); splits of the same arrays take disjoint parts
  /// Path inside each file of an array of row numbers of that file, or of a 1 or 0 for each of its rows.
  std::string indices = {}, mask = {};
  SourcePosition position;

  bool listed() const { return !indices.empty() || !mask.empty(); }  ///< its rows are told by the files
  bool part() const { return rows || fraction || listed(); }         ///< of its arrays' rows
};

enum class ImageLayout { automatic, hwc, chw, hw, none, cdhw, dhwc, dhw, sequence };
enum class Axis { horizontal, vertical, depth };  ///< of width, height, depth
enum class TargetKind { automatic, classes, one_hot, values };
enum class TargetRange { any, probability /* [0, 1] */, sign /* 0 or -1, and 1 */, not_negative };
enum class Normalisation { none, unit, standardize };
enum class Shuffle { global, window, none };
enum class BadRows { error, skip };

/// What is done to an input's values when a unit is assembled (data/transforms.h).
struct Transform {
  enum class Kind { log1p, clip, scale, one_hot, random_flip, random_crop };
  Kind kind = Kind::log1p;
  double low = 0, high = 0;       ///< clip
  double factor = 1, offset = 0;  ///< scale: x factor + offset
  int64_t classes = 0;            ///< one_hot
  Axis axis = Axis::horizontal;   ///< random_flip
  int64_t padding = 0;            ///< random_crop: zeros on each side
  /// random_crop: what is left, for each axis or one for all; empty: as much as there was without padding.
  std::vector<int64_t> size = {};
  bool operator==(const Transform&) const = default;
};

/// How one input is taken.
struct InputRules {
  ImageLayout layout = ImageLayout::automatic;
  Normalisation normalisation = Normalisation::none;
  int64_t length = 0;  ///< steps of rows with lengths of their own; 0: of the train split's longest
  std::vector<Transform> transforms = {};  ///< those of values before the random ones
};
/// What the deck says of it by its name.
struct InputSpec {
  std::string name;
  std::optional<ImageLayout> layout = {};
  std::optional<Normalisation> normalisation = {};
  std::optional<int64_t> length = {};
  std::optional<std::vector<Transform>> transforms = {};
};

/// What is asked of targets.
struct TargetRules {
  std::string name = {};  ///< of one of several
  /// automatic: where the loss needs class ids, one number per row is an id and several are one-hot; else
  /// values
  TargetKind kind = TargetKind::automatic;
  int64_t classes = 0;                        ///< 0: largest label of the train split + 1
  bool needs_classes = false;                 ///< the loss asks for class ids (softmax_cross_entropy)
  TargetRange range = TargetRange::any;       ///< what the loss asks of targets that are values
  std::optional<int64_t> ignored_class = {};  ///< positions with this id count nowhere
};

struct DataSpec {
  std::optional<SplitSpec> train, validation, test;
  std::vector<InputSpec> inputs;      ///< what the deck says of inputs by name; the rest is as follows
  int64_t length = 0;                 ///< of inputs, as InputRules has it
  std::vector<Transform> transforms;  ///< the same
  ImageLayout layout =
      ImageLayout::automatic;  ///< automatic: [N,a,b] hw; [N,a,b,c] chw if a <= 4 else hwc if c <= 4
  /// Of several targets by name, in the order in which rows hold them; none: there is one, of which what
  /// follows says what TargetRules do.
  std::vector<TargetRules> targets;
  TargetKind target_kind = TargetKind::automatic;
  int64_t classes = 0;
  /// Rows are windows of so many elements of arrays of rank 1; 0: rows are rows. Those of the train split and
  /// of splits that are parts of their arrays begin `sequence_stride` elements apart (0: as many as they are
  /// long), those of other splits side by side.
  int64_t sequence = 0, sequence_stride = 0;
  Normalisation normalisation = Normalisation::none;
  Shuffle shuffle = Shuffle::global;
  int64_t shuffle_window = 65536, shuffle_block = 256;  ///< samples
  BadRows bad_rows = BadRows::error;                    ///< rows with what is not finite as float32
  uint64_t seed = 0;
  bool needs_classes = false;
  TargetRange target_range = TargetRange::any;
  std::optional<int64_t> ignored_class;
  SourcePosition position;  ///< of [data]

  InputRules rules(const std::string& input) const;
  /// Of all targets; at least one.
  std::vector<TargetRules> target_rules() const;
};

}  // namespace lepton::data
