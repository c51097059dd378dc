// SPDX-License-Identifier: Apache-2.0
// Which environments betray a job that fell apart into singletons. Session itself is used by every end-to-end
// test.
#include <gtest/gtest.h>

#include <map>

#include "comm/world.h"

namespace lepton::comm {
namespace {

bool refused(int mpi_size, const std::map<std::string, std::string>& environment) {
  return !launcher_conflict(mpi_size, [&](const char* name) {
            const auto found = environment.find(name);
            return found == environment.end() ? nullptr : found->second.c_str();
          }).empty();
}

TEST(LauncherConflict, SingletonsOfAJobAreRefused) {
  EXPECT_TRUE(refused(1, {{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_NTASKS", "4"}}));  // srun --mpi=pmix + MPICH
  EXPECT_TRUE(refused(1, {{"PMI_SIZE", "2"}}));              // MPICH's mpiexec + Open MPI
  EXPECT_TRUE(refused(1, {{"OMPI_COMM_WORLD_SIZE", "3"}}));  // mpirun + MPICH
}

TEST(LauncherConflict, WhatTheUserMeantIsAccepted) {
  EXPECT_FALSE(refused(1, {}));
  EXPECT_FALSE(refused(1, {{"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}}));  // in the batch shell
  EXPECT_FALSE(
      refused(1, {{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_STEP_NUM_TASKS", "4"}}));  // mpirun -n 1 there
  EXPECT_FALSE(refused(1, {{"SLURM_STEP_NUM_TASKS", "1"}}));
  EXPECT_FALSE(refused(4, {{"OMPI_COMM_WORLD_SIZE", "4"}}));
  EXPECT_FALSE(refused(4, {{"SLURM_STEP_NUM_TASKS", "1"}}));  // mpiexec's proxy in a step of its own
}

}  // namespace
}  // namespace lepton::comm
