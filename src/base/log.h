// SPDX-License-Identifier: Apache-2.0
// The log: one of the few globals. Rank 0 writes to stderr and, once attach_log_file() is called, to log.txt
// in the run directory; other ranks write warnings and errors only. Messages are whole sentences.
#pragma once

#include <string>
#include <string_view>

namespace lepton {

/// Rank 0 logs from "info" up, others from "warning" up, each line with the rank when there are several.
void start_log(int rank, int ranks);
/// **Rank 0 only.** Appends all further lines to this file too. Throws Error(run_directory).
void attach_log_file(const std::string& path);

void log_info(std::string_view text);
void log_warning(std::string_view text);
void log_error(std::string_view text);

/// Installed by report while a live progress line is on the terminal: called before a line is printed.
void set_log_interrupt(void (*clear_live_line)());

}  // namespace lepton
