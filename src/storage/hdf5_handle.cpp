// SPDX-License-Identifier: Apache-2.0
// The lock, the handles and the messages of hdf5_handle.h. A thread-safe build of HDF5 keeps an error stack,
// and the switch that stops its printing, per thread; so the switch is set whenever the lock is taken, which
// costs nanoseconds.
#include "storage/hdf5_handle.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace lepton::storage {

namespace {

std::recursive_mutex& hdf5_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

constexpr std::array crash_signals = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
std::array<struct sigaction, crash_signals.size()> former_actions;  // Open MPI has some of its own

/// Of this thread: how deep it is inside the library, and what it read there last.
thread_local int calls_under_way = 0;
thread_local char file_read[1024] = "";

void write_text(const char* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) return;
}

void on_crash(int signal) {
  if (calls_under_way > 0 && file_read[0] != 0) {
    write_text("error: ");
    write_text(file_read);
    write_text(
        ": the file is damaged: the HDF5 library crashed on it\n"
        "  Copy or make the file again; h5dump shows how far it can be read.\n");
    _exit(static_cast<int>(Exit::data));
  }
  for (size_t i = 0; i < crash_signals.size(); ++i)
    if (crash_signals[i] == signal) sigaction(signal, &former_actions[i], nullptr);
  raise(signal);
}

void name_crashes() {
  struct sigaction action {};
  action.sa_handler = on_crash;
  for (size_t i = 0; i < crash_signals.size(); ++i) sigaction(crash_signals[i], &action, &former_actions[i]);
}

/// Runs once, before the library's own start, which reads the environment.
bool prepare_library() {
  name_crashes();
  setenv("HDF5_USE_FILE_LOCKING", "FALSE",
         0);  // many parallel file systems cannot lock; the user's value stands
  H5open();
  H5PLset_loading_state(0);  // a data file must not choose code that we run
  return true;
}

herr_t keep_innermost(unsigned depth, const H5E_error2_t* entry, void* text) {
  if (depth == 0 && entry->desc != nullptr) *static_cast<std::string*>(text) = entry->desc;
  return 0;
}

}  // namespace

Hdf5Lock::Hdf5Lock() : lock_(hdf5_mutex()) {
  static const bool prepared = prepare_library();
  static_cast<void>(prepared);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  ++calls_under_way;
}

Hdf5Lock::Hdf5Lock(const std::string& file) : Hdf5Lock() {
  file_read[file.copy(file_read, sizeof file_read - 1)] = 0;
}

Hdf5Lock::~Hdf5Lock() {
  --calls_under_way;
}

Handle& Handle::operator=(Handle&& other) noexcept {
  if (this != &other) {
    reset();
    id_ = std::exchange(other.id_, -1);
    close_ = other.close_;
  }
  return *this;
}

void Handle::reset() {
  if (id_ < 0) return;
  const Hdf5Lock lock;
  close_(id_);
  id_ = -1;
}

std::string hdf5_message() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "no message from HDF5" : "HDF5 says: " + text;
}

Handle hdf5_handle(hid_t id, Handle::Close close, Exit code, const std::string& where, const char* action) {
  REQUIRE(id >= 0, code, where, std::string(action) + " failed; " + hdf5_message(), "");
  return Handle(id, close);
}

void hdf5_status(herr_t status, Exit code, const std::string& where, const char* action) {
  REQUIRE(status >= 0, code, where, std::string(action) + " failed; " + hdf5_message(), "");
}

}  // namespace lepton::storage
