// SPDX-License-Identifier: Apache-2.0
// A signal's handler prints the stack of the thread that it runs in: nobody else can walk it. Sent to a
// process, the handler passes the signal on to each thread. Only functions that are safe in handlers
// (signal-safety(7)); backtrace() is, once it has been called before. See the header.
#include "base/stacks.h"

#include <execinfo.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace lepton {

namespace {

constexpr int frames_max = 64;

/// In the signal's value: print your stack, and tell nobody.
constexpr int for_one_thread = 0x1e970;

void write_words(const char* text) {
  [[maybe_unused]] const ssize_t put = ::write(STDERR_FILENO, text, std::strlen(text));
}

void put_number(int64_t value) {
  char digits[24];
  char* at = digits + sizeof digits;
  *--at = '\0';
  do *--at = static_cast<char>('0' + value % 10);
  while ((value /= 10) > 0);
  write_words(at);
}

void print_own_stack() {
  void* frames[frames_max];
  const int count = backtrace(frames, frames_max);
  write_words("stack of thread ");
  put_number(syscall(SYS_gettid));
  write_words(" of process ");
  put_number(getpid());
  write_words(":\n");
  backtrace_symbols_fd(frames, count, STDERR_FILENO);
}

void send_to(int64_t thread) {
  siginfo_t info = {};
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = for_one_thread;
  syscall(SYS_rt_tgsigqueueinfo, getpid(), static_cast<pid_t>(thread), SIGUSR2, &info);
}

/// The kernel's getdents64, because readdir() allocates.
void send_to_all_threads() {
  const int tasks = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (tasks < 0) return;
  alignas(8) std::array<char, 4096> listing;
  for (;;) {
    const long bytes = syscall(SYS_getdents64, tasks, listing.data(), listing.size());
    if (bytes <= 0) break;
    for (long at = 0; at < bytes;) {
      // struct linux_dirent64: inode and offset of 8 bytes, length of 2, type of 1, name
      unsigned short length = 0;
      std::memcpy(&length, listing.data() + at + 16, sizeof length);
      int64_t thread = 0;
      for (const char* digit = listing.data() + at + 19; *digit >= '0' && *digit <= '9'; ++digit)
        thread = 10 * thread + (*digit - '0');
      if (thread > 0) send_to(thread);
      at += length;
    }
  }
  close(tasks);
}

void on_signal(int, siginfo_t* info, void*) {
  const int saved = errno;
  if (info->si_code == SI_QUEUE && info->si_value.sival_int == for_one_thread)
    print_own_stack();
  else
    send_to_all_threads();
  errno = saved;
}

}  // namespace

void install_stack_handler() {
  void* frame[1];
  backtrace(frame, 1);  // loads what it needs, which a handler must not
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGUSR2, &action, nullptr);
}

void print_stack_of(int64_t thread) {
  send_to(thread);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
}

}  // namespace lepton
