// SPDX-License-Identifier: Apache-2.0
// What the shape and type of a column mean: images or features, class ids or values. Pure functions of the
// file's description and the deck; every guess has a key that overrides it. Called by dataset.cpp.
#pragma once

#include "data/spec.h"
#include "storage/hdf5.h"
#include "tensor/shape.h"

namespace lepton::data {

struct InputSchema {
  Shape shape;         ///< [C, D, H, W], [C, H, W], [T, F], [T], or [F]
  ImageLayout layout;  ///< as the array has it; none for features
  bool operator==(const InputSchema&) const = default;
};
/// [N] -> [1], [N, F] -> [F], [N, H, W] -> [1, H, W]; rank 4 by `wanted` or by which side looks like
/// channels; volumes and sequences as `wanted` alone says; with layout none, and automatically from rank 5
/// up, all trailing dimensions become features. Throws Error(data).
InputSchema input_schema(const storage::ArrayInfo& inputs, ImageLayout wanted);

/// Of rows with lengths of their own, [N, T] -> [T] and [N, T, ...] -> [T, F], as sequences. Throws
/// Error(deck) for another layout.
InputSchema ragged_schema(const storage::ArrayInfo& inputs, ImageLayout wanted);

/// What one_hot makes of it, behind the other dimensions in memory: [1] -> [classes], [F] -> [F, classes] and
/// [1, H, W] -> [classes, H, W]. `where`: the array, for errors. Throws Error(deck) for channels or features.
InputSchema after_transforms(InputSchema schema, const std::vector<Transform>& transforms,
                             const std::string& where);

/// What random_crop leaves of images and volumes where it has a size. Throws Error(deck) for a size that they
/// do not have.
Shape after_crop(const Shape& shape, const std::vector<Transform>& transforms, const std::string& where);

struct TargetSchema {
  TargetKind kind;        ///< classes, one_hot or values
  int64_t outputs;        ///< classes if known (else 0), or values per sample
  int64_t positions = 1;  ///< class ids per sample
  bool operator==(const TargetSchema&) const = default;
};
/// Automatic: where the loss needs class ids, rank 1 (and [N, 1]) are ids, [N, C] is one-hot, and windows and
/// what has a higher rank are ids of tokens or pixels; otherwise values. Throws Error(data), Error(deck) on
/// contradictions.
TargetSchema target_schema(const storage::ArrayInfo& targets, const TargetRules& rules,
                           const SourcePosition& position);

}  // namespace lepton::data
