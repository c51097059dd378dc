// SPDX-License-Identifier: Apache-2.0
// Names of splits, as decks, log lines and errors write them.
#include "data/spec.h"

namespace lepton::data {

const char* split_name(SplitKind kind) {
  return kind == SplitKind::train ? "train" : kind == SplitKind::validation ? "validation" : "test";
}

}  // namespace lepton::data
