// SPDX-License-Identifier: Apache-2.0
// See the header. NCCL is loaded by name at the first question. Its communicator is made nonblocking, so that
// every call returns and each wait has a deadline; a group that failed is aborted, which ends its kernels.
#include "kernels/nccl_group.h"

#include "base/error.h"

#if __has_include(<nccl.h>)

#include <dlfcn.h>
#include <nccl.h>

#include <cstring>
#include <exception>
#include <utility>

#include "base/waiting.h"
#include "kernels/backend.h"

namespace lepton::cuda {

namespace {

/// The functions of the library that are called.
struct Nccl {
  decltype(&ncclGetVersion) get_version = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init_rank = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclCommFinalize) finalize = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclReduceScatter) reduce_scatter = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  std::string absence;
};

template <class Function>
void find(void* library, const char* name, Function& function, std::string& absence) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (!function) absence = std::string("libnccl.so.2 has no ") + name;
}

Nccl load_nccl() {
  Nccl nccl;
  void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    nccl.absence = dlerror();
    return nccl;
  }
  find(library, "ncclGetVersion", nccl.get_version, nccl.absence);
  find(library, "ncclGetErrorString", nccl.error_string, nccl.absence);
  find(library, "ncclGetUniqueId", nccl.get_unique_id, nccl.absence);
  find(library, "ncclCommInitRankConfig", nccl.init_rank, nccl.absence);
  find(library, "ncclCommGetAsyncError", nccl.async_error, nccl.absence);
  find(library, "ncclCommFinalize", nccl.finalize, nccl.absence);
  find(library, "ncclCommDestroy", nccl.destroy, nccl.absence);
  find(library, "ncclCommAbort", nccl.abort, nccl.absence);
  find(library, "ncclReduceScatter", nccl.reduce_scatter, nccl.absence);
  find(library, "ncclAllGather", nccl.all_gather, nccl.absence);
  return nccl;
}

const Nccl& nccl() {
  static const Nccl loaded = load_nccl();
  return loaded;
}

void check_nccl(ncclResult_t status, const char* call) {
  if (status == ncclSuccess || status == ncclInProgress) [[likely]]
    return;
  const bool outside = status == ncclSystemError || status == ncclRemoteError;
  fail(outside ? Exit::io : Exit::software, call, nccl().error_string(status),
       "NCCL or its network failed (NCCL_DEBUG=INFO says more); the last checkpoint stands. "
       "train.device_sums = \"mpi\" or \"host\" does without NCCL.");
}

class NcclGroup : public DeviceGroup {
 public:
  NcclGroup(Backend& backend, Queue& queue, const std::string& id, int rank, int size, double deadline_s)
      : queue_(queue), done_(backend.make_event()), rank_(rank), size_(size), deadline_s_(deadline_s) {
    ncclUniqueId unique;
    CHECK(id.size() == sizeof unique, "the id of a group");
    std::memcpy(&unique, id.data(), sizeof unique);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    check_nccl(nccl().init_rank(&group_, size, unique, rank, &config), "ncclCommInitRankConfig");
    call([this] { settle("ncclCommInitRankConfig", {}); });
  }
  /// What a peer may still be reading is sent first, unless an error is under way: then nobody is waited for.
  ~NcclGroup() override {
    if (!group_) return;
    if (std::uncaught_exceptions() > 0 || !finalized())
      nccl().abort(group_);
    else
      nccl().destroy(group_);
  }
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  void reduce_scatter(int64_t* sums, std::span<const int64_t> offsets, const Poll& poll) override {
    const auto part = static_cast<size_t>(part_of(offsets));
    call([&] {
      check_nccl(nccl().reduce_scatter(sums, sums + static_cast<size_t>(rank_) * part, part, ncclInt64,
                                       ncclSum, group_, stream_of(queue_)),
                 "ncclReduceScatter");
      settle("ncclReduceScatter", poll);
    });
  }
  void all_gather(void* values, std::span<const int64_t> offsets, size_t element_bytes,
                  const Poll& poll) override {
    const size_t part = static_cast<size_t>(part_of(offsets)) * element_bytes;
    const std::byte* own = static_cast<const std::byte*>(values) + static_cast<size_t>(rank_) * part;
    call([&] {
      check_nccl(nccl().all_gather(own, values, part, ncclInt8, group_, stream_of(queue_)), "ncclAllGather");
      settle("ncclAllGather", poll);
    });
  }
  void finish(const Poll& poll) override {
    queue_.record(*done_);
    call([&] { wait("sums and parameters between devices (NCCL)", poll, [this] { return done_->done(); }); });
  }

 private:
  /// Where it fails the group ends at once: its kernels would wait for ever, and whoever frees memory for
  /// them.
  template <class Work>
  void call(const Work& work) {
    CHECK(group_, "a group that failed");
    try {
      work();
    } catch (...) {
      if (group_) nccl().abort(std::exchange(group_, nullptr));
      throw;
    }
  }
  /// What all but the last nodes have.
  int64_t part_of(std::span<const int64_t> offsets) const {
    CHECK(std::ssize(offsets) == size_ + 1, "one offset per node and the end");
    const int64_t part = offsets[1] - offsets[0];
    for (int64_t n = 0; n <= size_; ++n)
      CHECK(offsets[n] == (n * part < offsets.back() ? n * part : offsets.back()), "parts are equal");
    return part;
  }
  bool finalized() {
    try {
      check_nccl(nccl().finalize(group_), "ncclCommFinalize");
      settle("ncclCommFinalize", {});
    } catch (const Error&) {  // the run is over, and well
      return false;
    }
    return group_ != nullptr;
  }
  /// Until the call is under way on the device: the next one must not be made before.
  void settle(const char* call, const Poll& poll) {
    wait(call, poll, [&] { return state(call) != ncclInProgress; });
  }
  ncclResult_t state(const char* call) {
    ncclResult_t state = ncclSuccess;
    check_nccl(nccl().async_error(group_, &state), "ncclCommGetAsyncError");
    check_nccl(state, call);
    return state;
  }
  template <class Done>
  void wait(const char* what, const Poll& poll, const Done& done) {
    Pace pace;
    while (!done()) {
      state(what);
      if (poll) poll();
      pace.step();
      if (pace.waited_s() < deadline_s_) continue;
      throw DeadlineError(what, deadline_s_, "NCCL does not say who is missing");
    }
  }

  Queue& queue_;
  std::unique_ptr<Event> done_;
  ncclComm_t group_ = nullptr;
  int rank_, size_;
  double deadline_s_;
};

}  // namespace

std::string nccl_version(std::string& absence) {
  absence = nccl().absence;
  int version = 0;
  if (absence.empty() && nccl().get_version(&version) != ncclSuccess)
    absence = "NCCL does not tell its version";
  if (!absence.empty()) return "";
  return "NCCL " + std::to_string(version / 10000) + "." + std::to_string(version % 10000 / 100) + "." +
         std::to_string(version % 100);
}

std::string nccl_group_id() {
  ncclUniqueId unique;
  check_nccl(nccl().get_unique_id(&unique), "ncclGetUniqueId");
  return {reinterpret_cast<const char*>(&unique), sizeof unique};
}

std::unique_ptr<DeviceGroup> join_nccl_group(Backend& backend, Queue& queue, const std::string& id, int rank,
                                             int size, double deadline_s) {
  return std::make_unique<NcclGroup>(backend, queue, id, rank, size, deadline_s);
}

}  // namespace lepton::cuda

#else  // without its header

namespace lepton::cuda {

std::string nccl_version(std::string& absence) {
  absence = "the CUDA module was built without NCCL";
  return "";
}

std::string nccl_group_id() {
  CHECK(false, "there is no NCCL");
  return "";
}

std::unique_ptr<DeviceGroup> join_nccl_group(Backend&, Queue&, const std::string&, int, int, double) {
  CHECK(false, "there is no NCCL");
  return nullptr;
}

}  // namespace lepton::cuda

#endif
