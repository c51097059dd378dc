// SPDX-License-Identifier: Apache-2.0
// How a run stands, from its files alone and without its lock: ledger.txt, metrics.jsonl, run.json,
// checkpoints/. A running job may be writing them, so torn last lines are normal. Called by the command
// `status`.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace lepton::train {

/// Keys: run, state (new | running | finished | stopped | failed | interrupted), owner while running, step,
/// epoch, loss, samples_per_second, balance (step, efficiency, slowest and fastest node as last recorded),
/// validation, test (last evaluations), checkpoint (newest, unverified), starts, and of the last start begin,
/// end, exit, ranks, nodes. Throws Error(no_input) when the directory is no run.
nlohmann::ordered_json run_status(const std::string& run_directory);

/// The same for people.
std::string status_text(const nlohmann::ordered_json& status);

}  // namespace lepton::train
