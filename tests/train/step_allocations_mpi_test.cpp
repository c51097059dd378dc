// SPDX-License-Identifier: Apache-2.0
// Nothing is allocated in a step after the first (DESIGN section 3): a training of 60 steps asks for
// memory as often as one of 10. What oneDNN, its OpenMP runtime and MPI allocate inside their calls is
// theirs.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <new>

#include "small_runs.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};

void count_allocation(const void* caller) {
  Dl_info info{};
  if (dladdr(caller, &info) != 0 && info.dli_fname != nullptr)
    for (const char* theirs :
         {"dnnl", "gomp", "libmpi", "open-pal", "open-rte", "/mca_", "ucp", "uct", "ucs"})
      if (std::strstr(info.dli_fname, theirs) != nullptr) return;
  ++allocations;
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__)
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (counting) count_allocation(__builtin_return_address(0));
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

namespace lepton::train {
namespace {

int64_t allocations_of(const SmallRuns& runs, const std::string& deck, const std::string& run, int64_t steps,
                       int ranks_per_node) {
  Options options = runs.options(deck, run,
                                 {{"train.batch_size", "2"},  // one epoch: its end is worth a line
                                  {"train.unit_size", "1"},
                                  {"evaluation.every", "\"end\""},
                                  {"checkpoint.every", "\"1h\""}});
  options.max_steps = steps;
  allocations = 0;
  counting = true;
  runs.train(options, ranks_per_node);
  counting = false;
  return allocations;
}

TEST(Step, AllocatesNothingAfterTheFirst) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer owns the allocator";
#endif
  const SmallRuns runs;
  for (const char* deck : {"dense.toml", "conv.toml", "regression.toml"})
    for (const int ranks_per_node : {1000, 1}) {
      const std::string name = deck + std::to_string(ranks_per_node);
      const int64_t few = allocations_of(runs, deck, name + "few", 10, ranks_per_node);
      const int64_t many = allocations_of(runs, deck, name + "many", 60, ranks_per_node);
      EXPECT_GT(few, 100);  // they are counted
      // A line of metrics, once in a second, is the worst that may come between.
      EXPECT_LT(many - few, 50) << name << ": " << static_cast<double>(many - few) / 50 << " per step";
    }
}

}  // namespace
}  // namespace lepton::train
