// SPDX-License-Identifier: Apache-2.0
// Handles close once, messages of failed calls end up in our errors, nothing is printed by HDF5 itself.
#include "storage/hdf5_handle.h"

#include <csignal>
#include <cstdlib>

#include "storage/scratch.h"

namespace lepton::storage {
namespace {

TEST(Hdf5Handle, ClosesOnceWhenMoved) {
  const Hdf5Lock lock;
  const hid_t id = H5Screate(H5S_SCALAR);
  {
    Handle first(id, H5Sclose);
    Handle second(std::move(first));
    EXPECT_FALSE(first);
    EXPECT_TRUE(second);
    Handle third;
    third = std::move(second);
    EXPECT_EQ(third.get(), id);
    EXPECT_GT(H5Iis_valid(id), 0);
  }
  EXPECT_LE(H5Iis_valid(id), 0);
}

TEST(Hdf5Handle, FailedCallsGiveTheInnermostMessage) {
  const Hdf5Lock lock;
  ::testing::internal::CaptureStderr();
  testing::expect_error(Exit::io, "HDF5 says: unable to open file", [] {
    hdf5_handle(H5Fopen("/nowhere/at/all.h5", H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, Exit::io, "here",
                "opening");
  });
  testing::expect_error(Exit::data, "here: asking failed",
                        [] { hdf5_status(H5Sclose(-1), Exit::data, "here", "asking"); });
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(hdf5_message(), "no message from HDF5") << "the stack is cleared";
}

TEST(Hdf5HandleDeathTest, ACrashInsideTheLibraryNamesTheFile) {
  const auto crash = [](int signal, const char* file) {
    const Hdf5Lock lock{std::string(file)};
    std::raise(signal);
  };
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT})
    EXPECT_EXIT(crash(signal, "broken.h5"), ::testing::ExitedWithCode(65),
                "error: broken.h5: the file is damaged")
        << signal;
}

TEST(Hdf5HandleDeathTest, ACrashOutsideIsLeftToWhomItBelongsTo) {
  { const Hdf5Lock lock(std::string("whole.h5")); }
  const auto not_ours = [](int status) { return !WIFEXITED(status) || WEXITSTATUS(status) != 65; };
  EXPECT_EXIT(std::raise(SIGSEGV), not_ours, "");
}

TEST(Hdf5Handle, FileLockingIsOff) {
  const Hdf5Lock lock;
  ASSERT_NE(std::getenv("HDF5_USE_FILE_LOCKING"), nullptr);
}

}  // namespace
}  // namespace lepton::storage
