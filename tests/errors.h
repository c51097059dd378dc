// SPDX-License-Identifier: Apache-2.0
// For tests of bad input: what the Error that a call must throw says.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace lepton {

/// The Error that the call throws, whose code must be `code` and whose message holds all of `parts`. None,
/// with a failure, when it throws none.
template <class Call>
std::optional<Error> expect_error_of(Call&& call, Exit code, const std::vector<std::string>& parts) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    for (const std::string& part : parts)
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << part << "\nnot in:\n"
                                                                         << error.what();
    return error;
  }
  ADD_FAILURE() << "no error" << (parts.empty() ? "" : ": " + parts.front());
  return std::nullopt;
}

}  // namespace lepton
