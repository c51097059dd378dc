// SPDX-License-Identifier: Apache-2.0
// Reading back the files that grow by lines (ledger.txt, metrics.jsonl): a line counts only with its newline,
// since a kill may have torn the last one. Used by ledger and metrics.
#pragma once

#include <string>
#include <vector>

namespace lepton::report {

/// Whole lines, without newlines; empty when the file is missing. `torn` tells whether text stands behind the
/// last.
std::vector<std::string> read_whole_lines(const std::string& path, bool& torn);
std::string joined_lines(const std::vector<std::string>& lines);

}  // namespace lepton::report
