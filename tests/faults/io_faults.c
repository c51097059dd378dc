// SPDX-License-Identifier: Apache-2.0
/* Faults of a file system, for LD_PRELOAD. LEPTON_IO_FAULT holds entries separated by `;`, each of key=value pairs separated by
 * `,`:
 *   call=write|fsync|fallocate|close|rename   which call (write: also pwrite; rename: also renameat2)
 *   path=TEXT      only where the file's path contains this
 *   nth=N          the N-th matching call of the process acts (1); from=N: each from the N-th on
 *   do=ENOSPC|EDQUOT|EIO|EROFS|EINTR|short|hang:SECONDS|slow:BYTES_PER_SECOND
 *   rank=R         only in this rank
 * LEPTON_CLOCK_SHIFT=SECONDS moves the wall clock (not the monotonic one). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { entries_max = 16 };
struct entry {
  char call[16], path[64], action[32];
  long nth, from, seen;
};
static struct entry entries[entries_max];
static int entry_count = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void parse(void) {
  entry_count = 0;
  const char* text = getenv("LEPTON_IO_FAULT");
  const char* own_rank = getenv("OMPI_COMM_WORLD_RANK");
  if (!text) return;
  char* copy = strdup(text);
  char *outer = NULL, *inner = NULL;
  for (char* part = strtok_r(copy, ";", &outer); part && entry_count < entries_max; part = strtok_r(NULL, ";", &outer)) {
    struct entry entry = {"", "", "", 1, 0, 0};
    int here = 1;
    for (char* pair = strtok_r(part, ",", &inner); pair; pair = strtok_r(NULL, ",", &inner)) {
      char* value = strchr(pair, '=');
      if (!value) continue;
      *value++ = '\0';
      if (!strcmp(pair, "call")) snprintf(entry.call, sizeof entry.call, "%s", value);
      if (!strcmp(pair, "path")) snprintf(entry.path, sizeof entry.path, "%s", value);
      if (!strcmp(pair, "do")) snprintf(entry.action, sizeof entry.action, "%s", value);
      if (!strcmp(pair, "nth")) entry.nth = atol(value);
      if (!strcmp(pair, "from")) entry.from = atol(value);
      if (!strcmp(pair, "rank")) here = atol(value) == (own_rank ? atol(own_rank) : 0);
    }
    if (here) entries[entry_count++] = entry;
  }
  free(copy);
}

/* The action for this call, or NULL. */
static const char* action_for(const char* call, const char* path) {
  const char* found = NULL;
  pthread_mutex_lock(&mutex);
  if (entry_count < 0) parse();
  for (int i = 0; i < entry_count; ++i) {
    struct entry* entry = &entries[i];
    if (strcmp(entry->call, call) || !strstr(path, entry->path)) continue;
    const long pass = ++entry->seen;
    if (!found && (entry->from ? pass >= entry->from : pass == entry->nth)) found = entry->action;
  }
  pthread_mutex_unlock(&mutex);
  return found;
}

static const char* action_of(const char* call, int descriptor) {
  char name[64], path[512];
  snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(name, path, sizeof path - 1);
  if (length <= 0 || path[0] != '/') return NULL;
  path[length] = '\0';
  return action_for(call, path);
}

static int error_of(const char* action) {
  static const struct {
    const char* name;
    int value;
  } errors[] = {{"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EIO", EIO}, {"EROFS", EROFS}, {"EINTR", EINTR}};
  for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i)
    if (!strcmp(action, errors[i].name)) return errors[i].value;
  return 0;
}

static void wait_for(const char* action, size_t bytes) {
  double seconds = 0;
  if (!strncmp(action, "hang:", 5)) seconds = atof(action + 5);
  if (!strncmp(action, "slow:", 5)) seconds = (double)bytes / atof(action + 5);
  struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  while (seconds > 0 && nanosleep(&left, &left) != 0) {
  }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Passes the call on with as many bytes as the fault leaves; 1: it failed. */
static int writes(const char* action, size_t* count) {
  if (!action) return 0;
  if (error_of(action)) {
    errno = error_of(action);
    return 1;
  }
  if (!strcmp(action, "short") && *count > 1) *count = (*count + 1) / 2;
  wait_for(action, *count);
  return 0;
}

ssize_t write(int descriptor, const void* bytes, size_t count) {
  if (writes(action_of("write", descriptor), &count)) return -1;
  return REAL(write)(descriptor, bytes, count);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t count, off_t offset) {
  if (writes(action_of("write", descriptor), &count)) return -1;
  return REAL(pwrite)(descriptor, bytes, count, offset);
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t count, off64_t offset) {
  if (writes(action_of("write", descriptor), &count)) return -1;
  return REAL(pwrite64)(descriptor, bytes, count, offset);
}

static int fails(const char* action) {
  if (!action) return 0;
  wait_for(action, 0);
  if (!error_of(action)) return 0;
  errno = error_of(action);
  return 1;
}

int fsync(int descriptor) {
  return fails(action_of("fsync", descriptor)) ? -1 : REAL(fsync)(descriptor);
}

int fallocate(int descriptor, int mode, off_t offset, off_t length) {
  return fails(action_of("fallocate", descriptor)) ? -1 : REAL(fallocate)(descriptor, mode, offset, length);
}

int fallocate64(int descriptor, int mode, off64_t offset, off64_t length) {
  return fails(action_of("fallocate", descriptor)) ? -1 : REAL(fallocate64)(descriptor, mode, offset, length);
}

/* The descriptor is closed all the same, as close(2) does. */
int close(int descriptor) {
  const char* action = action_of("close", descriptor);
  const int status = REAL(close)(descriptor);
  return fails(action) ? -1 : status;
}

int rename(const char* from, const char* to) {
  return fails(action_for("rename", to)) ? -1 : REAL(rename)(from, to);
}

int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) {
  return fails(action_for("rename", to)) ? -1 : REAL(renameat2)(from_directory, from, to_directory, to, flags);
}

static long shift(void) {
  const char* text = getenv("LEPTON_CLOCK_SHIFT");
  return text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec* time) {
  const int status = REAL(clock_gettime)(clock, time);
  if (status == 0 && clock == CLOCK_REALTIME) time->tv_sec += shift();
  return status;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
