// SPDX-License-Identifier: Apache-2.0
// The events of a simulated round. A thread that ends a unit takes the next; a leader's main thread looks at
// its messages between its units, now and then within them, and all the time when it waits. See the header.
#include "balance/simulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <new>
#include <queue>
#include <utility>

#include "balance/coordinator.h"
#include "base/error.h"

namespace lepton::balance {

namespace {

constexpr double endless_s = 1e9;  ///< who waits so long waits for ever

struct Event {
  enum class Kind { unit_done, look, arrival };
  double at_s = 0;
  int64_t order = 0;  ///< of events at the same time
  Kind kind = Kind::look;
  int node = 0;
  int thread = 0;      ///< of unit_done
  size_t message = 0;  ///< of arrival
  bool operator>(const Event& other) const {
    return at_s != other.at_s ? at_s > other.at_s : order > other.order;
  }
};

struct Travelling {
  int from = 0;
  Message message;
};

struct Thread {
  bool idle = true;
  double busy_until_s = 0, began_s = 0;
};

/// The lists of all queues. Each has room for all units of a round, of which its node mostly sees a few:
/// pages that nobody writes take no memory, while thousands of vectors would take gigabytes.
class Lists {
 public:
  Lists(size_t lists, size_t length)
      : length_(length), bytes_(std::max<size_t>(1, lists * length) * sizeof(int32_t)) {
    void* const memory =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    madvise(memory, bytes_, MADV_NOHUGEPAGE);  // one would take what 512 lists need
    begin_ = static_cast<int32_t*>(memory);
  }
  ~Lists() { munmap(begin_, bytes_); }
  Lists(const Lists&) = delete;
  Lists& operator=(const Lists&) = delete;
  std::span<int32_t> list(int number) { return {begin_ + static_cast<size_t>(number) * length_, length_}; }

 private:
  int32_t* begin_ = nullptr;
  size_t length_, bytes_;
};

}  // namespace

struct Simulator::State {
  class Node;

  std::vector<int> threads_per_node;
  int64_t units_max = 0;
  SimulatedNetwork network;
  std::function<void(double)> observer;
  std::unique_ptr<Lists> lists;
  std::vector<std::unique_ptr<Node>> nodes;
  std::unique_ptr<Coordinator> coordinator;

  // Of the round:
  const UnitTime* unit_time = nullptr;
  const LookTime* look_time = nullptr;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
  std::vector<Travelling> travelling;
  std::map<std::pair<int, int>, double> last_arrival_s;  // by sender and receiver
  std::vector<int> starts;
  double now_s = 0;
  int64_t events_made = 0, units_travelling = 0, done = 0;
  int entered = 0, closed = 0;
  double barrier_s = std::numeric_limits<double>::infinity();
  RoundResult result;

  void at(double at_s, Event::Kind kind, int node, int thread = 0, size_t message = 0) {
    events.push({at_s, events_made++, kind, node, thread, message});
  }
  void enter();
  void run(int64_t units);
};

/// One node: its queue and worker, what they need of the outside, and its threads.
class Simulator::State::Node : public Outside {
 public:
  Node(State& state, int number)
      : state_(state),
        number_(number),
        queue_(queue_state_, state.lists->list(number)),
        worker_(state.units_max, queue_, *this),
        threads_(static_cast<size_t>(state.threads_per_node[static_cast<size_t>(number)])) {}

  void begin(const Stamp& stamp, const NodePlan& plan, UnitRange units, bool alone);
  /// The leader's main thread handles messages and polls; then threads that wait take what there is.
  void look();
  void unit_done(int thread);
  /// A message is here: it is handled at the next look.
  void arrive(size_t message);

  UnitQueue& queue() { return queue_; }
  Worker& worker() { return worker_; }
  bool idle() const {
    return std::all_of(threads_.begin(), threads_.end(), [](const Thread& t) { return t.idle; });
  }

  void send(int node, const Message& message) override;
  void lend(int node, int64_t number, std::span<const int32_t> units) override;
  void borrow(int node, int64_t number, std::span<const int32_t> units) override;
  bool borrowed(int node, int64_t number) override;
  void enter_barrier() override { state_.enter(); }
  bool barrier_complete() override { return state_.now_s >= state_.barrier_s; }

 private:
  void handle_messages();
  void start_units();
  void next_look();
  void look_at(double at_s);

  State& state_;
  int number_;
  UnitQueueState queue_state_;
  UnitQueue queue_;
  Worker worker_;
  std::vector<Thread> threads_;
  std::vector<size_t> inbox_;
  std::map<std::pair<int, int64_t>, double> rows_here_s_;  // by giver and number of the offer
  double handling_s_ = 0;  ///< of the main thread, that its next unit waits for
  double patience_s_ = 0, next_look_s_ = 0;
  bool counted_closed_ = false;
};

void Simulator::State::enter() {
  if (++entered < std::ssize(nodes)) return;
  const double rounds = std::ceil(std::log2(std::max<double>(1, static_cast<double>(nodes.size()))));
  barrier_s = now_s + rounds * network.latency_s;
  for (int node = 0; node < std::ssize(nodes); ++node) at(barrier_s, Event::Kind::look, node);
}

void Simulator::State::Node::begin(const Stamp& stamp, const NodePlan& plan, UnitRange units, bool alone) {
  CHECK(inbox_.empty(), "messages of the last round");
  rows_here_s_.clear();
  handling_s_ = 0;
  patience_s_ = worth_s;
  next_look_s_ = 0;
  counted_closed_ = false;
  for (Thread& thread : threads_) thread = {};
  worker_.begin(stamp, plan, units, alone);
  state_.at(0, Event::Kind::look, number_);
}

/// Rank 0 also says things to itself, and hears them at once.
void Simulator::State::Node::handle_messages() {
  Coordinator* const coordinator = number_ == 0 ? state_.coordinator.get() : nullptr;
  const auto due = [&] { return coordinator && !queue_.closed() && coordinator->due_s() <= state_.now_s; };
  while (!inbox_.empty() || due()) {
    for (size_t i = 0; i < inbox_.size(); ++i) {  // handling may bring more
      const Travelling travelling = std::move(state_.travelling[inbox_[i]]);
      handling_s_ += state_.network.handling_s;
      if (std::holds_alternative<Report>(travelling.message.body)) {
        coordinator->receive(travelling.from, travelling.message);
      } else {
        worker_.receive(state_.now_s, travelling.from, travelling.message);
      }
    }
    inbox_.clear();
    if (!due()) continue;
    const double deciding_s = state_.network.deciding_s_per_node * static_cast<double>(state_.nodes.size());
    handling_s_ += deciding_s;
    state_.result.rank_0_busy_s += deciding_s;
    coordinator->decide(state_.now_s);
    if (std::isfinite(coordinator->due_s())) look_at(coordinator->due_s());
  }
}

void Simulator::State::Node::look() {
  handle_messages();
  start_units();
  worker_.poll(state_.now_s);
  handle_messages();
  start_units();
  if (queue_.closed() && !counted_closed_) {
    counted_closed_ = true;
    ++state_.closed;
    state_.result.closed_s = std::max(state_.result.closed_s, state_.now_s);
  }
  next_look();
}

void Simulator::State::Node::start_units() {
  for (size_t t = 0; t < threads_.size(); ++t) {
    if (!threads_[t].idle) continue;
    const std::span<const int32_t> unit = queue_.take();
    if (unit.empty()) return;
    CHECK(++state_.starts[static_cast<size_t>(unit[0])] == 1, "a unit started twice");
    double takes_s = (*state_.unit_time)(number_, static_cast<int>(t), unit[0], state_.now_s);
    if (t == 0) takes_s += std::exchange(handling_s_, 0);
    threads_[t] = {false, state_.now_s + takes_s, state_.now_s};
    patience_s_ = worth_s;
    state_.at(threads_[t].busy_until_s, Event::Kind::unit_done, number_, static_cast<int>(t));
  }
}

/// An idle main thread looks all the time, which matters when a message comes or when patience ends.
void Simulator::State::Node::next_look() {
  if (!threads_[0].idle || queue_.closed() || next_look_s_ > state_.now_s) return;
  next_look_s_ = state_.now_s + patience_s_;
  state_.at(next_look_s_, Event::Kind::look, number_);
  patience_s_ *= 2;
}

void Simulator::State::Node::unit_done(int thread) {
  Thread& ended = threads_[static_cast<size_t>(thread)];
  const double busy_s = state_.now_s - ended.began_s;
  ended.idle = true;
  queue_.count_done(1, static_cast<int64_t>(busy_s * 1e9));
  ++state_.done;
  ++state_.result.units[static_cast<size_t>(number_)];
  state_.result.busy_ns[static_cast<size_t>(number_)] += static_cast<int64_t>(busy_s * 1e9);
  state_.result.units_s = state_.now_s;
  if (thread == 0)
    look();
  else
    start_units();
}

void Simulator::State::Node::arrive(size_t message) {
  inbox_.push_back(message);
  look_at(state_.now_s);
}

/// As soon as the main thread looks from then on.
void Simulator::State::Node::look_at(double at_s) {
  if (const Thread& main = threads_[0]; !main.idle) {
    const double between_s = *state_.look_time ? (*state_.look_time)(number_) : endless_s;
    at_s = main.began_s + (std::floor((at_s - main.began_s) / between_s) + 1) * between_s;
    if (!(at_s < main.busy_until_s)) return;  // then it looks anyway
  }
  state_.at(at_s, Event::Kind::look, number_);
}

void Simulator::State::Node::send(int node, const Message& message) {
  if (node == number_) {
    inbox_.push_back(state_.travelling.size());
    state_.travelling.push_back({number_, message});
    return;
  }
  double arrives_s = state_.now_s + state_.network.latency_s;
  if (state_.network.delay_s) arrives_s += state_.network.delay_s();
  if (state_.network.in_order) {
    double& last_s = state_.last_arrival_s[{number_, node}];
    arrives_s = last_s = std::max(last_s, arrives_s);
  }
  if (const auto* offer = std::get_if<Offer>(&message.body))
    state_.units_travelling += std::ssize(offer->units);
  handling_s_ += state_.network.handling_s;
  ++state_.result.messages;
  // What rank 0's node sends and receives as rank 0, not as a node that gives or takes.
  if (std::holds_alternative<Report>(message.body) || std::holds_alternative<Give>(message.body)) {
    ++state_.result.rank_0_messages;
    state_.result.rank_0_busy_s += state_.network.handling_s;
  }
  state_.travelling.push_back({number_, message});
  state_.at(arrives_s, Event::Kind::arrival, node, 0, state_.travelling.size() - 1);
}

void Simulator::State::Node::lend(int node, int64_t number, std::span<const int32_t> units) {
  const double here_s = state_.now_s + state_.network.latency_s +
                        state_.network.row_s_per_unit * static_cast<double>(units.size());
  state_.nodes[static_cast<size_t>(node)]->rows_here_s_[{number_, number}] = here_s;
}

void Simulator::State::Node::borrow(int node, int64_t number, std::span<const int32_t> units) {
  state_.units_travelling -= std::ssize(units);
  const double here_s = rows_here_s_.at({node, number});
  if (here_s > state_.now_s) state_.at(here_s, Event::Kind::look, number_);
}

bool Simulator::State::Node::borrowed(int node, int64_t number) {
  return rows_here_s_.at({node, number}) <= state_.now_s;
}

void Simulator::State::run(int64_t units) {
  while (!events.empty()) {
    const Event event = events.top();
    events.pop();
    CHECK(event.at_s >= now_s, "time goes back");
    now_s = event.at_s;
    CHECK(now_s < endless_s,
          std::to_string(done) + " of " + std::to_string(units) + " units are done, and nothing happens");
    Node& node = *nodes[static_cast<size_t>(event.node)];
    switch (event.kind) {
      case Event::Kind::unit_done:
        node.unit_done(event.thread);
        break;
      case Event::Kind::look:
        node.look();
        break;
      case Event::Kind::arrival:
        node.arrive(event.message);
        break;
    }
    if (observer) observer(now_s);
  }
  CHECK(done == units, std::to_string(done) + " of " + std::to_string(units) + " units were done");
  CHECK(closed == std::ssize(nodes), std::to_string(closed) + " nodes closed");
}

Simulator::Simulator(std::vector<int> threads_per_node, int64_t units_max, const SimulatedNetwork& network)
    : state_(std::make_unique<State>()) {
  state_->threads_per_node = std::move(threads_per_node);
  state_->units_max = units_max;
  state_->network = network;
  state_->lists = std::make_unique<Lists>(state_->threads_per_node.size(), static_cast<size_t>(units_max));
  for (int node = 0; node < std::ssize(state_->threads_per_node); ++node)
    state_->nodes.push_back(std::make_unique<State::Node>(*state_, node));
  state_->coordinator = std::make_unique<Coordinator>(*state_->nodes.front());
}

Simulator::~Simulator() = default;

const RoundResult& Simulator::round(const Stamp& stamp, std::span<const NodePlan> plans,
                                    std::span<const UnitRange> ranges, bool steal, const UnitTime& unit_time,
                                    const LookTime& look_time) {
  State& s = *state_;
  const size_t nodes = s.nodes.size();
  CHECK(plans.size() == nodes && ranges.size() == nodes, "a plan for each node");
  s.unit_time = &unit_time;
  s.look_time = &look_time;
  s.travelling.clear();
  s.last_arrival_s.clear();
  s.starts.assign(static_cast<size_t>(s.units_max), 0);
  s.now_s = 0;
  s.events_made = s.units_travelling = s.done = 0;
  s.entered = s.closed = 0;
  s.barrier_s = std::numeric_limits<double>::infinity();
  s.result = {};
  s.result.units.assign(nodes, 0);
  s.result.busy_ns.assign(nodes, 0);
  s.coordinator->begin(stamp, plans);
  int64_t units = 0;
  for (size_t n = 0; n < nodes; ++n) {
    s.nodes[n]->begin(stamp, plans[n], ranges[n], !steal);
    units += ranges[n].size();
  }
  s.run(units);
  s.result.closed_s = std::max(s.result.closed_s, s.result.units_s);
  for (const auto& node : s.nodes) s.result.moved.push_back(node->worker().moved());
  return s.result;
}

void Simulator::watch(std::function<void(double now_s)> observer) {
  state_->observer = std::move(observer);
}

int Simulator::nodes() const {
  return static_cast<int>(state_->nodes.size());
}

int64_t Simulator::untouched(int node) const {
  return state_->nodes[static_cast<size_t>(node)]->queue().left();
}

bool Simulator::idle(int node) const {
  return state_->nodes[static_cast<size_t>(node)]->idle();
}

bool Simulator::closed(int node) const {
  return state_->nodes[static_cast<size_t>(node)]->queue().closed();
}

int Simulator::starts(int64_t unit) const {
  return state_->starts[static_cast<size_t>(unit)];
}

int64_t Simulator::travelling() const {
  return state_->units_travelling;
}

}  // namespace lepton::balance
