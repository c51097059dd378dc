// SPDX-License-Identifier: Apache-2.0
// Files that survive: complete writes (short writes, EINTR), fsync of files and directories, rename as
// commit. Errors are Error(io) with path and errno's text; ENOSPC and EDQUOT say so. Called by checkpoint,
// report, train.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lepton::storage {

using Pieces = std::span<const std::span<const std::byte>>;

/// Whole file, verified size. Throws Error(no_input) if missing.
std::string read_file(const std::string& path);
/// As read_file, of a file of a run: neither a symbolic link nor anything but a file is opened. Throws
/// Error(data) there.
std::string read_run_file(const std::string& path);
std::optional<std::string> read_file_if_exists(const std::string& path);
/// Creates or replaces `path` with these bytes and fsyncs the file (not its directory). `failpoint_prefix`
/// names the failpoints passed: "<prefix>.write", "<prefix>.sync". Preallocates, so that a full disk shows
/// before the data is written.
void write_file_durably(const std::string& path, std::span<const std::byte> bytes,
                        std::string_view failpoint_prefix);
/// The same for content in several pieces, which are written one after another.
void write_file_durably(const std::string& path, Pieces pieces, std::string_view failpoint_prefix);

/// The same in two parts, between which the system brings the bytes to the disk: there is time for other
/// work.
class UnsyncedFile {
 public:
  /// Written, but not durable. Nobody needs the pieces any more.
  UnsyncedFile(const std::string& path, Pieces pieces, std::string_view failpoint_prefix);
  ~UnsyncedFile();
  UnsyncedFile(UnsyncedFile&&) noexcept;
  /// Waits for the disk, and closes; once.
  void sync();

 private:
  std::string path_, failpoint_prefix_;
  int descriptor_ = -1;
};

void sync_directory(const std::string& path);
/// path.tmp -> fsync -> rename -> fsync of the directory: readers see the old or the new content, whole.
/// With `failpoint_prefix` the failpoints of write_file_durably are passed.
void replace_file(const std::string& path, std::string_view content, std::string_view failpoint_prefix = "");
/// The same for content in several pieces, which are written one after another.
void replace_file(const std::string& path, Pieces pieces);
void rename_durably(const std::string& from, const std::string& to);  ///< never onto an existing path
/// rename(2), which takes the place of a file at `to`: readers see the old or the new one, at any time. Then
/// fsync of the directory; `from`, in the same directory, has been synced by the caller.
void replace_durably(const std::string& from, const std::string& to);
/// Throws unless replace_durably could put a file at `path`: Error(usage) where something else than a file
/// has that name, Error(io) where its directory is missing or not writable. Changes nothing.
void require_replaceable(const std::string& path);
/// Whether both exist and are one file, by whatever names and links.
bool same_file(const std::string& a, const std::string& b);
void make_directories(const std::string& path);  ///< Error(run_directory) if impossible
void remove_tree(const std::string& path);
std::vector<std::string> list_directory(
    const std::string& path);  ///< names, sorted bytewise; empty if missing
int64_t free_bytes(const std::string& path);

/// All of it at `offset` of an open file, whatever interrupts or shortens single writes. Error(io) naming
/// `path`.
void write_at(int descriptor, std::span<const std::byte> bytes, int64_t offset, const std::string& path);

/// A file that is there already and whose parts many threads, processes and nodes write, each at its offset.
class SharedFile {
 public:
  explicit SharedFile(const std::string& path);
  ~SharedFile();
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;
  void write(std::span<const std::byte> bytes, int64_t offset) const;
  void finish();  ///< fsync and close; nothing can be written after it

 private:
  int descriptor_ = -1;
  std::string path_;
};

/// A file that only grows by whole lines: ledger.txt, metrics.jsonl. Lines reach the file at once (write),
/// the disk at sync(). While the disk is full they wait in memory, so that training goes on; each later call
/// tries again. append() and sync() may come from different threads.
class LineFile {
 public:
  explicit LineFile(const std::string& path);  ///< opens for append, creates; Error(run_directory)
  ~LineFile();
  LineFile(LineFile&&) noexcept;
  LineFile& operator=(LineFile&&) noexcept;
  void append(std::string_view line);  ///< without the newline
  void sync();                         ///< Error(io) also when lines still have to wait

 private:
  void write_waiting(bool may_wait);
  int descriptor_ = -1;
  std::string path_, waiting_;
  bool full_ = false;
  std::mutex mutex_;
};

std::string host_name();
std::string utc_time();  ///< now, "2026-01-31T09:00:00Z"
/// "host n3, pid 4711, Slurm job 17, since 2026-01-31T09:00:00Z": this process, as owner of a directory.
std::string this_process();

}  // namespace lepton::storage
