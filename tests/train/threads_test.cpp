// SPDX-License-Identifier: Apache-2.0
// Dividing cores: disjoint and shared bindings, quotas, hosts, and the warning about a narrow binding.
#include "train/threads.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

namespace lepton::train {
namespace {

std::vector<int> cores(int first, int count) {
  std::vector<int> list(static_cast<size_t>(count));
  std::iota(list.begin(), list.end(), first);
  return list;
}

RankCores rank_on(const std::string& host, int node, const std::vector<int>& own,
                  const std::vector<int>& job) {
  RankCores rank;
  rank.host = host;
  rank.node = node;
  rank.own = own;
  rank.job = job;
  return rank;
}

std::vector<int> threads_of(const std::vector<RankCores>& ranks, int wanted = 0) {
  std::vector<int> threads;
  for (const ThreadShare& share : share_cores(ranks, wanted)) threads.push_back(share.threads);
  return threads;
}

TEST(Threads, ListsOfCoresAsTheKernelWritesThem) {
  EXPECT_EQ(parse_core_list("0-3,8,10-11"), (std::vector<int>{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_TRUE(parse_core_list("").empty());
  EXPECT_EQ(parse_core_list("x,5"), std::vector<int>{5});
}

TEST(Threads, RanksThatShareAHostDivideItsCores) {
  const RankCores all = rank_on("a", 0, cores(0, 8), cores(0, 8));
  EXPECT_EQ(threads_of({all}), std::vector<int>{8});
  EXPECT_EQ(threads_of({all, all}), (std::vector<int>{4, 4}));
  EXPECT_EQ(threads_of({all, all, all}), (std::vector<int>{2, 3, 3}));
  EXPECT_EQ(threads_of(std::vector<RankCores>(9, all)).front(), 1)
      << "at least one, even without a core of its own";
  EXPECT_TRUE(share_cores({all, all}, 0)[0].warning.empty());
}

TEST(Threads, DisjointBindingsAreTaken) {
  const RankCores first = rank_on("a", 0, cores(0, 6), cores(0, 8)),
                  second = rank_on("a", 0, cores(6, 2), cores(0, 8));
  EXPECT_EQ(threads_of({first, second}), (std::vector<int>{6, 2}));
  EXPECT_TRUE(share_cores({first, second}, 0)[0].warning.empty());
}

TEST(Threads, PartlySharedCoresCountByTheirSharers) {
  const RankCores wide = rank_on("a", 0, cores(0, 4), {}), narrow = rank_on("a", 0, cores(0, 2), {});
  EXPECT_EQ(threads_of({wide, narrow}), (std::vector<int>{3, 1}));
}

TEST(Threads, QuotasBound) {
  RankCores rank = rank_on("a", 0, cores(0, 16), cores(0, 16));
  rank.quota = 4.5;
  EXPECT_EQ(threads_of({rank}), std::vector<int>{4});
  EXPECT_EQ(threads_of({rank, rank, rank}), (std::vector<int>{1, 1, 2}));
  rank.quota = 0.5;
  EXPECT_EQ(threads_of({rank}), std::vector<int>{1});
  EXPECT_TRUE(share_cores({rank}, 0)[0].warning.empty());
}

TEST(Threads, HostsAreDividedEachByItself) {
  const RankCores a = rank_on("a", 0, cores(0, 4), cores(0, 4)),
                  b = rank_on("b", 1, cores(0, 2), cores(0, 2));
  const std::vector<ThreadShare> shares = share_cores({a, a, b}, 0);
  EXPECT_EQ(shares[0].threads, 2);
  EXPECT_EQ(shares[2].threads, 2);
  EXPECT_EQ(shares[1].node_first, 2);
  EXPECT_EQ(shares[1].node_threads, 4);
  EXPECT_EQ(shares[2].node_first, 0);
  EXPECT_EQ(shares[2].job_threads, 6);
}

TEST(Threads, SeveralNodesOnAHostShareItsCores) {
  const std::vector<ThreadShare> shares =
      share_cores({rank_on("a", 0, cores(0, 4), {}), rank_on("a", 1, cores(0, 4), {})}, 0);
  EXPECT_EQ(shares[0].threads, 2);
  EXPECT_EQ(shares[0].node_threads, 2);
  EXPECT_EQ(shares[0].on_host.nodes, 2);
  EXPECT_EQ(shares[0].on_host.machines, 1);
  RankCores elsewhere = rank_on("a", 1, cores(0, 4), {}), far = rank_on("b", 2, cores(0, 4), {});
  elsewhere.machine = 1;
  far.machine = 2;
  const std::vector<ThreadShare> cut = share_cores({rank_on("a", 0, cores(0, 4), {}), elsewhere, far}, 0);
  EXPECT_EQ(cut[1].on_host.nodes, 2);
  EXPECT_EQ(cut[1].on_host.machines, 2) << "they only pretend to be two machines";
  EXPECT_EQ(cut[2].on_host.nodes, 1);
  EXPECT_EQ(cut[2].on_host.machines, 1);
}

TEST(Threads, ANarrowBindingIsReportedWithTheOptionThatMendsIt) {
  const RankCores first = rank_on("a", 0, {0}, cores(0, 8)), second = rank_on("a", 0, {1}, cores(0, 8));
  const std::string warning = share_cores({first, second}, 0)[1].warning;
  EXPECT_NE(warning.find("2 of 8 cores for 2 threads"), std::string::npos) << warning;
  EXPECT_NE(warning.find("--bind-to none"), std::string::npos) << warning;
  EXPECT_NE(warning.find("slot:PE=4"), std::string::npos) << warning;
  EXPECT_TRUE(share_cores({first, second}, 1)[0].warning.empty())
      << "one thread per rank is all that is wanted";
  EXPECT_NE(share_cores({first, second}, 3)[0].warning.find("2 of 6 cores for 6 threads"), std::string::npos);
  RankCores limited = rank_on("a", 0, {0}, cores(0, 8));
  limited.quota = 1;
  EXPECT_TRUE(share_cores({limited}, 0)[0].warning.empty()) << "more cores would not help";
}

TEST(Threads, WantedThreadsAreTaken) {
  EXPECT_EQ(threads_of({rank_on("a", 0, cores(0, 2), {})}, 5), std::vector<int>{5});
}

TEST(Threads, ARankThatFeedsADeviceHasOneThreadAndOthersDivideTheRest) {
  const RankCores host = rank_on("a", 0, cores(0, 8), cores(0, 8));
  RankCores fed = rank_on("a", 1, cores(0, 8), cores(0, 8));
  fed.device = true;
  EXPECT_EQ(threads_of({fed}), std::vector<int>{1});
  EXPECT_EQ(threads_of({fed}, 5), std::vector<int>{1}) << "whatever the deck wants";
  EXPECT_EQ(threads_of({host, fed}), (std::vector<int>{7, 1}));
  EXPECT_EQ(threads_of({fed, host, host}), (std::vector<int>{1, 3, 4}));
  EXPECT_EQ(threads_of(std::vector<RankCores>(9, fed)), std::vector<int>(9, 1)) << "more than cores";
  RankCores limited = host, limited_fed = fed;
  limited.quota = limited_fed.quota = 4;
  EXPECT_EQ(threads_of({limited, limited_fed, limited}), (std::vector<int>{1, 1, 2}));
  EXPECT_EQ(threads_of({host, fed}, 6), (std::vector<int>{6, 1}));
  const std::vector<ThreadShare> shares = share_cores({host, fed, host}, 0);
  EXPECT_EQ(shares[1].node_threads, 1);
  EXPECT_EQ(shares[1].node_first, 0);
  EXPECT_EQ(shares[0].node_threads, shares[0].threads + shares[2].threads);
  EXPECT_EQ(shares[0].job_threads, shares[0].node_threads + 1);
  EXPECT_EQ(shares[0].on_host.nodes, 2);
}

TEST(Threads, NothingKnownMeansOne) {
  EXPECT_EQ(threads_of({rank_on("a", 0, {}, {})}), std::vector<int>{1});
}

class FakeRoot : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "/lepton_threads_root_" + std::to_string(getpid());
    std::filesystem::remove_all(root_);
  }
  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::string root_;
};

TEST_F(FakeRoot, ReadsQuotasOfVersion2AndOfParents) {
  write("/proc/self/cgroup", "0::/job/step\n");
  write("/sys/fs/cgroup/job/step/cpu.max", "max 100000\n");
  write("/sys/fs/cgroup/job/cpu.max", "250000 100000\n");
  EXPECT_EQ(local_cores(root_).quota, 2.5);
}

TEST_F(FakeRoot, ReadsQuotasOfVersion1) {
  write("/proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/job\n");
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "300000\n");
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(local_cores(root_).quota, 3.0);
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
  EXPECT_TRUE(std::isinf(local_cores(root_).quota));
}

TEST_F(FakeRoot, ReadsTheLaunchersCores) {
  write("/proc/" + std::to_string(getppid()) + "/status", "Name:\tmpirun\nCpus_allowed_list:\t0-2,8\n");
  EXPECT_EQ(local_cores(root_).job, (std::vector<int>{0, 1, 2, 8}));
}

TEST_F(FakeRoot, WhatCannotBeReadDoesNotLimit) {
  const RankCores here = local_cores(root_);
  EXPECT_TRUE(std::isinf(here.quota));
  EXPECT_TRUE(here.job.empty());
  EXPECT_FALSE(here.own.empty());
  EXPECT_FALSE(here.host.empty());
}

TEST(Threads, ThisProcessHasACore) {
  EXPECT_GE(usable_cores(), 1);
}

}  // namespace
}  // namespace lepton::train
