// SPDX-License-Identifier: Apache-2.0
// The stop flag: SIGUSR1, SIGTERM and SIGINT ask for "save and exit 75". Handlers only set the flag and may
// arrive any number of times, in any thread; the ranks agree on it by a vote at the end of a step (train).
#pragma once

namespace lepton {

void install_stop_handlers();
/// A stack of its own for the calling thread's signal handlers, until the thread ends. Needed wherever oneDNN
/// computes: its matrix products use the stack pointer as one more register (oneDNN 2.6, "gemm:jit"), and a
/// signal's frame, written where that points, destroys whatever lies there.
void use_signal_stack();
bool stop_requested();
int stop_signal();  ///< the first signal that came, 0 if none
void request_stop(int signal = 0);
void clear_stop();  ///< for tests

}  // namespace lepton
