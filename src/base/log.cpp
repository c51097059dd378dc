// SPDX-License-Identifier: Apache-2.0
// The log, on spdlog, which nothing else includes. One lock covers the live line's removal and the line that
// is written, so that no line is torn; what is written is flushed at once, since a run may be killed at any
// time.
#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>

#include "base/error.h"

namespace lepton {

namespace {

struct Log {
  Log() : logger("lepton", std::make_shared<spdlog::sinks::stderr_sink_st>()) {
    logger.set_pattern("%v");
    logger.flush_on(spdlog::level::trace);
  }
  std::mutex mutex;
  spdlog::logger logger;
  std::string origin;  // "rank 3: " where there are several ranks
  void (*clear_live_line)() = nullptr;
};

Log& the_log() {
  static Log log;
  return log;
}

void write(spdlog::level::level_enum level, std::string_view kind, std::string_view text) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  if (!log.logger.should_log(level)) return;
  if (log.clear_live_line != nullptr) log.clear_live_line();
  log.logger.log(level, "{}{}{}", log.origin, kind, text);
}

}  // namespace

void start_log(int rank, int ranks) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  log.logger.set_level(rank == 0 ? spdlog::level::info : spdlog::level::warn);
  log.origin = ranks > 1 && rank != 0 ? "rank " + std::to_string(rank) + ": " : "";
}

void attach_log_file(const std::string& path) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  try {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_st>(path, false);
    file->set_pattern("%Y-%m-%d %H:%M:%S.%e  %v");
    log.logger.sinks().resize(1);  // one file at a time
    log.logger.sinks().push_back(std::move(file));
  } catch (const spdlog::spdlog_ex& failure) {
    fail(Exit::run_directory, path, "the log cannot be written: " + std::string(failure.what()),
         "Choose a run directory that you may write to (run.dir).");
  }
}

void log_info(std::string_view text) {
  write(spdlog::level::info, "", text);
}

void log_warning(std::string_view text) {
  write(spdlog::level::warn, "warning: ", text);
}

void log_error(std::string_view text) {
  write(spdlog::level::err, "error: ", text);
}

void set_log_interrupt(void (*clear_live_line)()) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  log.clear_live_line = clear_live_line;
}

}  // namespace lepton
