// SPDX-License-Identifier: Apache-2.0
// What a path holds and whether it is intact: dataset, checkpoint, run directory or model.safetensors. Reads
// only, but all of it; needs no MPI and no lock. Called by the command `inspect`; `status` shares the reading
// of ledgers.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace lepton::train {

/// Keys: kind (dataset | checkpoint | run | model), path, intact, what the kind has, and for all but datasets
/// parameters_hash where it can be computed. Of a dataset, intact means that every row of the arrays that
/// Lepton reads was read; the others are in `unreadable` with the reason (texts, say, are no damage). Throws
/// Error(no_input, data) when the path is none of them.
nlohmann::ordered_json inspect_path(const std::string& path);

/// The same for people.
std::string inspection_text(const nlohmann::ordered_json& report);

/// Lines, last step and loss, and whether the chain holds, of <run>/ledger.txt; null when there is none.
nlohmann::ordered_json inspect_ledger(const std::string& run_directory);

}  // namespace lepton::train
