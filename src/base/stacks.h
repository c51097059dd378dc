// SPDX-License-Identifier: Apache-2.0
// Stacks of running threads, on stderr: for the log of a job that hangs. SIGUSR2 to a process prints those
// of all its threads, so that a user can ask too. Addresses come with the nearest exported name; `addr2line`
// makes lines of them.
#pragma once

#include <cstdint>

namespace lepton {

/// Installs the handler of SIGUSR2 and prepares what it must not allocate. Once per process.
void install_stack_handler();
/// Prints the stack of a thread of this process (its number in the kernel) and waits a moment for that.
void print_stack_of(int64_t thread);

}  // namespace lepton
