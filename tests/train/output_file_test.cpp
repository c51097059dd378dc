// SPDX-License-Identifier: Apache-2.0
// Outputs take nobody's place, and what is not finished goes.
#include "train/output_file.h"

#include <gtest/gtest.h>

#include "errors.h"
#include "scratch.h"

namespace lepton::train {
namespace {

void write_text_to(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

TEST(OutputFile, TakesThePlaceOfAnEarlierOutputOnly) {
  const Scratch scratch;
  require_new_output(scratch.file("new.h5"));
  write_text_to(scratch.file("empty.h5"), "");
  require_new_output(scratch.file("empty.h5"));
  write_text_to(scratch.file("deck.toml"), "[run]");
  expect_error_of([&] { require_new_output(scratch.file("deck.toml")); }, Exit::usage, {"is not HDF5"});
  write_text_to(scratch.file("manifest.json"), "{}");
  expect_error_of([&] { require_new_output(scratch.file("empty.h5")); }, Exit::usage,
                  {"belongs to a checkpoint"});
  expect_error_of([&] { require_new_output(scratch.file("nowhere/a.h5")); }, Exit::io, {"nowhere"});
}

TEST(OutputFile, WhatIsNotFinishedGoes) {
  const Scratch scratch;
  const std::string path = unfinished_name(scratch.file("a.h5"));
  EXPECT_NE(path, scratch.file("a.h5"));
  for (const bool finished : {true, false}) {
    write_text_to(path, "x");
    Unfinished unfinished{path};
    if (finished) unfinished.path.clear();
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace lepton::train
