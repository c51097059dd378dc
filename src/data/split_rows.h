// SPDX-License-Identifier: Apache-2.0
// The rows of a split that its files tell, as a list of row numbers or as a mask. Lists are sets: their order
// says nothing, and what the split's samples are does not depend on it. Called by dataset_files, on rank 0.
#pragma once

#include "data/dataset.h"

namespace lepton::data {

/// The array at split.indices, or at split.mask, in each file of the source: row numbers from 0 of that file,
/// or a 1 or 0 for each of its rows. Throws Error(data), naming array and element, for numbers that are no
/// rows, rows that come twice, masks of another length, and where nothing is listed.
RowSet read_split_rows(const Source& source, const SplitSpec& split);

}  // namespace lepton::data
