// SPDX-License-Identifier: Apache-2.0
// Batches: which samples a step uses, and how a batch is cut into work units. Pure functions of (samples,
// batch size, unit size, order): nothing is padded, the last batch of an epoch is short, units of a batch
// differ by at most one sample. The sizes that will occur are known at the start, because each needs its
// plan. Called by train and balance.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/order.h"

namespace lepton::data {

/// Positions at which the units of a batch begin, and `samples` behind: ceil(samples / unit_size) units,
/// larger first.
std::vector<int64_t> cut_units(int64_t samples, int64_t unit_size);
/// The same into `begins` (cleared first), which allocates nothing once it has been large enough.
void cut_units(int64_t samples, int64_t unit_size, std::vector<int64_t>& begins);

/// The unit sizes of an epoch's batches, ascending, each once.
std::vector<int64_t> unit_sizes_occurring(int64_t samples_per_epoch, int64_t batch_size, int64_t unit_size);

class BatchPlan {
 public:
  BatchPlan(const EpochOrder& order, int64_t batch_size);
  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  int64_t batch_size() const { return batch_size_; }
  /// Steps, epochs and positions count from 0.
  int64_t epoch(int64_t step) const { return step / steps_per_epoch_; }
  int64_t first_position(int64_t step) const { return step % steps_per_epoch_ * batch_size_; }
  int64_t samples(int64_t step) const;
  int64_t largest() const { return samples(0); }
  /// The sample ids of a step in batch order; allocates nothing once `ids` has been large enough.
  void ids(int64_t step, std::vector<int64_t>& ids) const;

 private:
  EpochOrder order_;
  int64_t batch_size_, steps_per_epoch_;
};

}  // namespace lepton::data
