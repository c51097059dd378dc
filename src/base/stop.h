// SPDX-License-Identifier: Apache-2.0
// The stop flag: SIGUSR1, SIGTERM and SIGINT ask for "save and exit 75". Handlers only set the flag and may
// arrive any number of times; the ranks agree on it by a vote at the end of a step (train).
#pragma once

namespace lepton {

void install_stop_handlers();
bool stop_requested();
int stop_signal();  ///< the first signal that came, 0 if none
void request_stop(int signal = 0);
void clear_stop();  ///< for tests

}  // namespace lepton
