// SPDX-License-Identifier: Apache-2.0
// The record of an owner is one line that is overwritten in place, the beat, and lines that stay:
//   beat=0000000000000042 released=0
//   boot=<of the kernel that it runs on>
//   owner=<in words>
// See the header.
#include "storage/ownership.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "storage/directory_lock.h"

namespace lepton::storage {

namespace {

constexpr char record_prefix[] = ".owner-";

constexpr size_t beat_line_bytes = 33;

/// On the stack: training allocates nothing, and neither do its beats.
std::array<char, 64> beat_line(int64_t beat, bool released) {
  std::array<char, 64> line;
  std::snprintf(line.data(), line.size(), "beat=%016lld released=%d\n", static_cast<long long>(beat),
                released);
  return line;
}

/// What identifies the running kernel: locks of one reach all its processes.
std::string boot_id() {
  std::string id = read_file_if_exists("/proc/sys/kernel/random/boot_id").value_or("");
  std::erase(id, '\n');
  return id;
}

std::string field(const std::string& record, const std::string& name) {
  const size_t begin = record.find(name + "=");
  if (begin == std::string::npos) return "";
  const size_t value = begin + name.size() + 1;
  return record.substr(value, record.find('\n', value) - value);
}

/// The highest claimed generation, 0: none.
int64_t newest_generation(const std::string& directory) {
  int64_t newest = 0;
  for (const std::string& name : list_directory(directory)) {
    if (!name.starts_with(record_prefix)) continue;
    int64_t generation = 0;
    const char* begin = name.data() + sizeof record_prefix - 1;
    const auto [end, error] = std::from_chars(begin, name.data() + name.size(), generation);
    if (error == std::errc{} && end == name.data() + name.size()) newest = std::max(newest, generation);
  }
  return newest;
}

std::string record_path(const std::string& directory, int64_t generation) {
  return directory + "/" + record_prefix + std::to_string(generation);
}

[[noreturn]] void in_use(const std::string& directory, const std::string& record) {
  const std::string owner = field(record, "owner");
  fail(Exit::run_directory, directory,
       "the run directory is in use by " + (owner.empty() ? "another job" : owner),
       "Wait for that job or stop it, or choose another run.dir.");
}

/// A lock that a file system does not know is no error: the record stands in.
std::optional<DirectoryLock> try_lock(const std::string& directory, const std::string& owner) {
  try {
    failpoint("owner.lock");
  } catch (const Error&) {
    return std::nullopt;
  }
  return DirectoryLock::try_take(directory, owner);
}

}  // namespace

struct Ownership::State {
  std::string directory, own_path, next_path;  ///< the records of this generation and of the next
  OwnershipTimes times;
  std::optional<DirectoryLock> lock;
  int64_t generation = 0;
  bool took_over = false;
  int record = -1;  // descriptor
  std::atomic<int64_t> verified_ns{0};
  mutable std::mutex mutex;  // of what follows, and of beating
  std::condition_variable wake;
  bool stop = false;
  int64_t beats = 0;
  std::thread heart;

  ~State() {
    if (record >= 0) close(record);
  }
  void watch(const std::string& path, const std::string& found) const;
  void claim(const std::string& owner);
  void beat(bool released);
  void loop();
  void verify();
};

/// Until the record has been silent for watch_s of this process's own time; what the machine was suspended
/// for does not count.
void Ownership::State::watch(const std::string& path, const std::string& found) const {
  constexpr double look_s = 0.1;
  log_info("The run directory was not given back by " + field(found, "owner") +
           "; watching whether it is alive.");
  for (double watched_s = 0; watched_s < times.watch_s; watched_s += look_s) {
    std::this_thread::sleep_for(std::chrono::duration<double>(look_s));
    const std::string now = read_file_if_exists(path).value_or("");
    if (field(now, "beat").ends_with("released=1")) return;
    if (field(now, "beat") != field(found, "beat")) in_use(directory, now);
  }
}

void Ownership::State::claim(const std::string& owner_text) {
  const int64_t found = newest_generation(directory);
  if (found > 0) {
    const std::string path = record_path(directory, found),
                      record_text = read_file_if_exists(path).value_or("");
    took_over = !field(record_text, "beat").ends_with("released=1");
    const bool lock_reaches_it = lock && field(record_text, "boot") == boot_id();
    if (took_over && !lock_reaches_it) watch(path, record_text);
  }
  generation = found + 1;
  const std::string path = record_path(directory, generation);
  record = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (record < 0 && errno == EEXIST) in_use(directory, read_file_if_exists(path).value_or(""));
  REQUIRE(record >= 0, Exit::run_directory, directory,
          std::string("the run directory cannot be written: ") + std::strerror(errno),
          "Choose a run.dir that you may write to.");
  own_path = path;
  next_path = record_path(directory, generation + 1);
  const std::string text =
      std::string(beat_line(0, false).data()) + "boot=" + boot_id() + "\nowner=" + owner_text + "\n";
  write_owner(record, text, directory);
  for (int64_t old = found; old > 0 && unlink(record_path(directory, old).c_str()) == 0;) --old;
}

/// A beat that cannot be written is no error: the job that would take over for it is fenced.
void Ownership::State::beat(bool released) {
  const auto line = beat_line(++beats, released);
  try {
    write_at(record, std::as_bytes(std::span(line)).first(beat_line_bytes), 0, directory);
  } catch (const Error&) {
    return;
  }
  if (!lock) fsync(record);  // other hosts shall see it
}

/// Who takes over claims the next generation, and then removes this one's record.
void Ownership::State::verify() {
  if (access(next_path.c_str(), F_OK) == 0 || access(own_path.c_str(), F_OK) != 0) {
    const int64_t newest = newest_generation(directory);
    const std::string record_text = read_file_if_exists(record_path(directory, newest)).value_or("");
    const std::string by = field(record_text, "owner");
    fail(Exit::run_directory, directory,
         "this job was replaced" + (by.empty() ? "" : " by " + by) + ": it writes nothing more",
         "It was silent for so long that its run was taken over. Nothing is lost.");
  }
  verified_ns = static_cast<int64_t>(now_s() * 1e9);
}

void Ownership::State::loop() {
  std::unique_lock guard(mutex);
  while (!wake.wait_for(guard, std::chrono::duration<double>(times.beat_s), [this] { return stop; })) {
    try {
      beat(false);
      verify();
    } catch (const std::exception&) {
      verified_ns = 0;  // whoever wants to write finds out
    }
  }
}

Ownership::Ownership(const std::string& directory, const std::string& owner, const OwnershipTimes& times)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.directory = directory;
  s.times = times;
  s.lock = try_lock(directory, owner);
  s.claim(owner);
  s.verify();
  s.heart = std::thread([&s] { s.loop(); });
}

Ownership::~Ownership() {
  State& s = *state_;
  {
    const std::lock_guard guard(s.mutex);
    s.stop = true;
  }
  s.wake.notify_all();
  s.heart.join();
  s.beat(true);
}

int64_t Ownership::generation() const {
  return state_->generation;
}

bool Ownership::took_over() const {
  return state_->took_over;
}

void Ownership::require_mine() const {
  if (now_s() - static_cast<double>(state_->verified_ns) * 1e-9 > state_->times.lease_s) require_mine_now();
}

void Ownership::require_mine_now() const {
  const std::lock_guard guard(state_->mutex);
  state_->verify();
}

bool is_ownership_file(const std::string& name) {
  return name == ".lock" || name.starts_with(record_prefix);
}

void take_from_former_owner(const std::string& path) {
  if (const std::optional<std::string> content = read_file_if_exists(path)) replace_file(path, *content);
}

}  // namespace lepton::storage
