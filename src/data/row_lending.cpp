// SPDX-License-Identifier: Apache-2.0
// Lending rows: a borrowed batch is received into memory of its own and copied to the table's places when
// complete. Receiving in place would spare the copy, but a unit that comes back has its places already,
// which other batches need not leave next to each other.
#include "data/row_lending.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace lepton::data {

namespace {

template <class Visit>
void each_position(const RowTables::Round& round, std::span<const int32_t> units, Visit&& visit) {
  for (const int32_t unit : units) {
    const size_t u = static_cast<size_t>(unit);
    CHECK(unit >= 0 && u + 1 < round.unit_begins.size(), "unit " + std::to_string(unit) + " of the round");
    for (int64_t p = round.unit_begins[u]; p < round.unit_begins[u + 1]; ++p) visit(p);
  }
}

/// How many rows of these units `machine` does not hold: what is sent to it.
size_t foreign_rows(const RowTables::Round& round, std::span<const int32_t> units, int machine) {
  size_t rows = 0;
  each_position(round, units, [&](int64_t p) { rows += round.owners[static_cast<size_t>(p)] != machine; });
  return rows;
}

}  // namespace

/// A batch at the end of `batches`, with room for the rows that its receiver lacks.
RowLending::Batch& RowLending::start(Batches& batches, int64_t round, int node, int64_t number,
                                     std::span<const int32_t> units, size_t bytes) {
  if (idle_.empty()) idle_.emplace_back(world_);
  batches.splice(batches.end(), idle_, idle_.begin());
  Batch& batch = batches.back();
  batch.round = round;
  batch.node = node;
  batch.number = number;
  batch.complete = false;
  batch.units.assign(units.begin(), units.end());
  if (batch.bytes.size() < bytes) batch.bytes.resize(bytes);
  batch.message.restart(number);
  return batch;
}

void RowLending::lend(int64_t round, int node, int64_t number, std::span<const int32_t> units) {
  CHECK(world_.leads() && node != world_.node(), "leaders lend to other nodes");
  const RowTables::Round& known = tables_.round(round);
  CHECK(known.here, "rows are lent that are not here");
  const int machine = world_.machine_of(node);
  const size_t bytes = foreign_rows(known, units, machine) * known.row_bytes;
  each_position(known, units, [&](int64_t p) {
    CHECK(tables_.placed(round, p), "position " + std::to_string(p) + " is not this node's to give");
  });
  if (bytes == 0) return;
  Batch& batch = start(lent_, round, node, number, units, bytes);
  std::byte* out = batch.bytes.data();
  each_position(known, units, [&](int64_t p) {
    if (known.owners[static_cast<size_t>(p)] == machine) return;
    std::memcpy(out, tables_.row(round, p), known.row_bytes);
    out += known.row_bytes;
  });
  batch.message.send(node, {batch.bytes.data(), bytes});
}

void RowLending::borrow(int64_t round, int node, int64_t number, std::span<const int32_t> units) {
  CHECK(world_.leads() && node != world_.node(), "leaders borrow from other nodes");
  CHECK(find(round, node, number) == nullptr, "batch " + std::to_string(number) + " is borrowed twice");
  const RowTables::Round& known = tables_.round(round);
  const size_t bytes = foreign_rows(known, units, world_.machine()) * known.row_bytes;
  Batch& batch = start(borrowed_, round, node, number, units, bytes);
  if (bytes > 0)
    batch.message.receive(node, {batch.bytes.data(), bytes});
  else
    place(batch);
}

const RowLending::Batch* RowLending::find(int64_t round, int node, int64_t number) const {
  for (const Batch& batch : borrowed_)
    if (batch.round == round && batch.node == node && batch.number == number) return &batch;
  return nullptr;
}

bool RowLending::borrowed(int64_t round, int node, int64_t number) const {
  const Batch* batch = find(round, node, number);
  CHECK(batch != nullptr, "batch " + std::to_string(number) + " was never asked for");
  return batch->complete;
}

/// The rows are here. A position that has its place was this node's before, and the same bytes lie there.
void RowLending::place(Batch& batch) {
  RowTables::Round& round = tables_.round(batch.round);
  const std::byte* in = batch.bytes.data();
  each_position(round, batch.units, [&](int64_t p) {
    const bool resident = tables_.resident(round, p), placed = tables_.placed(batch.round, p);
    if (resident && !placed) tables_.place_resident(batch.round, p);
    if (resident) return;
    if (!placed) std::memcpy(tables_.place_staged(batch.round, p, round.staged++), in, round.row_bytes);
    in += round.row_bytes;
  });
  batch.complete = true;
}

void RowLending::progress() {
  for (Batch& batch : borrowed_)
    if (!batch.complete && batch.message.test()) place(batch);
  for (auto batch = lent_.begin(); batch != lent_.end();) {
    const auto next = std::next(batch);
    if (batch->message.test()) idle_.splice(idle_.end(), lent_, batch);
    batch = next;
  }
}

void RowLending::end(int64_t round) {
  const auto retire = [&](Batches& batches, auto&& settle) {
    for (auto batch = batches.begin(); batch != batches.end();) {
      const auto next = std::next(batch);
      if (batch->round == round) {
        settle(*batch);
        idle_.splice(idle_.end(), batches, batch);
      }
      batch = next;
    }
  };
  retire(borrowed_, [](const Batch& batch) {
    CHECK(batch.complete, "batch " + std::to_string(batch.number) + " was not borrowed to its end");
  });
  retire(lent_, [](Batch& batch) { batch.message.wait(); });
}

}  // namespace lepton::data
