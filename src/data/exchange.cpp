// SPDX-License-Identifier: Apache-2.0
// The exchange of rows: who sends what to whom, worked out alike on both sides from the plan of the round.
#include "data/exchange.h"

#include <algorithm>
#include <cstring>

namespace lepton::data {

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
  const SampleStore& store;
  RowTables tables;
  RowLending lending;

  // Leaders only; all of it is reused from round to round.
  struct Flight {
    std::unique_ptr<comm::MessageBatch> sends, receives;
    std::vector<std::byte> outgoing;
  };
  std::vector<Flight> flights;
  std::vector<int64_t> counts;  // by node
  std::vector<int> senders;     // by machine: who sends its rows to this node
  std::vector<char> served;     // by node: whether this node sends it its machine's rows

  State(const comm::World& of, const Dataset& dataset, const SampleStore& rows, int64_t max_samples,
        const std::string& shm_directory)
      : world(of), store(rows), tables(of, dataset, rows, max_samples, shm_directory), lending(of, tables) {}
  Flight& flight(int64_t round) { return flights[static_cast<size_t>(round % slots)]; }
  void post_receives(const RoundRows& plan, RowTables::Round& round);
  void post_sends(const RoundRows& plan, const RowTables::Round& round);
};

RowExchange::RowExchange(const comm::World& world, const Dataset& dataset, const SampleStore& store,
                         int64_t max_samples, const std::string& shm_directory)
    : state_(std::make_unique<State>(world, dataset, store, max_samples, shm_directory)) {
  State& s = *state_;
  if (!world.leads() || world.machines() == 1) return;
  s.counts.resize(static_cast<size_t>(world.nodes()));
  s.flights.resize(slots);
  s.senders = row_senders(world, world.node());
  for (int node = 0; node < world.nodes(); ++node)
    s.served.push_back(row_senders(world, node)[static_cast<size_t>(world.machine())] == world.node());
  for (State::Flight& flight : s.flights) {
    flight.sends = std::make_unique<comm::MessageBatch>(world, comm::Channel::rows, 0);
    flight.receives = std::make_unique<comm::MessageBatch>(world, comm::Channel::rows, 0);
  }
}

RowExchange::~RowExchange() = default;

/// Rows from one node lie next to each other in the staging area, in batch order, node after node.
void RowExchange::State::post_receives(const RoundRows& plan, RowTables::Round& round) {
  const auto each_foreign = [&](auto&& visit) {
    for (size_t unit = 0; unit < plan.unit_node.size(); ++unit) {
      if (plan.unit_node[unit] != world.node()) continue;
      for (int64_t p = plan.unit_begins[unit]; p < plan.unit_begins[unit + 1]; ++p)
        if (!tables.resident(round, p))
          visit(p, static_cast<size_t>(senders[static_cast<size_t>(round.owners[static_cast<size_t>(p)])]));
    }
  };
  std::fill(counts.begin(), counts.end(), 0);
  each_foreign([&](int64_t, size_t sender) { ++counts[sender]; });
  comm::MessageBatch& receives = *flight(plan.round).receives;
  receives.restart(plan.round);
  for (size_t node = 0; node < counts.size(); ++node) {
    const int64_t rows = counts[node];
    if (rows > 0)
      receives.receive(static_cast<int>(node), {tables.staging(plan.round, round.staged),
                                                static_cast<size_t>(rows) * round.row_bytes});
    counts[node] = round.staged;  // from here on: the place of the node's next row
    round.staged += rows;
  }
  each_foreign([&](int64_t p, size_t sender) { tables.place_staged(plan.round, p, counts[sender]++); });
}

void RowExchange::State::post_sends(const RoundRows& plan, const RowTables::Round& round) {
  std::fill(counts.begin(), counts.end(), 0);
  size_t total = 0;
  for (size_t unit = 0; unit < plan.unit_node.size(); ++unit) {
    if (!served[static_cast<size_t>(plan.unit_node[unit])]) continue;
    for (int64_t p = plan.unit_begins[unit]; p < plan.unit_begins[unit + 1]; ++p)
      if (tables.resident(round, p)) {
        ++counts[static_cast<size_t>(plan.unit_node[unit])];
        ++total;
      }
  }
  Flight& flight = this->flight(plan.round);
  flight.sends->restart(plan.round);
  if (flight.outgoing.size() < total * round.row_bytes) flight.outgoing.resize(total * round.row_bytes);
  std::byte* out = flight.outgoing.data();
  for (size_t node = 0; node < counts.size(); ++node) {
    if (counts[node] == 0) continue;
    const std::byte* begin = out;
    for (size_t unit = 0; unit < plan.unit_node.size(); ++unit) {
      if (plan.unit_node[unit] != static_cast<int>(node)) continue;
      for (int64_t p = plan.unit_begins[unit]; p < plan.unit_begins[unit + 1]; ++p) {
        if (!tables.resident(round, p)) continue;
        std::memcpy(out, store.row(round.source, round.rows[static_cast<size_t>(p)]), round.row_bytes);
        out += round.row_bytes;
      }
    }
    flight.sends->send(static_cast<int>(node), {begin, out});
  }
}

void RowExchange::begin(const RoundRows& rows) {
  State& s = *state_;
  CHECK(s.world.leads(), "leaders move rows");
  RowTables::Round& round = s.tables.open(rows);
  if (s.world.machines() > 1) {
    s.post_receives(rows, round);
    s.post_sends(rows, round);
  }
  round.here = round.staged == 0;
  s.tables.publish(rows.round);
}

void RowExchange::progress() {
  if (state_->world.machines() == 1) return;
  for (State::Flight& flight : state_->flights) {
    flight.receives->test();
    flight.sends->test();
  }
  state_->lending.progress();
}

void RowExchange::finish(int64_t round, const Poll& poll) {
  State& s = *state_;
  RowTables::Round& known = s.tables.round(round);
  if (known.here) return;
  comm::MessageBatch& receives = *s.flight(round).receives;
  if (!receives.test())
    receives.wait([&] {
      progress();
      if (poll) poll();
    });
  known.here = true;
}

void RowExchange::end(int64_t round) {
  State& s = *state_;
  s.tables.round(round);
  if (s.world.machines() > 1) {
    s.flight(round).receives->wait();
    s.flight(round).sends->wait();
  }
  s.lending.end(round);
  s.tables.close(round);
}

RowLending& RowExchange::lending() {
  return state_->lending;
}

const std::byte* RowExchange::row(int64_t round, int64_t position) const {
  return state_->tables.row(round, position);
}

}  // namespace lepton::data
