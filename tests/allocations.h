// SPDX-License-Identifier: Apache-2.0
// For tests that nothing is allocated: counts every operator new of the process while `counting`, but those
// that oneDNN, its OpenMP runtime and MPI make inside their calls, which are theirs (DESIGN section 3).
// Replaces operator new: to be included in one file of a test program. Counts nothing under the address
// sanitizer, which owns the allocator.
#pragma once

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

namespace lepton {

inline std::atomic<bool> counting{false};
inline std::atomic<int64_t> allocations{0};

inline void count_allocation(const void* caller) {
  Dl_info info{};
  if (dladdr(caller, &info) != 0 && info.dli_fname != nullptr)
    for (const char* theirs :
         {"dnnl", "gomp", "libmpi", "open-pal", "open-rte", "/mca_", "ucp", "uct", "ucs"})
      if (std::strstr(info.dli_fname, theirs) != nullptr) return;
  ++allocations;
}

/// How often `work` allocates.
template <class Work>
int64_t allocations_of(Work&& work) {
  allocations = 0;
  counting = true;
  work();
  counting = false;
  return allocations;
}

}  // namespace lepton

#if defined(__SANITIZE_ADDRESS__)
#define SKIP_WHERE_NOTHING_IS_COUNTED() GTEST_SKIP() << "the sanitizer owns the allocator"
#else
#define SKIP_WHERE_NOTHING_IS_COUNTED()
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (lepton::counting) lepton::count_allocation(__builtin_return_address(0));
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
#endif
