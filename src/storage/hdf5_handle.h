// SPDX-License-Identifier: Apache-2.0
// What all of storage's HDF5 code shares: the process-wide lock, RAII handles, and HDF5's innermost message
// for our errors. HDF5 is not thread-safe; every call is made while a Hdf5Lock is held. Its own printing of
// error stacks is off, plugins are not loaded, file locking is off unless the user has set it. The library
// itself crashes on some damaged files: where that happens inside a call, the process ends with one message
// that names the file, and the exit code of damaged data. Included by storage/hdf5_*.cpp only.
#pragma once

#define H5_USE_110_API  // one interface from HDF5 1.10 to 1.14
#include <hdf5.h>

#include <mutex>
#include <string>
#include <utility>

#include "base/error.h"

namespace lepton::storage {

/// Held during every HDF5 call; the first one prepares the library. Recursive, so that handles may close
/// inside.
class Hdf5Lock {
 public:
  Hdf5Lock();
  /// For calls that parse what stands in `file`; "" for what is not of others' making, of which no file is to
  /// blame for a crash. Handles that close later belong to the one named last.
  explicit Hdf5Lock(const std::string& file);
  ~Hdf5Lock();
  Hdf5Lock(const Hdf5Lock&) = delete;
  Hdf5Lock& operator=(const Hdf5Lock&) = delete;

 private:
  std::unique_lock<std::recursive_mutex> lock_;
};

/// Closes an HDF5 identifier. Empty when the identifier is negative.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  ~Handle() { reset(); }
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept;
  hid_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }
  void reset();

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// The innermost message on HDF5's error stack ("unable to open file ..."), which is then cleared.
std::string hdf5_message();

/// The identifier as a Handle; throws Error(code) with HDF5's message when the call that made it failed.
Handle hdf5_handle(hid_t id, Handle::Close close, Exit code, const std::string& where, const char* action);
/// The same for calls that return a status.
void hdf5_status(herr_t status, Exit code, const std::string& where, const char* action);

}  // namespace lepton::storage
