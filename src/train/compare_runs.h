// SPDX-License-Identifier: Apache-2.0
// Where two runs part: the first step at which their ledgers differ, in what, and which mathematical keys,
// data or arithmetic class could be why. From files alone, without locks; a running job may be writing them.
// Called by the command `compare`.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace lepton::train {

/// Keys: runs (the two directories), steps (of each), compared (steps that both have), same (whether those
/// are equal), first_difference (step, and in `fields` the two values of each that differs), differing (the
/// same of mathematical keys, data and arithmetic class, as far as both runs tell what they are). Throws
/// Error(no_input) where a directory holds no ledger, Error(data) where its lines are damaged.
nlohmann::ordered_json compare_runs(const std::string& a, const std::string& b);

/// The same for people.
std::string comparison_text(const nlohmann::ordered_json& comparison);

}  // namespace lepton::train
