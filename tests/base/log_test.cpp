// SPDX-License-Identifier: Apache-2.0
// Who logs what, where: levels by rank, the rank in front, the file, and the live line cleared before each
// line.
#include "base/log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"

namespace lepton {
namespace {

template <class F>
std::string stderr_of(const F& action) {
  testing::internal::CaptureStderr();
  action();
  return testing::internal::GetCapturedStderr();
}

int interrupts = 0;

TEST(Log, RankZeroLogsEverything) {
  start_log(0, 4);
  EXPECT_EQ(stderr_of([] {
              log_info("Reading.");
              log_warning("Narrow binding.");
              log_error("Disk full.");
            }),
            "Reading.\nwarning: Narrow binding.\nerror: Disk full.\n");
}

TEST(Log, OtherRanksLogWarningsWithTheirNumber) {
  start_log(2, 4);
  EXPECT_EQ(stderr_of([] {
              log_info("Reading.");
              log_warning("Narrow binding {}.");
            }),
            "rank 2: warning: Narrow binding {}.\n");
  start_log(0, 1);
}

TEST(Log, TheLiveLineIsClearedBeforeEachLineThatIsWritten) {
  start_log(1, 2);
  interrupts = 0;
  set_log_interrupt([] { ++interrupts; });
  stderr_of([] {
    log_info("not written on rank 1");
    log_warning("written");
  });
  set_log_interrupt(nullptr);
  EXPECT_EQ(interrupts, 1);
  start_log(0, 1);
}

TEST(Log, AppendsToTheFile) {
  const std::string path = testing::TempDir() + "lepton_log_test.txt";
  std::ofstream(path) << "before\n";
  start_log(0, 1);
  attach_log_file(path);
  stderr_of([] { log_info("Into the file."); });
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str().substr(0, 7), "before\n");
  EXPECT_NE(text.str().find("  Into the file.\n"), std::string::npos);
  std::filesystem::remove(path);
}

TEST(Log, AFileThatCannotBeWrittenIsAnErrorOfTheRunDirectory) {
  try {
    attach_log_file("/proc/no/such/log.txt");
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::run_directory);
  }
}

}  // namespace
}  // namespace lepton
