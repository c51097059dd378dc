// SPDX-License-Identifier: Apache-2.0
// Files that survive: content, failures with their codes, failpoints.
#include "storage/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "base/failpoint.h"
#include "storage/scratch.h"

namespace lepton::storage {
namespace {

using testing::expect_error;
using testing::Scratch;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(File, ReadsWhole) {
  const Scratch scratch;
  const std::string path = scratch / "a";
  expect_error(Exit::no_input, path, [&] { read_file(path); });
  EXPECT_EQ(read_file_if_exists(path), std::nullopt);
  expect_error(Exit::no_input, "directory", [&] { read_file(scratch.path()); });
  std::string content(3 << 20, 'x');
  content[12345] = '\0';
  write_file_durably(path, bytes_of(content), "checkpoint");
  EXPECT_EQ(read_file(path), content);
  write_file_durably(path, bytes_of("short"), "checkpoint");
  EXPECT_EQ(read_file(path), "short") << "replaced, not overwritten";
  write_file_durably(path, std::span<const std::byte>(), "checkpoint");
  EXPECT_EQ(read_file(path), "");
}

TEST(File, WriteFailuresNameThePath) {
  const Scratch scratch;
  const std::string path = scratch / "missing/a";
  expect_error(Exit::io, path, [&] { write_file_durably(path, bytes_of("x"), "checkpoint"); });
  expect_error(Exit::io, "No such file", [&] { sync_directory(scratch / "missing"); });
  if (access("/dev/full", W_OK) == 0)
    expect_error(Exit::io, "disk is full",
                 [&] { write_file_durably("/dev/full", bytes_of("x"), "checkpoint"); });
}

TEST(File, FileSizeLimitIsAnIoError) {
  const Scratch scratch;
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    int result = 1;
    try {
      write_file_durably(scratch / "a", bytes_of(std::string(100000, 'x')), "checkpoint");
    } catch (const Error& error) {
      result = error.code() == Exit::io ? 0 : 2;
    }
    _exit(result);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(File, Failpoints) {
  const Scratch scratch;
  const std::string path = scratch / "a";
  arm_failpoints("point=checkpoint.sync,action=error");
  expect_error(Exit::io, "", [&] { write_file_durably(path, bytes_of("content"), "checkpoint"); });
  const std::string content = "content";
  arm_failpoints("point=checkpoint.write,action=flip");
  write_file_durably(path, bytes_of(content), "checkpoint");
  arm_failpoints("");
  EXPECT_EQ(read_file(path).size(), 7u);
  EXPECT_NE(read_file(path), "content");
  arm_failpoints("point=checkpoint.write,action=error");
  expect_error(Exit::io, "", [&] { replace_file(path, "new", "checkpoint"); });
  arm_failpoints("");
  EXPECT_NE(read_file(path), "new") << "a failed replacement leaves the old file";
}

TEST(File, ReplaceAndPieces) {
  const Scratch scratch;
  const std::string path = scratch / "a";
  replace_file(path, "one");
  replace_file(path, "two");
  EXPECT_EQ(read_file(path), "two");
  const std::string a = "abc", b = "defg";
  const std::span<const std::byte> pieces[] = {bytes_of(a), {}, bytes_of(b)};
  replace_file(path, pieces);
  EXPECT_EQ(read_file(path), "abcdefg");
  EXPECT_EQ(list_directory(scratch.path()), (std::vector<std::string>{"a"})) << "no .tmp left";
}

TEST(File, RenameNeverOverwrites) {
  const Scratch scratch;
  make_directories(scratch / "step-1.tmp");
  make_directories(scratch / "step-1");
  replace_file(scratch / "step-1/x", "kept");
  expect_error(Exit::io, "exists", [&] { rename_durably(scratch / "step-1.tmp", scratch / "step-1"); });
  EXPECT_EQ(read_file(scratch / "step-1/x"), "kept");
  rename_durably(scratch / "step-1.tmp", scratch / "step-2");
  EXPECT_EQ(list_directory(scratch.path()), (std::vector<std::string>{"step-1", "step-2"}));
}

TEST(File, ReplacingLeavesNoMomentWithoutAFile) {
  const Scratch scratch;
  const std::string path = scratch / "a";
  replace_file(path, "first");
  std::atomic<bool> done{false};
  int64_t missing = 0;
  std::thread reader([&] {
    while (!done) missing += access(path.c_str(), F_OK) != 0;
  });
  for (int i = 0; i < 200; ++i) {
    const std::string content = "content " + std::to_string(i);
    write_file_durably(scratch / "b", bytes_of(content), "checkpoint");
    replace_durably(scratch / "b", path);
    EXPECT_EQ(read_file(path), content);
  }
  done = true;
  reader.join();
  EXPECT_EQ(missing, 0);
  EXPECT_EQ(list_directory(scratch.path()), (std::vector<std::string>{"a"}));
  expect_error(Exit::io, "renaming failed", [&] { replace_durably(scratch / "none", path); });
  EXPECT_EQ(read_file(path), "content 199");
}

TEST(File, WhatCanBeReplaced) {
  const Scratch scratch;
  replace_file(scratch / "a", "x");
  make_directories(scratch / "folder");
  std::filesystem::create_directory_symlink(scratch / "folder", scratch / "link");
  require_replaceable(scratch / "a");
  require_replaceable(scratch / "new");
  require_replaceable("new-in-the-working-directory");
  for (const char* name : {"folder", "folder/", "link"})
    expect_error(Exit::usage, "this is a directory", [&] { require_replaceable(scratch / name); });
  expect_error(Exit::usage, "no file", [&] { require_replaceable("/dev/null"); });
  expect_error(Exit::io, "there is no directory", [&] { require_replaceable(scratch / "missing/a"); });
  expect_error(Exit::io, "there is no directory", [&] { require_replaceable(scratch / "a/b"); });
  if (geteuid() == 0) return;  // root may write anywhere
  chmod((scratch / "folder").c_str(), 0500);
  expect_error(Exit::io, "cannot be written", [&] { require_replaceable(scratch / "folder/a"); });
  chmod((scratch / "folder").c_str(), 0700);
}

TEST(File, SameFileByOtherNames) {
  const Scratch scratch;
  replace_file(scratch / "a", "x");
  replace_file(scratch / "b", "x");
  std::filesystem::create_hard_link(scratch / "a", scratch / "hard");
  std::filesystem::create_symlink("a", scratch / "soft");
  for (const char* name : {"a", "hard", "soft", "./a"})
    EXPECT_TRUE(same_file(scratch / "a", scratch / name)) << name;
  for (const char* name : {"b", "missing"}) EXPECT_FALSE(same_file(scratch / "a", scratch / name)) << name;
  EXPECT_FALSE(same_file(scratch / "missing", scratch / "missing"));
}

TEST(File, SharedFileWritesAtOffsets) {
  const Scratch scratch;
  const std::string path = scratch / "a";
  expect_error(Exit::io, path, [&] { SharedFile(path).finish(); });
  replace_file(path, "..........");
  SharedFile one(path), other(path);
  one.write(bytes_of("abc"), 1);
  other.write(bytes_of("de"), 8);
  one.finish();
  other.finish();
  EXPECT_EQ(read_file(path), ".abc....de");
  if (access("/dev/full", W_OK) == 0)
    expect_error(Exit::io, "disk is full", [&] { SharedFile("/dev/full").write(bytes_of("x"), 0); });
}

TEST(File, Directories) {
  const Scratch scratch;
  make_directories(scratch / "a/b/c");
  make_directories(scratch / "a/b/c");
  replace_file(scratch / "file", "x");
  expect_error(Exit::run_directory, scratch / "file", [&] { make_directories(scratch / "file"); });
  expect_error(Exit::run_directory, "file/x", [&] { make_directories(scratch / "file/x"); });
  EXPECT_TRUE(list_directory(scratch / "missing").empty());
  remove_tree(scratch / "a");
  remove_tree(scratch / "a");
  EXPECT_EQ(list_directory(scratch.path()), (std::vector<std::string>{"file"}));
  EXPECT_GT(free_bytes(scratch.path()), 0);
}

TEST(File, LineFileAppends) {
  const Scratch scratch;
  const std::string path = scratch / "ledger.txt";
  {
    LineFile lines(path);
    lines.append("one");
    EXPECT_EQ(read_file(path), "one\n") << "at once, without sync";
    LineFile moved(std::move(lines));
    moved.append("two");
    moved.sync();
  }
  LineFile(path).append("three");
  EXPECT_EQ(read_file(path), "one\ntwo\nthree\n");
  expect_error(Exit::run_directory, "missing", [&] { LineFile(scratch / "missing/ledger.txt"); });
  LineFile lines(path);
  expect_error(Exit::software, "newline", [&] { lines.append("a\nb"); });
}

TEST(File, LinesWaitWhileTheDiskIsFull) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "there is no /dev/full";
  LineFile lines("/dev/full");
  lines.append("one");
  lines.append("two");
  expect_error(Exit::io, "8 bytes needed", [&] { lines.sync(); });
}

}  // namespace
}  // namespace lepton::storage
