// SPDX-License-Identifier: Apache-2.0
// MPI's beginning and end, and the guard against jobs that fall apart into singletons. Which variables say
// what:
// - OMPI_COMM_WORLD_SIZE (Open MPI's mpirun) and PMI_SIZE (MPICH's mpiexec, Slurm's pmi2) are set by the
// launcher for
//   its own processes, so where one of them stands it alone decides: `mpirun -n 1` inside an allocation of
//   many tasks is what the user meant.
// - SLURM_STEP_NUM_TASKS is set by srun for the tasks of a step. SLURM_NTASKS says nothing: the batch shell
// has it too. Called by main only.
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "comm/group.h"
#include "comm/world.h"

namespace lepton::comm {

std::string launcher_conflict(int mpi_size, const std::function<const char*(const char*)>& variable) {
  if (mpi_size > 1) return "";
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    const char* text = variable(name);
    if (!text) continue;
    const long tasks = std::strtol(text, nullptr, 10);
    if (tasks <= 1) return "";
    return std::string(name) + " says that this is one of " + std::to_string(tasks) +
           " tasks, but MPI came up with a single rank";
  }
  return "";
}

Session::Session(int& argc, char**& argv) {
  int initialized = 0, provided = MPI_THREAD_SINGLE, size = 1;
  MPI_Initialized(&initialized);
  CHECK(!initialized, "a second Session");
  check_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const std::string conflict = launcher_conflict(size, [](const char* name) { return std::getenv(name); });
  if (provided >= MPI_THREAD_FUNNELED && conflict.empty()) return;
  MPI_Finalize();  // the destructor does not run
  REQUIRE(conflict.empty(), Exit::usage, "MPI", conflict,
          "Every rank would train for itself. Start with the mpirun of the MPI that Lepton was built with, "
          "or with "
          "srun --mpi=pmix (Open MPI) or srun --mpi=pmi2 (MPICH).");
  fail(Exit::io, "MPI_Init_thread", "this MPI cannot serve a program with threads (MPI_THREAD_FUNNELED)",
       "Build Lepton with an MPI that has thread support.");
}

Session::~Session() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized) MPI_Finalize();
}

void Session::abort(int code) {
  std::fflush(stdout);
  std::fflush(stderr);
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized && !finalized) MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

}  // namespace lepton::comm
