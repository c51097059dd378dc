// SPDX-License-Identifier: Apache-2.0
// Matching, actions and refusals of failpoints. Actions that end the process run in death tests.
#include "base/failpoint.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <csignal>

#include "base/clock.h"
#include "base/error.h"

namespace lepton {
namespace {

class Failpoint : public testing::Test {
 protected:
  void TearDown() override {
    arm_failpoints("");
    run_context() = {};
  }
};

using FailpointDeathTest = Failpoint;

bool throws_error(std::string_view point) {
  try {
    failpoint(point);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::io);
    return true;
  }
  return false;
}

std::string refusal(const std::string& text) {
  try {
    arm_failpoints(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::usage);
    return error.what();
  }
  return "";
}

double seconds_of(std::string_view point) {
  const double begin = now_s();
  failpoint(point);
  return now_s() - begin;
}

TEST_F(Failpoint, UnarmedDoesNothing) {
  EXPECT_FALSE(detail::failpoints_armed);
  failpoint("unit");
  arm_failpoints(" ; ;");
  EXPECT_FALSE(detail::failpoints_armed);
}

TEST_F(Failpoint, ErrorActsOnceAtItsPoint) {
  arm_failpoints("point=reduce,action=error");
  EXPECT_FALSE(throws_error("unit"));
  EXPECT_TRUE(throws_error("reduce"));
  EXPECT_FALSE(throws_error("reduce"));
}

TEST_F(Failpoint, EveryKeyIsMatched) {
  const std::pair<const char*, RunContext> cases[] = {{"rank=2", {.rank = 2}},
                                                      {"step=9", {.step = 9}},
                                                      {"unit=4", {.unit = 4}},
                                                      {"restart=1", {.restart = 1}}};
  for (const auto& [key, run] : cases) {
    arm_failpoints("point=unit,action=error," + std::string(key));
    run_context() = {};
    EXPECT_FALSE(throws_error("unit")) << key;
    run_context() = run;
    EXPECT_TRUE(throws_error("unit")) << key;
  }
}

TEST_F(Failpoint, CountIsThePassThatActs) {
  arm_failpoints("point=unit,action=error,count=3,rank=0");
  EXPECT_FALSE(throws_error("unit"));
  EXPECT_FALSE(throws_error("unit"));
  EXPECT_TRUE(throws_error("unit"));
  EXPECT_FALSE(throws_error("unit"));
}

TEST_F(Failpoint, DelayActsOnEveryPassFromItsCount) {
  arm_failpoints("point=unit,action=delay:20ms,count=2");
  EXPECT_LT(seconds_of("unit"), 0.02);
  EXPECT_GE(seconds_of("unit"), 0.02);
  EXPECT_GE(seconds_of("unit"), 0.02);
}

TEST_F(Failpoint, TheLastMatchingEntryWins) {
  arm_failpoints(
      "point=unit,action=delay:1us; rank=1,point=unit,action=delay:30ms ;rank=2,point=unit,action=error");
  EXPECT_LT(seconds_of("unit"), 0.03);
  run_context().rank = 1;
  EXPECT_GE(seconds_of("unit"), 0.03);
  run_context().rank = 2;
  EXPECT_TRUE(throws_error("unit"));
  EXPECT_FALSE(throws_error("unit"));  // spent: the first entry's delay again
}

TEST_F(Failpoint, FlipChangesExactlyOneBit) {
  for (int64_t step = 0; step < 100; ++step) {
    arm_failpoints("point=check,action=flip");
    run_context().step = step;
    std::array<std::byte, 37> bytes{};
    failpoint("check", bytes);
    int bits = 0;
    for (const std::byte byte : bytes) bits += std::popcount(static_cast<unsigned>(byte));
    EXPECT_EQ(bits, 1);
  }
}

TEST_F(Failpoint, FlipWaitsForAPassWithBytes) {
  arm_failpoints("point=check,action=flip");
  failpoint("check");
  std::array<std::byte, 1> bytes{};
  failpoint("check", bytes);
  EXPECT_NE(bytes[0], std::byte{0});
}

TEST_F(FailpointDeathTest, SignalsEndTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto pass = [](const char* text) {
    arm_failpoints(text);
    failpoint("finalize");
  };
  EXPECT_EXIT(pass("point=finalize,action=kill"), testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(pass("point=finalize,action=segv"), testing::KilledBySignal(SIGSEGV), "");
}

TEST_F(FailpointDeathTest, StopFreezesAndHangNeverReturns) {
  for (const char* text : {"point=unit,action=stop", "point=unit,action=hang"}) {
    const pid_t child = fork();
    if (child == 0) {
      arm_failpoints(text);
      failpoint("unit");
      _exit(0);
    }
    usleep(200000);
    int status = 0;
    const bool stops = std::string_view(text).ends_with("stop");
    EXPECT_EQ(waitpid(child, &status, WNOHANG | WUNTRACED), stops ? child : 0) << text;
    if (stops) {
      EXPECT_TRUE(WIFSTOPPED(status));
    }
    kill(child, SIGKILL);
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
  }
}

TEST_F(Failpoint, BadTextIsRefusedWithTheNearestName) {
  const std::pair<const char*, const char*> cases[] = {
      {"point=units,action=kill", "Did you mean 'unit'?"},
      {"point=unit,action=kil", "Did you mean 'kill'?"},
      {"point=unit,action=kill,rnk=1", "Did you mean 'rank'?"},
      {"point=unit", "point and action are needed"},
      {"action=kill", "point and action are needed"},
      {"point=unit,action=kill,rank=x", "rank = 'x'"},
      {"point=unit,action=kill,step=-1", "step = '-1'"},
      {"point=unit,action=kill,count=0", "count starts at 1"},
      {"point=unit,action=delay", "not a duration"},
      {"point=unit,action=delay:5", "not a duration"},
      {"point=unit,action=delay:ms", "not a duration"},
      {"point=unit,action=kill:9", "takes no ':'"},
      {"point=unit;action=kill", "point and action are needed"},
      {"nonsense", "not key=value"}};
  for (const auto& [text, expected] : cases)
    EXPECT_NE(refusal(text).find(expected), std::string::npos) << text << " gave: " << refusal(text);
}

TEST_F(Failpoint, ARefusedTextArmsNothing) {
  EXPECT_NE(refusal("point=unit,action=error;point=nowhere,action=kill"), "");
  EXPECT_FALSE(throws_error("unit"));
}

}  // namespace
}  // namespace lepton
