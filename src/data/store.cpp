// SPDX-License-Identifier: Apache-2.0
// Filling the store. Every check that one rank's rows can fail is agreed by all ranks, and the reported row
// is the lowest one in the dataset, not the first that some rank came to.
#include "data/store.h"

#include <algorithm>
#include <limits>

#include "base/hash.h"
#include "base/log.h"
#include "base/philox.h"
#include "comm/pack.h"
#include "data/input_check.h"
#include "data/row_check.h"
#include "data/store_fill.h"

namespace lepton::data {

namespace {

std::string megabytes(size_t bytes) {
  return std::to_string(bytes) + " bytes (" + std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB)";
}

}  // namespace

SampleStore::SampleStore(const comm::World& world, Dataset& dataset, const std::string& shm_directory,
                         const Statistics* known)
    : world_(world) {
  comm::agree(world_, [&] {
    REQUIRE(dataset.statistics_groups() == 0 || known || dataset.has(SplitKind::train), Exit::deck,
            dataset.spec().position.text(), "data.normalize needs the statistics of a train split",
            "Set data.train.");
  });
  reserve(dataset, shm_directory);
  { read(dataset); }
  compute_statistics(dataset, known);
}

void SampleStore::reserve(const Dataset& dataset, const std::string& shm_directory) {
  for (const Source& source : dataset.sources()) {
    Part& part = parts_.emplace_back();
    part.row_bytes = source.row_bytes();
    part.begins = cut_rows(source, source.used_begin, source.used_end, world_.machines());
    const size_t machine = static_cast<size_t>(world_.machine());
    const auto shares =
        cut_rows(source, part.begins[machine], part.begins[machine + 1], world_.machine_size());
    part.own_begin = shares[static_cast<size_t>(world_.machine_rank())];
    part.own_end = shares[static_cast<size_t>(world_.machine_rank()) + 1];
  }
  comm::agree(world_, [&] {
    const size_t needed = resident_bytes(), available = comm::available_memory_bytes(shm_directory);
    REQUIRE(needed <= available, Exit::memory, "sample store of machine " + std::to_string(world_.machine()),
            "the dataset needs " + megabytes(needed) + " of memory on this machine, " + megabytes(available) +
                " are available",
            "Use more machines: each holds its part of the rows.");
  });
  comm::agree(world_, [&] {
    for (size_t i = 0; i < parts_.size(); ++i) {
      const int64_t rows =
          parts_[i].begins[static_cast<size_t>(world_.machine()) + 1] - first_row(static_cast<int>(i));
      parts_[i].memory = comm::SharedMemory::of_machine(
          world_, shm_directory, "samples-" + std::to_string(i),
          std::max<size_t>(64, static_cast<size_t>(rows) * parts_[i].row_bytes));
    }
  });
}

void SampleStore::read(Dataset& dataset) {
  std::vector<Findings> findings(parts_.size());
  comm::agree(world_, [&] {
    for (size_t i = 0; i < parts_.size(); ++i) {
      const Part& part = parts_[i];
      const size_t begin =
          static_cast<size_t>(part.own_begin - first_row(static_cast<int>(i))) * part.row_bytes;
      const size_t bytes = static_cast<size_t>(part.own_end - part.own_begin) * part.row_bytes;
      read_source_rows(dataset.sources()[i], part.own_begin, part.own_end,
                       {part.memory.data() + begin, bytes}, findings[i], dataset);
    }
  });
  std::vector<std::vector<int64_t>> bad_rows(parts_.size());
  int64_t bad_count = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    for (const std::string& packed : world_.all_gather(comm::pack(findings[i].bad_rows))) {
      const auto rows = comm::unpack<std::vector<int64_t>>(packed, "bad rows");
      bad_rows[i].insert(bad_rows[i].end(), rows.begin(), rows.end());
    }
    std::sort(bad_rows[i].begin(), bad_rows[i].end());
    bad_count += static_cast<int64_t>(bad_rows[i].size());
  }
  comm::agree(world_, [&] {
    // The rank that has read the lowest bad row of all knows which column it is in, and speaks for all.
    const auto source =
        std::find_if(bad_rows.begin(), bad_rows.end(), [](const auto& rows) { return !rows.empty(); });
    if (dataset.spec().bad_rows == BadRows::skip || source == bad_rows.end()) return;
    const size_t i = static_cast<size_t>(source - bad_rows.begin());
    const bool mine = !findings[i].bad_rows.empty() && findings[i].bad_rows.front() == source->front();
    const int column = findings[i].first_bad_column;
    REQUIRE(!mine, Exit::data, dataset.sources()[i].place(source->front(), column),
            (column < 0 ? "the row holds NaN or Inf"
                        : bad_row_text(dataset.inputs()[static_cast<size_t>(column)])) +
                " (" + std::to_string(bad_count) + " such rows in all)",
            "Clean the data (a number beyond float32 counts as Inf, unless data.normalize scales it), or set "
            "data.bad_rows = \"skip\".");
  });
  comm::agree(world_, [&] { dataset.settle(std::move(bad_rows)); });
  if (bad_count > 0 && world_.rank() == 0)
    log_warning(std::to_string(bad_count) + " rows hold NaN or Inf and are skipped (data.bad_rows).");
  report_cut(dataset, findings);
  settle_labels(dataset, findings);
}

void SampleStore::report_cut(const Dataset& dataset, const std::vector<Findings>& findings) const {
  for (size_t i = 0; i < findings.size(); ++i) {
    std::vector<int64_t> cut = findings[i].cut;
    cut.resize(dataset.sources()[i].inputs.size());
    world_.all_sum(cut);
    for (size_t input = 0; input < cut.size(); ++input)
      if (const Column& column = dataset.sources()[i].inputs[input]; cut[input] > 0 && world_.rank() == 0)
        log_warning(std::to_string(cut[input]) + " of " + std::to_string(dataset.sources()[i].rows()) +
                    " rows of " + column.place() + " are longer than " + std::to_string(column.length) +
                    " and are cut (data.length).");
  }
}

void SampleStore::settle_labels(Dataset& dataset, std::vector<Findings>& findings) {
  std::vector<int64_t> largest(dataset.targets().size(), -1), hashes;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const bool has_one = findings[i].bad_label_row >= 0;
    const int64_t none = std::numeric_limits<int64_t>::max();
    int64_t first[1] = {-(has_one ? findings[i].bad_label_row : none)};
    world_.all_max(first);
    comm::agree(world_, [&] {
      REQUIRE(
          !has_one || -first[0] != findings[i].bad_label_row, Exit::data,
          dataset.sources()[i].place(findings[i].bad_label_row, findings[i].bad_label_column),
          findings[i].bad_label,
          findings[i].bad_label_column >= 0
              ? "Rows count from 0; the embedding's option rows sets how many there are."
          : dataset.targets()[static_cast<size_t>(Source::in_targets - findings[i].bad_label_column)].kind ==
                  TargetKind::values
              ? "Map the targets to what it takes, or choose a loss that takes any number (mse, mae, huber)."
              : "Class ids count from 0; data.classes sets their number, data.ignored_class which of them is "
                "none.");
    });
    for (size_t t = 0; t < findings[i].largest_label.size(); ++t)
      largest[t] = std::max(largest[t], findings[i].largest_label[t]);
    hashes.push_back(static_cast<int64_t>(findings[i].hash));
  }
  world_.all_sum(hashes);
  const int trained_on = dataset.has(SplitKind::train) ? dataset.split(SplitKind::train).source : -1;
  for (size_t i = 0; i < hashes.size(); ++i)
    if (trained_on < 0 || trained_on == static_cast<int>(i))
      dataset.fingerprint_ = mix64(dataset.fingerprint_ ^ static_cast<uint64_t>(hashes[i]));
  world_.all_max(largest);
  bool beyond = false;
  for (size_t t = 0; t < largest.size(); ++t)
    if (const Target& target = dataset.targets_[t];
        target.kind == TargetKind::classes && target.outputs == 0 && largest[t] >= 0)
      beyond |= settle_classes(dataset, t, largest[t]);
  if (!beyond) return;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    findings[i] = {};
    if (part.own_begin < part.own_end)
      check_rows(dataset.sources()[i], part.own_begin, part.own_end, row(static_cast<int>(i), part.own_begin),
                 dataset, findings[i]);
  }
  settle_labels(dataset, findings);
}

/// The number of classes is the largest label of the train split + 1; labels of other splits must be below
/// it: true where one is not.
bool SampleStore::settle_classes(Dataset& dataset, size_t target, int64_t largest_label) {
  int64_t trained[1] = {dataset.has(SplitKind::train) ? -1 : largest_label};
  if (dataset.has(SplitKind::train)) {
    const int source = dataset.split(SplitKind::train).source;
    const Source& columns = dataset.sources()[static_cast<size_t>(source)];
    const Part& part = parts_[static_cast<size_t>(source)];
    for (int64_t row = part.own_begin; row < part.own_end; ++row)
      if (!columns.targets.empty() && dataset.contains(SplitKind::train, row))
        trained[0] =
            std::max(trained[0], largest_class(columns.targets[target].type(),
                                               this->row(source, row) + columns.target_offset(target),
                                               dataset.targets_[target].positions,
                                               dataset.targets_[target].rules.ignored_class));
    world_.all_max(trained);
  }
  dataset.targets_[target].outputs = trained[0] + 1;
  return largest_label > trained[0];
}

void SampleStore::compute_statistics(const Dataset& dataset, const Statistics* known) {
  if (known != nullptr) statistics_ = *known;
  if (known != nullptr || dataset.statistics_groups() == 0) return;
  const int source = dataset.split(SplitKind::train).source;
  const Source& columns = dataset.sources()[static_cast<size_t>(source)];
  const Part& part = parts_[static_cast<size_t>(source)];
  for (size_t i = 0; i < dataset.inputs().size(); ++i) {
    const Input& input = dataset.inputs()[i];
    if (input.rules.normalisation == Normalisation::none) continue;
    InputSums sums(columns, input);
    for (int64_t row = part.own_begin; row < part.own_end; ++row)
      if (dataset.contains(SplitKind::train, row)) sums.add_row(this->row(source, row));
    comm::agree(world_, [&] { statistics_.append(settle_statistics(world_, sums.sums())); });
  }
}

int SampleStore::owner(int source, int64_t row) const {
  const auto& begins = parts_[static_cast<size_t>(source)].begins;
  CHECK(row >= begins.front() && row < begins.back(), "row " + std::to_string(row));
  return static_cast<int>(std::upper_bound(begins.begin(), begins.end(), row) - begins.begin()) - 1;
}

int64_t SampleStore::first_row(int source) const {
  return parts_[static_cast<size_t>(source)].begins[static_cast<size_t>(world_.machine())];
}

const std::byte* SampleStore::row(int source, int64_t row) const {
  const Part& part = parts_[static_cast<size_t>(source)];
  const size_t machine = static_cast<size_t>(world_.machine());
  CHECK(row >= part.begins[machine] && row < part.begins[machine + 1],
        "row " + std::to_string(row) + " is not resident");
  return part.memory.data() + static_cast<size_t>(row - part.begins[machine]) * part.row_bytes;
}

size_t SampleStore::resident_bytes() const {
  size_t bytes = 0;
  const size_t machine = static_cast<size_t>(world_.machine());
  for (const Part& part : parts_)
    bytes += static_cast<size_t>(part.begins[machine + 1] - part.begins[machine]) * part.row_bytes;
  return bytes;
}

}  // namespace lepton::data
