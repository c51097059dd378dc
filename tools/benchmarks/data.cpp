// SPDX-License-Identifier: Apache-2.0
// Reading: rows of unfiltered HDF5, contiguous and chunked, beside pread of the same bytes from the same file
// in the same blocks, hot cache; and the assembler, stored rows to float32. tools/bench --read takes the
// ratios from here.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/world.h"
#include "data/assembler.h"
#include "storage/hdf5.h"

namespace lepton::benchmarks {

namespace {

constexpr int64_t rows = 60'000, row_bytes = 784;
constexpr storage::StoredType uint8_type{storage::StoredType::Kind::unsigned_integer, 1, false};

/// $LEPTON_BENCHMARK_H5 (tools/bench makes one with h5py: "contiguous" and "chunked"), else a file of our own
/// without the chunked array.
class File {
 public:
  File() {
    if (const char* given = std::getenv("LEPTON_BENCHMARK_H5")) {
      path_ = given;
      return;
    }
    path_ = "/tmp/lepton-benchmark-" + std::to_string(getpid()) + ".h5";
    own_ = true;
    const int64_t offset =
        storage::create_contiguous(path_, {{"contiguous", uint8_type, {rows, row_bytes}}})[0];
    const std::vector<char> content(rows * row_bytes, 'x');
    const int descriptor = open(path_.c_str(), O_WRONLY);
    const ssize_t written = pwrite(descriptor, content.data(), content.size(), offset);
    close(descriptor);
    REQUIRE(written == static_cast<ssize_t>(content.size()), Exit::io, path_, "cannot write",
            "Make room in /tmp.");
  }
  ~File() {
    if (own_) std::remove(path_.c_str());
  }
  const std::string& path() const { return path_; }
  static const File& get() {
    static const File file;
    return file;
  }

 private:
  std::string path_;
  bool own_ = false;
};

void ReadRows(benchmark::State& state, const char* array_path) {
  std::unique_ptr<storage::Hdf5Array> array;
  try {
    array = std::make_unique<storage::Hdf5Array>(File::get().path(), array_path);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
    return;
  }
  const int64_t block = state.range(0), total = array->info().shape[0];
  std::vector<std::byte> out(block * array->info().row_bytes());
  int64_t at = 0;
  for (auto _ : state) {
    array->read_rows(at, at + block, out);
    at = at + 2 * block <= total ? at + block : 0;
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(out.size()));
}
BENCHMARK_CAPTURE(ReadRows, contiguous, "contiguous")->Arg(2048)->Arg(16384);
BENCHMARK_CAPTURE(ReadRows, chunked, "chunked")->Arg(2048)->Arg(16384);

/// The same number of bytes from the same file: HDF5's header of a few KiB shifts them a little.
void Pread(benchmark::State& state) {
  const int descriptor = open(File::get().path().c_str(), O_RDONLY);
  const int64_t block = state.range(0) * row_bytes, total = rows * row_bytes;
  std::vector<std::byte> out(block);
  int64_t at = 0;
  for (auto _ : state) {
    if (pread(descriptor, out.data(), out.size(), at) != block) state.SkipWithError("short read");
    at = at + 2 * block <= total ? at + block : 0;
    benchmark::DoNotOptimize(out.data());
  }
  close(descriptor);
  state.SetBytesProcessed(state.iterations() * block);
}
BENCHMARK(Pread)->Arg(2048)->Arg(16384);

/// A world of one rank; MPI comes up when the first benchmark needs it.
const comm::World& world_of_one() {
  static int argc = 1;
  static char name[] = "lepton_benchmarks";
  static char* arguments[] = {name, nullptr};
  static char** argv = arguments;
  static const comm::Session session(argc, argv);
  static const comm::World world;
  return world;
}

/// Units of 64 rows to standardised float32.
void Assemble(benchmark::State& state) {
  data::DataSpec spec;
  spec.train.emplace();
  spec.train->files = {File::get().path()};
  spec.train->inputs = {{"input", "contiguous"}};
  spec.normalisation = data::Normalisation::standardize;
  const data::Dataset dataset(world_of_one(), spec);
  data::Statistics statistics;
  statistics.count = rows;
  const auto groups = static_cast<size_t>(dataset.statistics_groups());
  statistics.mean.assign(groups, 33.3);
  statistics.deviation.assign(groups, 78.6);
  statistics.minimum.assign(groups, 0);
  statistics.maximum.assign(groups, 255);
  const data::Assembler assembler(dataset, 0, statistics);
  constexpr int64_t unit = 64;
  const std::vector<std::byte> stored(4096 * row_bytes, std::byte{77});
  std::vector<const std::byte*> pointers(unit);
  std::vector<float> inputs(unit * row_bytes);
  int64_t next = 0;
  for (auto _ : state) {
    for (const std::byte*& row : pointers) row = stored.data() + (next = (next + 1237) % 4096) * row_bytes;
    assembler.inputs(pointers, nullptr, inputs);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * unit);
  state.SetBytesProcessed(state.iterations() * unit * row_bytes * 5);  // 1 read, 4 written
}
BENCHMARK(Assemble);

}  // namespace

}  // namespace lepton::benchmarks
