// SPDX-License-Identifier: Apache-2.0
// StepMath: what a training step needs of a device beside the network's ops: the loss, adding gradients to
// the exact sum, and the passes over the arena's blocks at its end. Each is enqueued; all pointers are device
// memory unless said otherwise. The semantics are those of the host's functions of the same name (ops/loss,
// ops/quantise, ops/update, ops/parameters_hash), and but for the loss, where the order of a sum is the
// device's own, their bits too. What a recording must find at a fixed address, though it changes from unit to
// unit, is a UnitTag in device memory. Implementations: ops/debug_engine, kernels/. Called by train's device
// ranks.
#pragma once

#include <cstdint>

#include "ops/loss.h"
#include "ops/update_rule.h"
#include "tensor/arena.h"

namespace lepton::ops {

/// Which unit runs. Plain data.
struct UnitTag {
  int64_t unit = 0;     ///< number in the round
  uint32_t step = 0;    ///< for random numbers
  uint32_t report = 0;  ///< where its report goes
};

/// What a unit leaves behind. Cleared before a round; plain data.
struct UnitReport {
  UnitLoss loss;
  int64_t unit_plus_1 = 0;  ///< from the tag: 0 where no unit reported
  uint32_t blame = 0;       ///< complement of the lowest tensor whose gradient is not finite; 0: none
};

/// Which of several losses a run is of: its scores are a part of each sample's, and so is its gradient.
struct LossOfSeveral {
  int64_t row = 0;        ///< all scores of a sample; 0: there is one loss, of all of them
  int64_t positions = 1;  ///< of a sample in this loss
  float factor = 1;       ///< of the gradient
  int64_t number = 0;     ///< of the loss, of `losses`
  int64_t losses = 1;
  UnitLoss* sums = nullptr;  ///< sums[tag->report * losses + number]: = in place of the report's
};

struct LossRun {
  LossSpec spec;
  int64_t samples = 0, outputs = 0;  ///< samples: positions
  int64_t term_positions = 1;        ///< Loss::term_positions
  TallySpec tally = {};
  const float* scores = nullptr;
  const int32_t* classes = nullptr;  ///< or values, the other is null
  const float* values = nullptr;
  float* gradient = nullptr;              ///< null: only sums
  const double* class_weights = nullptr;  ///< one per output; null: all 1
  int64_t* counts = nullptr;              ///< null: none; += as Loss::count
  UnitLoss* per_sample = nullptr;         ///< scratch, one per sample
  const UnitTag* tag = nullptr;
  UnitReport* reports = nullptr;  ///< reports[tag->report].loss and .unit_plus_1: =
  LossOfSeveral part = {};        ///< scores and gradient begin at the part of the first sample

  /// Where the scores of a position lie.
  LEPTON_HD int64_t scores_at(int64_t position) const {
    if (part.row == 0) return position * outputs;
    return position / part.positions * part.row + position % part.positions * outputs;
  }
};

/// A node's sum of gradients (exact/accumulator.h has the layout and what the checksums promise).
struct DeviceSums {
  int64_t* elements = nullptr;      ///< of the arena
  int64_t* checksums = nullptr;     ///< one per block
  uint32_t* magnitudes = nullptr;   ///< per tensor: float32 bits of the largest |gradient|, a maximum; of
                                    ///< blocks that hold finite values only
  const int32_t* scales = nullptr;  ///< per tensor
};

/// One tensor's gradient. What overflows is added all the same, modulo 2^64 in element and checksum alike:
/// the magnitude tells, and the attempt is dropped.
struct QuantiseRun {
  int32_t tensor = 0;
  int64_t begin = 0, count = 0;  ///< arena elements
  const float* values = nullptr;
  DeviceSums sums;
  const UnitTag* tag = nullptr;
  UnitReport* reports = nullptr;  ///< reports[tag->report].blame: maximum
};

/// The arena's layout in device memory.
struct BlockTable {
  const Segment* segments = nullptr;
  const int64_t* segment_begin = nullptr;  ///< per block, and the end
  const TensorRule* rules = nullptr;       ///< per tensor
  int64_t elements = 0;
};

/// What is found of a block before its update.
struct BlockCheck {
  int64_t stated = 0, found = 0;  ///< the checksum that came with the sums; that of the elements
  double norm = 0;                ///< sum of squares of the rounded gradient sums of its parameters
};

struct VerifyRun {
  BlockTable table;
  DeviceSums sums;
  int64_t first_block = 0, end_block = 0;
  bool norms = false;            ///< else they stay as they are
  BlockCheck* checks = nullptr;  ///< checks[b - first_block], =
};

struct UpdateRun {
  BlockTable table;
  DeviceSums sums;
  int64_t first_block = 0, end_block = 0;
  UpdateRule rule;
  const float* parameters = nullptr;  ///< of the whole arena
  float* parameters_new = nullptr;
  const float* moments[2] = {};  ///< from the first block's first element on; null where there are fewer
  float* moments_new[2] = {};
};

class StepMath {
 public:
  virtual ~StepMath() = default;
  virtual void loss(const LossRun& run) = 0;
  virtual void quantise_add(const QuantiseRun& run) = 0;
  virtual void verify(const VerifyRun& run) = 0;
  virtual void update(const UpdateRun& run) = 0;
  /// hashes[b] = the hash of block b of `arena`, for first_block <= b < end_block.
  virtual void hash_blocks(const float* arena, int64_t elements, int64_t first_block, int64_t end_block,
                           uint64_t* hashes) = 0;
  /// sums[i] += more[i], modulo 2^64: of another node.
  virtual void add_sums(int64_t* sums, const int64_t* more, int64_t count) = 0;
};

}  // namespace lepton::ops
