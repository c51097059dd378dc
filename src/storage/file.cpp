// SPDX-License-Identifier: Apache-2.0
// Files that survive, over POSIX calls: every write is complete, every error carries path and errno's text, a
// full disk is named as such with what was needed and what is free.
#include "storage/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"

namespace lepton::storage {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_io(const std::string& path, const char* action, int error, int64_t needed_bytes = 0) {
  std::string what = std::string(action) + " failed: " + std::strerror(error), hint;
  if (error == ENOSPC || error == EDQUOT) {
    what = std::string(action) + " failed: the disk is full or the quota is used up (" +
           std::strerror(error) + ")";
    const fs::path parent = fs::path(path).parent_path();
    struct statvfs space {};
    if (needed_bytes > 0 && statvfs(parent.empty() ? "." : parent.c_str(), &space) == 0)
      what += "; " + std::to_string(needed_bytes) + " bytes needed, " +
              std::to_string(static_cast<uint64_t>(space.f_bavail) * space.f_frsize) + " free";
    hint = "Make room, or choose another run.dir.";
  }
  fail(Exit::io, path, what, hint);
}

/// An open descriptor; closing it reports no errors.
class File {
 public:
  File(const std::string& path, int flags) : descriptor_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return descriptor_; }
  int release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_;
};

void write_fully(int descriptor, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t put = write(descriptor, bytes.data(), std::min(bytes.size(), size_t{1} << 30));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail_io(path, "writing", put == 0 ? EIO : errno, static_cast<int64_t>(bytes.size()));
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
}

void sync_descriptor(int descriptor, const std::string& path) {
  int status = 0;
  do status = fsync(descriptor);
  while (status != 0 && errno == EINTR);
  if (status != 0) fail_io(path, "fsync", errno);
}

std::string directory_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

/// The content of one piece at the file's end. A failpoint `flip` damages what is written, not the caller's
/// bytes, of which the hash is taken.
void write_piece(int descriptor, std::span<const std::byte> piece, const std::string& path,
                 const std::string& failpoint_prefix) {
  constexpr size_t exposed_bytes = 4096;
  std::array<std::byte, exposed_bytes> exposed;
  const std::span<std::byte> first = std::span(exposed).first(std::min(piece.size(), exposed_bytes));
  std::ranges::copy(piece.first(first.size()), first.begin());
  failpoint(failpoint_prefix + ".write", first);
  if (!std::ranges::equal(first, piece.first(first.size()))) {
    write_fully(descriptor, first, path);
    piece = piece.subspan(first.size());
  }
  write_fully(descriptor, piece, path);
}

std::string read_all(int descriptor, const std::string& path) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) fail_io(path, "reading", errno);
  REQUIRE(!S_ISDIR(status.st_mode), Exit::no_input, path, "this is a directory", "");
  std::string content(static_cast<size_t>(status.st_size), '\0');
  size_t filled = 0;
  while (filled < content.size()) {
    const ssize_t got = read(descriptor, content.data() + filled, content.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_io(path, "reading", errno);
    REQUIRE(got > 0, Exit::io, path, "the file became shorter while it was read", "");
    filled += static_cast<size_t>(got);
  }
  return content;
}

void replace_by_pieces(const std::string& path, Pieces pieces, std::string_view failpoint_prefix) {
  const std::string temporary = path + ".tmp";
  write_file_durably(temporary, pieces, failpoint_prefix);
  replace_durably(temporary, path);
}

}  // namespace

std::optional<std::string> read_file_if_exists(const std::string& path) {
  const File file(path, O_RDONLY);
  if (file.get() < 0 && errno == ENOENT) return std::nullopt;
  REQUIRE(file.get() >= 0, Exit::no_input, path,
          std::string("the file cannot be read: ") + std::strerror(errno), "");
  return read_all(file.get(), path);
}

std::string read_run_file(const std::string& path) {
  const File file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);  // a pipe would let us wait for its writer
  if (file.get() < 0 && errno == ENOENT) fail(Exit::no_input, path, "there is no such file", "");
  REQUIRE(file.get() >= 0 || errno != ELOOP, Exit::data, path,
          "this is a symbolic link, and none in a run directory is followed", "");
  REQUIRE(file.get() >= 0, Exit::no_input, path,
          std::string("the file cannot be read: ") + std::strerror(errno), "");
  struct stat status {};
  if (fstat(file.get(), &status) != 0) fail_io(path, "reading", errno);
  REQUIRE(S_ISREG(status.st_mode), Exit::data, path, "this is not a file", "");
  return read_all(file.get(), path);
}

std::string read_file(const std::string& path) {
  std::optional<std::string> content = read_file_if_exists(path);
  REQUIRE(content, Exit::no_input, path, "there is no such file", "");
  return std::move(*content);
}

void write_file_durably(const std::string& path, std::span<const std::byte> bytes,
                        std::string_view failpoint_prefix) {
  write_file_durably(path, Pieces(&bytes, 1), failpoint_prefix);
}

void write_file_durably(const std::string& path, Pieces pieces, std::string_view failpoint_prefix) {
  UnsyncedFile(path, pieces, failpoint_prefix).sync();
}

UnsyncedFile::UnsyncedFile(const std::string& path, Pieces pieces, std::string_view failpoint_prefix)
    : path_(path), failpoint_prefix_(failpoint_prefix) {
  File file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
  if (file.get() < 0) fail_io(path, "creating", errno);
  int64_t total = 0;
  for (const auto& piece : pieces) total += static_cast<int64_t>(piece.size());
  // A file system that cannot preallocate says so; then a full disk shows in write or fsync.
  if (total > 0 && fallocate(file.get(), 0, 0, total) != 0 && (errno == ENOSPC || errno == EDQUOT))
    fail_io(path, "reserving space", errno, total);
  for (const auto& piece : pieces) {
    if (failpoint_prefix_.empty())
      write_fully(file.get(), piece, path);
    else
      write_piece(file.get(), piece, path, failpoint_prefix_);
    // A wish: where it fails, fsync does all, and says so.
    static_cast<void>(sync_file_range(file.get(), 0, 0, SYNC_FILE_RANGE_WRITE));
  }
  descriptor_ = file.release();
}

UnsyncedFile::~UnsyncedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

UnsyncedFile::UnsyncedFile(UnsyncedFile&& other) noexcept
    : path_(std::move(other.path_)),
      failpoint_prefix_(std::move(other.failpoint_prefix_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

void UnsyncedFile::sync() {
  CHECK(descriptor_ >= 0, "a file is synced once");
  if (!failpoint_prefix_.empty()) failpoint(failpoint_prefix_ + ".sync");
  sync_descriptor(descriptor_, path_);
  const int descriptor = std::exchange(descriptor_, -1);
  if (::close(descriptor) != 0) fail_io(path_, "closing", errno);
}

void sync_directory(const std::string& path) {
  const File directory(path, O_RDONLY | O_DIRECTORY);
  if (directory.get() < 0) fail_io(path, "opening", errno);
  // Some file systems have nothing to sync in a directory and say EINVAL.
  if (fsync(directory.get()) != 0 && errno != EINVAL) fail_io(path, "fsync", errno);
}

void replace_file(const std::string& path, std::string_view content, std::string_view failpoint_prefix) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(content));
  replace_by_pieces(path, Pieces(&bytes, 1), failpoint_prefix);
}

void replace_file(const std::string& path, Pieces pieces) {
  replace_by_pieces(path, pieces, "");
}

void rename_durably(const std::string& from, const std::string& to) {
  int status = renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE);
  if (status != 0 && (errno == EINVAL || errno == ENOSYS)) {  // a file system without RENAME_NOREPLACE
    REQUIRE(!fs::exists(to), Exit::io, to, "renaming failed: it exists already", "");
    status = rename(from.c_str(), to.c_str());
  }
  if (status != 0) fail_io(to, ("renaming " + from).c_str(), errno);
  sync_directory(directory_of(to));
  if (directory_of(from) != directory_of(to)) sync_directory(directory_of(from));
}

void replace_durably(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) fail_io(to, "renaming", errno);
  sync_directory(directory_of(to));
}

void require_replaceable(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  REQUIRE(status.type() != fs::file_type::directory, Exit::usage, path, "this is a directory",
          "Name a file, for example " + (fs::path(path) / "scores.h5").string() + ".");
  REQUIRE(!fs::exists(status) || fs::is_regular_file(status), Exit::usage, path,
          "something that is no file has this name", "Name another file.");
  const std::string directory = directory_of(path);
  REQUIRE(fs::is_directory(directory, error), Exit::io, path, "there is no directory " + directory,
          "Make it, or name a file elsewhere.");
  REQUIRE(access(directory.c_str(), W_OK | X_OK) == 0, Exit::io, path,
          "the directory " + directory + " cannot be written: " + std::strerror(errno),
          "Name a file where you may write.");
}

bool same_file(const std::string& a, const std::string& b) {
  std::error_code missing;
  return fs::equivalent(a, b, missing);
}

void make_directories(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  REQUIRE(!error && fs::is_directory(path), Exit::run_directory, path,
          "the directory cannot be made: " + (error ? error.message() : std::string("a file stands there")),
          "Choose another run.dir, or free its path.");
}

void remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  REQUIRE(!error, Exit::io, path, "removing failed: " + error.message(), "");
}

std::vector<std::string> list_directory(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(path, error);
  if (error == std::errc::no_such_file_or_directory) return names;
  REQUIRE(!error, Exit::io, path, "listing failed: " + error.message(), "");
  for (const auto& item : entry) names.push_back(item.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

int64_t free_bytes(const std::string& path) {
  struct statvfs space {};
  if (statvfs(path.c_str(), &space) != 0) fail_io(path, "asking for free space", errno);
  return static_cast<int64_t>(static_cast<uint64_t>(space.f_bavail) * space.f_frsize);
}

void write_at(int descriptor, std::span<const std::byte> bytes, int64_t offset, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t put = pwrite(descriptor, bytes.data(), std::min(bytes.size(), size_t{1} << 30), offset);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail_io(path, "writing", put == 0 ? EIO : errno, static_cast<int64_t>(bytes.size()));
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += put;
  }
}

SharedFile::SharedFile(const std::string& path)
    : descriptor_(open(path.c_str(), O_WRONLY | O_CLOEXEC)), path_(path) {
  REQUIRE(descriptor_ >= 0, Exit::io, path,
          std::string("the file cannot be opened on this node: ") + std::strerror(errno),
          "It must lie on a file system that all nodes share.");
}

SharedFile::~SharedFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

void SharedFile::write(std::span<const std::byte> bytes, int64_t offset) const {
  write_at(descriptor_, bytes, offset, path_);
}

void SharedFile::finish() {
  sync_descriptor(descriptor_, path_);
  if (close(std::exchange(descriptor_, -1)) != 0) fail_io(path_, "closing", errno);
}

LineFile::LineFile(const std::string& path)
    : descriptor_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666)),
      path_(path) {
  REQUIRE(descriptor_ >= 0, Exit::run_directory, path,
          std::string("the file cannot be written: ") + std::strerror(errno),
          "Choose a run.dir that you may write to.");
}

LineFile::~LineFile() {
  if (descriptor_ < 0) return;
  try {
    write_waiting(true);
  } catch (const std::exception&) {  // it was said when they began to wait
  }
  close(descriptor_);
}

LineFile::LineFile(LineFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      path_(std::move(other.path_)),
      waiting_(std::exchange(other.waiting_, "")),
      full_(other.full_) {}

LineFile& LineFile::operator=(LineFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  std::swap(waiting_, other.waiting_);
  std::swap(full_, other.full_);
  return *this;
}

void LineFile::append(std::string_view line) {
  CHECK(line.find('\n') == std::string_view::npos, "a line with a newline in " + path_);
  const std::lock_guard lock(mutex_);
  waiting_ += line;
  waiting_ += '\n';
  write_waiting(true);
}

void LineFile::sync() {
  const std::lock_guard lock(mutex_);
  write_waiting(false);
  sync_descriptor(descriptor_, path_);
}

void LineFile::write_waiting(bool may_wait) {
  for (size_t written = 0; written < waiting_.size();) {
    const ssize_t put = write(descriptor_, waiting_.data() + written, waiting_.size() - written);
    if (put < 0 && errno == EINTR) continue;
    if (put > 0) {
      written += static_cast<size_t>(put);
      continue;
    }
    const int error = put == 0 ? EIO : errno;
    waiting_.erase(0, written);
    if (!may_wait || (error != ENOSPC && error != EDQUOT))
      fail_io(path_, "writing", error, static_cast<int64_t>(waiting_.size()));
    if (!std::exchange(full_, true))
      log_warning(path_ + ": the disk is full; lines wait in memory until there is room.");
    return;
  }
  waiting_.clear();
  full_ = false;
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

std::string utc_time() {
  const std::time_t now = std::time(nullptr);
  struct tm parts {};
  char text[32] = {};
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
  return text;
}

std::string this_process() {
  const char* job = std::getenv("SLURM_JOB_ID");
  return "host " + host_name() + ", pid " + std::to_string(getpid()) +
         (job && *job ? std::string(", Slurm job ") + job : "") + ", since " + utc_time();
}

}  // namespace lepton::storage
