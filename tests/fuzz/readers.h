// SPDX-License-Identifier: Apache-2.0
// What reads bytes from outside, each as a function of arbitrary bytes that returns or throws an Error that
// is not a bug of ours. Driven by libFuzzer (tools/fuzz) and by fuzz_replay (in the tests).
#pragma once

#include <functional>
#include <map>
#include <string>

namespace lepton::fuzz {

/// name -> reader; bytes that are refused throw Error.
const std::map<std::string, std::function<void(const std::string& bytes)>>& fuzzed_readers();

/// Runs a reader. Ends the process where the Error is one of ours; every other escape is a crash by itself.
/// Returns whether the bytes were accepted.
bool run_reader(const std::function<void(const std::string& bytes)>& reader, const std::string& bytes);

}  // namespace lepton::fuzz
