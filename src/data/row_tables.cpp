// SPDX-License-Identifier: Apache-2.0
// The tables of rows: headers of all slots, then their entries, in one piece of node-shared memory; the
// staging areas in another, which only exists where there are several machines.
#include "data/row_tables.h"

#include <algorithm>
#include <atomic>

namespace lepton::data {

/// In node-shared memory; zeroed memory is a free slot.
struct alignas(64) RowTables::Header {
  std::atomic<int64_t> round_after{0};  // round + 1 while the slot is in use: stored last
  int source = 0;
  int64_t samples = 0;
};

RowTables::RowTables(const comm::World& world, const Dataset& dataset, const SampleStore& store,
                     int64_t max_samples, const std::string& shm_directory)
    : world_(world), dataset_(dataset), store_(store), max_samples_(max_samples) {
  for (size_t source = 0; source < dataset.sources().size(); ++source) {
    bases_.push_back(store.base(static_cast<int>(source)));
    row_bytes_max_ = std::max(row_bytes_max_, store.row_bytes(static_cast<int>(source)));
  }
  const size_t places = static_cast<size_t>(slots * max_samples);
  comm::agree(world, [&] {
    tables_ = comm::SharedMemory(world, shm_directory, "row-tables",
                                 slots * sizeof(Header) + places * sizeof(int64_t));
    if (world.machines() > 1)
      staging_ = comm::SharedMemory(world, shm_directory, "staged-rows", places * row_bytes_max_);
  });
  if (!world.leads()) return;
  rounds_.resize(slots);
  for (Round& round : rounds_) {
    round.rows.resize(static_cast<size_t>(max_samples));
    round.owners.resize(static_cast<size_t>(max_samples));
    round.unit_begins.reserve(static_cast<size_t>(max_samples) + 1);
  }
}

RowTables::Header& RowTables::header(int64_t round) const {
  return reinterpret_cast<Header*>(tables_.data())[round % slots];
}

int64_t* RowTables::entries(int64_t round) const {
  return reinterpret_cast<int64_t*>(tables_.data() + slots * sizeof(Header)) + round % slots * max_samples_;
}

std::byte* RowTables::staging(int64_t round, int64_t place) const {
  const size_t row_bytes = store_.row_bytes(header(round).source);
  return staging_.data() + static_cast<size_t>(round % slots * max_samples_) * row_bytes_max_ +
         static_cast<size_t>(place) * row_bytes;
}

RowTables::Round& RowTables::open(const RoundRows& rows) {
  CHECK(static_cast<int64_t>(rows.samples.size()) <= max_samples_,
        std::to_string(rows.samples.size()) + " samples");
  CHECK(rows.unit_begins.size() == rows.unit_node.size() + 1 &&
            rows.unit_begins.back() == static_cast<int64_t>(rows.samples.size()),
        "units cover the round");
  Header& header = this->header(rows.round);
  CHECK(header.round_after.load() == 0, "round " + std::to_string(rows.round) + " finds its slot in use");
  Round& round = rounds_[static_cast<size_t>(rows.round % slots)];
  round.source = dataset_.split(rows.split).source;
  round.row_bytes = store_.row_bytes(round.source);
  round.unit_begins.assign(rows.unit_begins.begin(), rows.unit_begins.end());
  round.staged = 0;
  round.here = false;
  header.source = round.source;
  header.samples = static_cast<int64_t>(rows.samples.size());
  for (size_t unit = 0; unit < rows.unit_node.size(); ++unit)
    for (int64_t position = rows.unit_begins[unit]; position < rows.unit_begins[unit + 1]; ++position) {
      const size_t p = static_cast<size_t>(position);
      round.rows[p] = dataset_.row_of(rows.split, rows.samples[p]);
      round.owners[p] = world_.machines() == 1 ? 0 : store_.owner(round.source, round.rows[p]);
      if (rows.unit_node[unit] == world_.node() && resident(round, position))
        place_resident(rows.round, position);
      else
        entries(rows.round)[position] = none;
    }
  return round;
}

void RowTables::publish(int64_t round) {
  header(round).round_after.store(round + 1, std::memory_order_release);
}

RowTables::Round& RowTables::round(int64_t round) {
  CHECK(header(round).round_after.load() == round + 1, "round " + std::to_string(round) + " has not begun");
  return rounds_[static_cast<size_t>(round % slots)];
}

bool RowTables::resident(const Round& round, int64_t position) const {
  return round.owners[static_cast<size_t>(position)] == world_.machine();
}

void RowTables::place_resident(int64_t round, int64_t position) {
  const Round& known = rounds_[static_cast<size_t>(round % slots)];
  const int64_t row = known.rows[static_cast<size_t>(position)] - store_.first_row(known.source);
  entries(round)[position] = row * static_cast<int64_t>(known.row_bytes);
}

std::byte* RowTables::place_staged(int64_t round, int64_t position, int64_t place) {
  CHECK(place < header(round).samples, "a position is staged once");
  entries(round)[position] = -1 - place;
  return staging(round, place);
}

void RowTables::close(int64_t round) {
  header(round).round_after.store(0, std::memory_order_release);
}

const std::byte* RowTables::row(int64_t round, int64_t position) const {
  const Header& header = this->header(round);
  CHECK(header.round_after.load(std::memory_order_acquire) == round + 1 && position < header.samples,
        "round " + std::to_string(round) + ", position " + std::to_string(position));
  const int64_t entry = entries(round)[position];
  if (entry >= 0) return bases_[static_cast<size_t>(header.source)] + entry;
  CHECK(entry != none, "position " + std::to_string(position) + " belongs to another node");
  return staging(round, -1 - entry);
}

}  // namespace lepton::data
