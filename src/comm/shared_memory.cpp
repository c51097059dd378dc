// SPDX-License-Identifier: Apache-2.0
// The group's first rank makes and reserves the file, tells its path, all map it, the first removes the name.
// Whatever fails on one rank is thrown on all ranks of the group. Reservation comes first because a write
// into a sparse tmpfs file that is full is a SIGBUS in the middle of a step. Called at set-up by exact's and
// data's owners in train.
#include "comm/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "comm/group.h"

namespace lepton::comm {

namespace {

/// A file descriptor that closes itself.
struct File {
  int number = -1;
  std::string path;       ///< how other ranks open it
  bool has_name = false;  ///< `path` is to be unlinked
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { reset(); }
  void reset() {
    if (number >= 0) close(number);
    if (has_name) unlink(path.c_str());
    number = -1;
    has_name = false;
  }
};

}  // namespace

/// Policies of shared files stay with the file: pages reserved from now on come from this domain while it has
/// some. (By the system call, because libnuma is one dependency for one call.)
static void prefer_domain(int file, size_t bytes, int domain) {
  constexpr int prefer = 1;  // MPOL_PREFERRED
  std::array<unsigned long, 16> domains{};
  constexpr size_t bits = 8 * sizeof(unsigned long);
  if (static_cast<size_t>(domain) >= domains.size() * bits || ftruncate(file, static_cast<off_t>(bytes)) != 0)
    return;
  domains[static_cast<size_t>(domain) / bits] |= 1UL << (static_cast<size_t>(domain) % bits);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) return;
  syscall(SYS_mbind, memory, bytes, prefer, domains.data(), domains.size() * bits, 0);
  munmap(memory, bytes);
}

/// 0 or the errno of the reservation.
static int reserve(int file, size_t bytes, int domain) {
  if (domain >= 0) prefer_domain(file, bytes, domain);
  int status = 0;
  do {
    status = posix_fallocate(file, 0, static_cast<off_t>(bytes));
  } while (status == EINTR);
  return status;
}

/// Whether the file could be made in `directory` with all its bytes.
static bool create_named(File& file, const std::string& path, size_t bytes, int domain) {
  file.path = path;
  const int flags = O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC;
  file.number = open(file.path.c_str(), flags, 0600);
  if (file.number < 0 && errno == EEXIST) {  // of a dead process that had our number
    unlink(file.path.c_str());
    file.number = open(file.path.c_str(), flags, 0600);
  }
  file.has_name = file.number >= 0;
  if (file.has_name && reserve(file.number, bytes, domain) == 0) return true;
  file.reset();
  return false;
}

/// **The group's first rank only.** A reserved file of `bytes`: one that stays has `purpose` as its name.
static void create(File& file, const std::string& directory, const std::string& purpose, size_t bytes,
                   int domain, bool keep) {
  const MemoryLimits limits = memory_limits(directory);
  const std::string hint = "Use fewer or smaller things on this machine: " + limits.text() + ".";
  REQUIRE(bytes <= limits.available_bytes(), Exit::memory, "shared memory for " + purpose,
          "needed " + bytes_text(bytes) + ", available " + bytes_text(limits.available_bytes()), hint);
  const std::string process = "lepton-" + std::to_string(getuid()) + "-" + std::to_string(getpid()) + "-";
  const std::string path = directory + "/" + (keep ? "" : process) + purpose;
  if (bytes <= limits.shared_fs_bytes && create_named(file, path, bytes, domain)) return;
  file.number = memfd_create(("lepton-" + purpose).c_str(), MFD_CLOEXEC);
  const int status = file.number < 0 ? errno : reserve(file.number, bytes, domain);
  REQUIRE(status == 0, Exit::memory, "shared memory for " + purpose,
          "needed " + bytes_text(bytes) + ", available " + bytes_text(limits.shared_fs_bytes) + " in " +
              directory + "; memfd_create: " + std::strerror(status),
          hint);
  file.path = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(file.number);
}

static std::byte* attach(int file, size_t bytes, const std::string& purpose) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  REQUIRE(memory != MAP_FAILED, Exit::memory, "shared memory for " + purpose,
          "needed " + bytes_text(bytes) + " of address space: " + std::strerror(errno),
          "Raise the limit on virtual memory (ulimit -v).");
  return static_cast<std::byte*>(memory);
}

SharedMemory::SharedMemory(const World& world, const std::string& directory, const std::string& purpose,
                           size_t bytes, int domain) {
  share(world.handles().node, directory, purpose, bytes, domain);
}

SharedMemory SharedMemory::of_machine(const World& world, const std::string& directory,
                                      const std::string& purpose, size_t bytes) {
  SharedMemory memory;
  memory.share(world.handles().machine, directory, purpose, bytes, -1);
  return memory;
}

SharedMemory SharedMemory::kept(const World& world, const std::string& directory, const std::string& name,
                                size_t bytes) {
  SharedMemory memory;
  memory.share(world.handles().node, directory, name, bytes, -1, true);
  return memory;
}

void SharedMemory::share(Group& group, const std::string& directory, const std::string& purpose, size_t bytes,
                         int domain, bool keep) {
  if (bytes == 0) return;
  File file;
  group.agree([&] {
    if (group.rank == 0) create(file, directory, purpose, bytes, domain, keep);
  });
  std::string path = file.path;
  group.broadcast(path);
  group.agree([&] {
    if (group.rank != 0) file.number = open(path.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(file.number >= 0, Exit::memory, "shared memory for " + purpose,
            "cannot open " + path + ": " + std::strerror(errno),
            "The ranks of a machine must share " + directory +
                " and /proc; in separate containers set "
                "LEPTON_RANKS_PER_NODE=1.");
    data_ = attach(file.number, bytes, purpose);
    bytes_ = bytes;
  });
  if (keep && file.has_name) kept_path_ = file.path;
  if (keep) file.has_name = false;
}

SharedMemory::~SharedMemory() {
  if (data_) munmap(data_, bytes_);
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      kept_path_(std::move(other.kept_path_)) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(kept_path_, other.kept_path_);
  return *this;
}

size_t available_memory_bytes(const std::string& shm_directory) {
  return memory_limits(shm_directory).available_bytes();
}

}  // namespace lepton::comm
