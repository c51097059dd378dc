// SPDX-License-Identifier: Apache-2.0
// What one rank has comes to all; of files only one's own are mapped.
#include "train/kept_part.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "scratch.h"

namespace lepton::train {
namespace {

TEST(KeptPart, FilesAreMappedAndLinksAreNot) {
  const comm::World world(60, 1);
  const std::filesystem::path path = ::testing::TempDir() + "lepton-kept-part-" +
                                     std::to_string(world.rank()) + "-" + std::to_string(getpid());
  const Scratch scratch(path);
  std::ofstream(path / "file") << "content";
  std::filesystem::create_symlink(path / "file", path / "link");
  std::ofstream(path / "empty");
  const Mapping file(path / "file");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()), "content");
  for (const char* name : {"link", "empty", "missing"})
    EXPECT_TRUE(Mapping(path / name).bytes().empty()) << name;
}

TEST(KeptPart, ValuesOfOneRankComeToAllInOrder) {
  const comm::World world(60, 1);
  const int rank = world.size() - 1;
  EXPECT_EQ(from_rank(world, rank, "of rank " + std::to_string(world.rank())),
            "of rank " + std::to_string(rank));
  const int64_t elements = (int64_t{4} << 20) + 5;  // more than one piece
  std::vector<float> values;
  if (world.rank() == rank) {
    values.resize(static_cast<size_t>(elements));
    for (int64_t i = 0; i < elements; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i % 1000);
  }
  int64_t next = 0;
  spread(world, rank, values, elements, [&](int64_t begin, std::span<const float> got) {
    EXPECT_EQ(begin, next);
    next += std::ssize(got);
    int64_t wrong = 0;
    for (int64_t i = 0; i < std::ssize(got); ++i)
      wrong += got[static_cast<size_t>(i)] != static_cast<float>((begin + i) % 1000);
    EXPECT_EQ(wrong, 0);
  });
  EXPECT_EQ(next, elements);
}

}  // namespace
}  // namespace lepton::train
