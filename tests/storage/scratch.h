// SPDX-License-Identifier: Apache-2.0
// A directory of a test's own, removed at its end, and an assertion on Errors. Used by the tests of storage
// and of what stands above it.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/error.h"

namespace lepton::testing {

class Scratch {
 public:
  Scratch() {
    path_ = (std::filesystem::temp_directory_path() / "lepton-test-XXXXXX").string();
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// `work` throws Error with this code, and its text holds `part`.
template <class Work>
void expect_error(Exit code, const std::string& part, Work&& work) {
  try {
    work();
    ADD_FAILURE() << "no error; expected one with \"" << part << "\"";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

}  // namespace lepton::testing
