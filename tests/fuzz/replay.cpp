// SPDX-License-Identifier: Apache-2.0
// The fuzzers' short form, with any compiler: every file of a reader's corpus, then mutations of them.
//   fuzz_replay CORPUS MUTATIONS SEED [READER ...]   CORPUS/<reader>/*; crash-* there are bytes that once
//                                                    crashed
// Ends with 1 where a reader has no corpus, or accepts no file of it, or every mutation.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/sample.h"
#include "fuzz/mutator.h"
#include "fuzz/readers.h"

namespace {

namespace fs = std::filesystem;
using namespace lepton::fuzz;

int replay(const std::string& name, const std::string& corpus, int64_t mutations, uint64_t seed) {
  const auto& reader = fuzzed_readers().at(name);
  std::vector<fs::path> paths;
  if (fs::is_directory(corpus + "/" + name))
    for (const auto& entry : fs::directory_iterator(corpus + "/" + name)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> files;
  int64_t accepted = 0, refused = 0;
  for (const fs::path& path : paths) {
    files.push_back(lepton::checkpoint::read_text(path));
    accepted += run_reader(reader, files.back());
  }
  Mutator mutator(seed);
  for (int64_t i = 0; !files.empty() && i < mutations; ++i)
    refused += !run_reader(reader, mutator.mutate(files[static_cast<size_t>(i) % files.size()]));
  std::printf("%-16s %zu files, %ld accepted; %ld mutations, %ld refused\n", name.c_str(), files.size(),
              static_cast<long>(accepted), static_cast<long>(mutations), static_cast<long>(refused));
  return accepted > 0 && (mutations == 0 || refused > 0) ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  if (count < 4) {
    std::fprintf(stderr, "usage: fuzz_replay CORPUS MUTATIONS SEED [READER ...]\n");
    return 64;
  }
  std::vector<std::string> names(words + 4, words + count);
  if (names.empty())
    for (const auto& [name, reader] : fuzzed_readers()) names.push_back(name);
  int status = 0;
  for (const std::string& name : names)
    status |= replay(name, words[1], std::atol(words[2]), static_cast<uint64_t>(std::atol(words[3])));
  return status;
}
