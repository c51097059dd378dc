// SPDX-License-Identifier: Apache-2.0
// The CUDA module is found or its absence is said in a sentence; neither is an error. Each case in a process
// of its own, because the module is looked for once.
#include "ops/cuda_module.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace lepton::ops {
namespace {

/// Prints what this process says of CUDA when the module is to be at `path`, and ends.
[[noreturn]] void say_version(const std::string& path) {
  setenv("LEPTON_CUDA_MODULE", path.c_str(), 1);
  std::fputs(cuda_version().c_str(), stderr);
  std::_Exit(cuda_module() ? 1 : 0);
}

TEST(CudaModuleDeath, AModuleThatIsNotThereIsSaidToBeMissing) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(say_version("/nowhere/liblepton_cuda.so"), ::testing::ExitedWithCode(0),
              "no CUDA: there is no CUDA module");
}

TEST(CudaModuleDeath, AFileThatIsNoModuleIsNamed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::string path = ::testing::TempDir() + "/not_a_module.so";
  std::ofstream(path) << "this is no library";
  EXPECT_EXIT(say_version(path), ::testing::ExitedWithCode(0), "no CUDA: .*not_a_module.so");
  std::filesystem::remove(path);
}

TEST(CudaModule, NoDeviceHasAReason) {
  std::string absence;
  const size_t count = cuda_devices(absence).size();
  EXPECT_EQ(count == 0, !absence.empty()) << absence;
}

}  // namespace
}  // namespace lepton::ops
