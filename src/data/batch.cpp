// SPDX-License-Identifier: Apache-2.0
// The arithmetic of batches and units.
#include "data/batch.h"

#include <algorithm>

#include "base/error.h"

namespace lepton::data {

void cut_units(int64_t samples, int64_t unit_size, std::vector<int64_t>& begins) {
  CHECK(samples >= 0 && unit_size > 0,
        std::to_string(samples) + " samples, units of " + std::to_string(unit_size));
  begins.clear();
  const int64_t units = (samples + unit_size - 1) / unit_size;
  begins.push_back(0);
  for (int64_t unit = 0; unit < units; ++unit)
    begins.push_back(begins.back() + samples / units + (unit < samples % units ? 1 : 0));
}

std::vector<int64_t> cut_units(int64_t samples, int64_t unit_size) {
  std::vector<int64_t> begins;
  cut_units(samples, unit_size, begins);
  return begins;
}

std::vector<int64_t> unit_sizes_occurring(int64_t samples_per_epoch, int64_t batch_size, int64_t unit_size) {
  CHECK(batch_size > 0, "batch_size " + std::to_string(batch_size));
  std::vector<int64_t> sizes;
  const int64_t batches[] = {std::min(samples_per_epoch, batch_size), samples_per_epoch % batch_size};
  for (const int64_t batch : batches) {
    const std::vector<int64_t> begins = cut_units(batch, unit_size);
    for (size_t i = 1; i < begins.size(); ++i) sizes.push_back(begins[i] - begins[i - 1]);
  }
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

BatchPlan::BatchPlan(const EpochOrder& order, int64_t batch_size)
    : order_(order), batch_size_(batch_size), steps_per_epoch_(0) {
  CHECK(batch_size > 0 && order.samples() > 0, "a batch plan without samples");
  steps_per_epoch_ = (order.samples() + batch_size - 1) / batch_size;
}

int64_t BatchPlan::samples(int64_t step) const {
  return std::min(batch_size_, order_.samples() - first_position(step));
}

void BatchPlan::ids(int64_t step, std::vector<int64_t>& ids) const {
  CHECK(step >= 0, "step " + std::to_string(step));
  ids.resize(static_cast<size_t>(samples(step)));
  const int64_t first = first_position(step);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = order_.sample(epoch(step), first + static_cast<int64_t>(i));
}

}  // namespace lepton::data
