// SPDX-License-Identifier: Apache-2.0
// Reads /proc/meminfo, /proc/self/cgroup and the control groups' files. A control group may give back its
// inactive page cache under pressure, so that counts as free. Whatever cannot be read does not limit.
#include "comm/memory_limits.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <optional>
#include <sstream>

namespace lepton::comm {

/// The number in a file that holds only one; "max" and what cannot be read are absent.
static std::optional<size_t> number_in(const std::string& path) {
  std::ifstream file(path);
  size_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

/// The number behind `key` in lines of "key number".
static std::optional<size_t> number_after(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string word, rest;
  size_t value = 0;
  while (file >> word) {
    if (word == key && file >> value) return value;
    file.clear();
    std::getline(file, rest);
  }
  return std::nullopt;
}

struct CgroupFiles {
  const char* limit;
  const char* usage;
  const char* reclaimable;  // a key in memory.stat
};

/// What the group at `mount` + `group` and all its parents leave.
static size_t left_in_groups(const std::string& mount, std::string group, const CgroupFiles& files) {
  size_t left = SIZE_MAX;
  for (;;) {
    const std::string folder = mount + (group == "/" ? "" : group) + "/";
    const std::optional<size_t> limit = number_in(folder + files.limit),
                                usage = number_in(folder + files.usage);
    if (limit && usage && *limit < SIZE_MAX / 4) {
      const size_t cache = number_after(folder + "memory.stat", files.reclaimable).value_or(0);
      const size_t used = *usage - std::min(cache, *usage);
      left = std::min(left, *limit - std::min(used, *limit));
    }
    if (group.empty() || group == "/") return left;
    group.resize(group.find_last_of('/') == std::string::npos ? 0 : group.find_last_of('/'));
  }
}

static bool names_memory(const std::string& controllers) {
  std::istringstream list(controllers);
  for (std::string name; std::getline(list, name, ',');)
    if (name == "memory") return true;
  return false;
}

static size_t left_in_cgroup(const std::string& root) {
  constexpr CgroupFiles v1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
  constexpr CgroupFiles v2{"memory.max", "memory.current", "inactive_file"};
  size_t left = SIZE_MAX;
  std::ifstream groups(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {  // "hierarchy:controllers:path"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (names_memory(controllers))
      left = std::min(left, left_in_groups(root + "/sys/fs/cgroup/memory", group, v1));
    else if (controllers.empty())
      left = std::min(left, left_in_groups(root + "/sys/fs/cgroup", group, v2));
  }
  return left;
}

MemoryLimits memory_limits(const std::string& shm_directory, const std::string& root) {
  MemoryLimits limits;
  const std::optional<size_t> kib = number_after(root + "/proc/meminfo", "MemAvailable:");
  limits.ram_bytes = kib ? *kib * 1024 : SIZE_MAX;
  limits.cgroup_bytes = left_in_cgroup(root);
  struct statvfs info {};
  if (!shm_directory.empty() && statvfs(shm_directory.c_str(), &info) == 0)
    limits.shared_fs_bytes = static_cast<size_t>(info.f_bavail) * info.f_frsize;
  return limits;
}

std::string bytes_text(size_t bytes) {
  const char* units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 6; ++unit) value /= 1024;
  char text[64];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.1f %s (%zu bytes)", value, units[unit], bytes);
  return text;
}

std::string MemoryLimits::text() const {
  std::ostringstream line;
  line << "free RAM " << bytes_text(ram_bytes);
  if (cgroup_bytes != SIZE_MAX) line << ", left in the control group " << bytes_text(cgroup_bytes);
  line << ", free in shared-memory files " << bytes_text(shared_fs_bytes);
  return line.str();
}

}  // namespace lepton::comm
