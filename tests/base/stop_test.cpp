// SPDX-License-Identifier: Apache-2.0
// Each of the three signals sets the flag, repeatedly and harmlessly; the first is remembered.
#include "base/stop.h"

#include <gtest/gtest.h>

#include <csignal>

namespace lepton {
namespace {

class Stop : public testing::Test {
 protected:
  void SetUp() override {
    install_stop_handlers();
    clear_stop();
  }
  void TearDown() override { clear_stop(); }
};

TEST_F(Stop, EachSignalSetsTheFlag) {
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) {
    clear_stop();
    EXPECT_FALSE(stop_requested());
    EXPECT_EQ(stop_signal(), 0);
    std::raise(signal);
    EXPECT_TRUE(stop_requested());
    EXPECT_EQ(stop_signal(), signal);
  }
}

TEST_F(Stop, TheFirstOfManySignalsIsRemembered) {
  for (int i = 0; i < 100; ++i) std::raise(SIGUSR1);
  std::raise(SIGTERM);
  EXPECT_EQ(stop_signal(), SIGUSR1);
}

TEST_F(Stop, CanBeRequestedWithoutASignal) {
  request_stop();
  EXPECT_TRUE(stop_requested());
  EXPECT_EQ(stop_signal(), 0);
}

}  // namespace
}  // namespace lepton
