// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/kept_part.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace lepton::train {

Mapping::Mapping(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  struct stat status {};
  if (file >= 0 && fstat(file, &status) == 0 && status.st_uid == getuid() && status.st_size > 0) {
    void* memory = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, file, 0);
    if (memory != MAP_FAILED) bytes_ = {static_cast<std::byte*>(memory), static_cast<size_t>(status.st_size)};
  }
  if (file >= 0) close(file);
}

Mapping::~Mapping() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

std::string from_rank(const comm::World& world, int rank, const std::string& bytes) {
  return world.all_gather(world.rank() == rank ? bytes : "")[static_cast<size_t>(rank)];
}

void spread(const comm::World& world, int rank, std::span<const float> values, int64_t elements,
            const std::function<void(int64_t begin, std::span<const float> values)>& take) {
  constexpr int64_t piece = int64_t{4} << 20;
  for (int64_t begin = 0; begin < elements; begin += piece) {
    const int64_t count = std::min(piece, elements - begin);
    std::string bytes;
    if (world.rank() == rank)
      bytes.assign(reinterpret_cast<const char*>(values.data() + begin),
                   static_cast<size_t>(count) * sizeof(float));
    const std::string all = from_rank(world, rank, bytes);
    std::vector<float> got(static_cast<size_t>(count));
    std::memcpy(got.data(), all.data(), all.size());
    take(begin, std::span<const float>(got));
  }
}

}  // namespace lepton::train
