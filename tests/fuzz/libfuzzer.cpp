// SPDX-License-Identifier: Apache-2.0
// The entry of libFuzzer (LLVM, docs/LibFuzzer); $LEPTON_FUZZ names the reader. Built by tools/fuzz alone.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/readers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& reader = [] {
    const char* name = std::getenv("LEPTON_FUZZ");
    const auto found = lepton::fuzz::fuzzed_readers().find(name ? name : "");
    if (found != lepton::fuzz::fuzzed_readers().end()) return found->second;
    std::fprintf(stderr, "LEPTON_FUZZ must name a reader:");
    for (const auto& entry : lepton::fuzz::fuzzed_readers()) std::fprintf(stderr, " %s", entry.first.c_str());
    std::fprintf(stderr, "\n");
    std::exit(64);
  }();
  lepton::fuzz::run_reader(reader, std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
