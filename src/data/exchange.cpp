// SPDX-License-Identifier: Apache-2.0
// The exchange of rows. A round's table in node-shared memory has one entry per position of the batch: where
// the row lies in the machine's sample store, or where in the round's staging area it will be, or that it is
// computed elsewhere.
#include "data/exchange.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <vector>

namespace lepton::data {

namespace {

constexpr int64_t elsewhere = std::numeric_limits<int64_t>::min();

/// In node-shared memory; zeroed memory is a free slot.
struct alignas(64) SlotHeader {
  std::atomic<int64_t> round_after{0};  // round + 1 while the slot is in use: stored last
  int64_t source = 0, samples = 0;
};

}  // namespace

std::vector<int> row_senders(const comm::World& world, int node) {
  const int machine = world.machine_of(node);
  const std::vector<int>& beside = world.nodes_of(machine);
  size_t number = static_cast<size_t>(std::find(beside.begin(), beside.end(), node) - beside.begin());
  for (int before = 0; before < machine; ++before) number += world.nodes_of(before).size();
  // A machine's own nodes are counted too, and are no receivers of it; they are as many as it has turns.
  std::vector<int> senders;
  for (int owner = 0; owner < world.machines(); ++owner) {
    const std::vector<int>& nodes = world.nodes_of(owner);
    senders.push_back(owner == machine ? -1 : nodes[number % nodes.size()]);
  }
  return senders;
}

struct RowExchange::State {
  const comm::World& world;
  const Dataset& dataset;
  const SampleStore& store;
  int64_t max_samples = 0;
  size_t row_bytes_max = 0;
  comm::SharedMemory tables, staging;
  std::vector<const std::byte*> bases;  // of the sources' resident rows, in this process

  // Leaders only; all of it is reused from round to round.
  struct Flight {
    std::unique_ptr<comm::MessageBatch> sends, receives;
    std::vector<std::byte> outgoing;
  };
  std::vector<Flight> flights;
  std::vector<int64_t> rows, counts;
  std::vector<int> owners;   // machine of each row
  std::vector<int> senders;  // by machine: who sends its rows to this node
  std::vector<char> served;  // by node: whether this node sends it its machine's rows

  SlotHeader& header(int64_t round) const {
    return reinterpret_cast<SlotHeader*>(tables.data())[round % slots];
  }
  int64_t* table(int64_t round) const {
    return reinterpret_cast<int64_t*>(tables.data() + slots * sizeof(SlotHeader)) +
           round % slots * max_samples;
  }
  std::byte* staged(int64_t round) const {
    return staging.data() + static_cast<size_t>(round % slots * max_samples) * row_bytes_max;
  }
  void locate(const RoundRows& round, int source);
  void post_receives(const RoundRows& round, int source);
  void post_sends(const RoundRows& round, int source);
};

RowExchange::RowExchange(const comm::World& world, const Dataset& dataset, const SampleStore& store,
                         int64_t max_samples, const std::string& shm_directory)
    : state_(new State{world, dataset, store, max_samples, 0, {}, {}, {}, {}, {}, {}, {}, {}, {}}) {
  State& s = *state_;
  for (size_t source = 0; source < dataset.sources().size(); ++source) {
    s.bases.push_back(store.base(static_cast<int>(source)));
    s.row_bytes_max = std::max(s.row_bytes_max, store.row_bytes(static_cast<int>(source)));
  }
  const size_t places = static_cast<size_t>(slots * max_samples);
  comm::agree(world, [&] {
    s.tables = comm::SharedMemory(world, shm_directory, "row-tables",
                                  slots * sizeof(SlotHeader) + places * sizeof(int64_t));
    if (world.machines() > 1)
      s.staging = comm::SharedMemory(world, shm_directory, "staged-rows", places * s.row_bytes_max);
  });
  if (!world.leads()) return;
  s.rows.resize(static_cast<size_t>(max_samples));
  s.owners.resize(static_cast<size_t>(max_samples));
  s.counts.resize(static_cast<size_t>(world.nodes()));
  s.flights.resize(slots);
  if (world.machines() == 1) return;
  s.senders = row_senders(world, world.node());
  for (int node = 0; node < world.nodes(); ++node)
    s.served.push_back(row_senders(world, node)[static_cast<size_t>(world.machine())] == world.node());
  for (State::Flight& flight : s.flights) {
    flight.sends = std::make_unique<comm::MessageBatch>(world, comm::Channel::rows, 0);
    flight.receives = std::make_unique<comm::MessageBatch>(world, comm::Channel::rows, 0);
  }
}

RowExchange::~RowExchange() = default;

/// Row and owner of every position; resident rows of this node's units go into the table.
void RowExchange::State::locate(const RoundRows& round, int source) {
  int64_t* entries = table(round.round);
  const size_t row_bytes = store.row_bytes(source);
  const int64_t first = store.first_row(source);
  for (size_t unit = 0; unit < round.unit_node.size(); ++unit)
    for (int64_t position = round.unit_begins[unit]; position < round.unit_begins[unit + 1]; ++position) {
      const size_t p = static_cast<size_t>(position);
      rows[p] = dataset.row_of(round.split, round.samples[p]);
      owners[p] = world.machines() == 1 ? 0 : store.owner(source, rows[p]);
      const bool resident = round.unit_node[unit] == world.node() && owners[p] == world.machine();
      entries[p] = resident ? (rows[p] - first) * static_cast<int64_t>(row_bytes) : elsewhere;
    }
}

/// Rows from one node lie next to each other in the staging area, in batch order, node after node.
void RowExchange::State::post_receives(const RoundRows& round, int source) {
  const int64_t row_bytes = static_cast<int64_t>(store.row_bytes(source));
  const auto each_foreign = [&](auto&& visit) {
    for (size_t unit = 0; unit < round.unit_node.size(); ++unit) {
      if (round.unit_node[unit] != world.node()) continue;
      for (int64_t p = round.unit_begins[unit]; p < round.unit_begins[unit + 1]; ++p)
        if (const int owner = owners[static_cast<size_t>(p)]; owner != world.machine())
          visit(p, static_cast<size_t>(senders[static_cast<size_t>(owner)]));
    }
  };
  std::fill(counts.begin(), counts.end(), 0);
  each_foreign([&](int64_t, size_t sender) { ++counts[sender]; });
  Flight& flight = flights[static_cast<size_t>(round.round % slots)];
  flight.receives->restart(round.round);
  int64_t offset = 0;
  for (size_t node = 0; node < counts.size(); ++node) {
    const int64_t bytes = counts[node] * row_bytes;
    if (bytes > 0)
      flight.receives->receive(static_cast<int>(node),
                               {staged(round.round) + offset, static_cast<size_t>(bytes)});
    counts[node] = offset;  // from here on: where the node's next row lies
    offset += bytes;
  }
  int64_t* entries = table(round.round);
  each_foreign([&](int64_t p, size_t sender) {
    entries[p] = -1 - counts[sender];
    counts[sender] += row_bytes;
  });
}

void RowExchange::State::post_sends(const RoundRows& round, int source) {
  const size_t row_bytes = store.row_bytes(source);
  std::fill(counts.begin(), counts.end(), 0);
  int64_t total = 0;
  for (size_t unit = 0; unit < round.unit_node.size(); ++unit) {
    if (!served[static_cast<size_t>(round.unit_node[unit])]) continue;
    for (int64_t p = round.unit_begins[unit]; p < round.unit_begins[unit + 1]; ++p)
      if (owners[static_cast<size_t>(p)] == world.machine()) {
        ++counts[static_cast<size_t>(round.unit_node[unit])];
        ++total;
      }
  }
  Flight& flight = flights[static_cast<size_t>(round.round % slots)];
  flight.sends->restart(round.round);
  if (flight.outgoing.size() < static_cast<size_t>(total) * row_bytes)
    flight.outgoing.resize(static_cast<size_t>(total) * row_bytes);
  std::byte* out = flight.outgoing.data();
  for (size_t node = 0; node < counts.size(); ++node) {
    if (counts[node] == 0) continue;
    const std::byte* begin = out;
    for (size_t unit = 0; unit < round.unit_node.size(); ++unit) {
      if (round.unit_node[unit] != static_cast<int>(node)) continue;
      for (int64_t p = round.unit_begins[unit]; p < round.unit_begins[unit + 1]; ++p) {
        if (owners[static_cast<size_t>(p)] != world.machine()) continue;
        std::memcpy(out, store.row(source, rows[static_cast<size_t>(p)]), row_bytes);
        out += row_bytes;
      }
    }
    flight.sends->send(static_cast<int>(node), {begin, out});
  }
}

void RowExchange::begin(const RoundRows& rows) {
  State& s = *state_;
  CHECK(s.world.leads(), "leaders move rows");
  CHECK(static_cast<int64_t>(rows.samples.size()) <= s.max_samples,
        std::to_string(rows.samples.size()) + " samples");
  CHECK(rows.unit_begins.size() == rows.unit_node.size() + 1 &&
            rows.unit_begins.back() == static_cast<int64_t>(rows.samples.size()),
        "units cover the round");
  SlotHeader& header = s.header(rows.round);
  CHECK(header.round_after.load() == 0, "round " + std::to_string(rows.round) + " finds its slot in use");
  const int source = s.dataset.split(rows.split).source;
  s.locate(rows, source);
  if (s.world.machines() > 1) {
    s.post_receives(rows, source);
    s.post_sends(rows, source);
  }
  header.source = source;
  header.samples = static_cast<int64_t>(rows.samples.size());
  header.round_after.store(rows.round + 1, std::memory_order_release);
}

void RowExchange::progress() {
  if (state_->world.machines() == 1) return;
  for (State::Flight& flight : state_->flights) {
    flight.receives->test();
    flight.sends->test();
  }
}

void RowExchange::finish(int64_t round, const Poll& poll) {
  State& s = *state_;
  CHECK(s.header(round).round_after.load() == round + 1, "round " + std::to_string(round) + " has not begun");
  if (s.world.machines() == 1) return;
  comm::MessageBatch& receives = *s.flights[static_cast<size_t>(round % slots)].receives;
  if (receives.test()) return;
  receives.wait([&] {
    progress();
    if (poll) poll();
  });
}

void RowExchange::end(int64_t round) {
  State& s = *state_;
  SlotHeader& header = s.header(round);
  CHECK(header.round_after.load() == round + 1, "round " + std::to_string(round) + " has not begun");
  if (s.world.machines() > 1) {
    State::Flight& flight = s.flights[static_cast<size_t>(round % slots)];
    flight.receives->wait();
    flight.sends->wait();
  }
  header.round_after.store(0, std::memory_order_release);
}

const std::byte* RowExchange::row(int64_t round, int64_t position) const {
  const State& s = *state_;
  const SlotHeader& header = s.header(round);
  CHECK(header.round_after.load(std::memory_order_acquire) == round + 1 && position < header.samples,
        "round " + std::to_string(round) + ", position " + std::to_string(position));
  const int64_t entry = s.table(round)[position];
  if (entry >= 0) return s.bases[static_cast<size_t>(header.source)] + entry;
  CHECK(entry != elsewhere, "position " + std::to_string(position) + " belongs to another node");
  return s.staged(round) + (-1 - entry);
}

}  // namespace lepton::data
