// SPDX-License-Identifier: Apache-2.0
// The main thread moves messages and posts work; the background thread writes, hashes, commits. They share
// `files` and `identity` by turns: the main thread touches them only while the background thread is idle. A
// failed part still takes part in all messages, since others wait for them; only its writing stops.
#include "checkpoint/writer.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/workers.h"
#include "checkpoint/commit.h"
#include "checkpoint/envelope.h"
#include "checkpoint/shard.h"
#include "checkpoint/shard_exchange.h"
#include "storage/file.h"
#include "storage/parity.h"

namespace lepton::checkpoint {

using Report = std::vector<int64_t>;  // status (1: durable), then bytes and hash of each of the node's files

static int64_t bytes_of(const std::vector<Manifest::File>& files) {
  int64_t bytes = 0;
  for (const Manifest::File& file : files) bytes += file.bytes;
  return bytes;
}

struct Writer::State {
  State(const comm::World& of_world, WriterSpec of_spec, std::function<void()> durable)
      : world(of_world), spec(std::move(of_spec)), make_ledger_durable(std::move(durable)) {}

  const comm::World& world;
  const WriterSpec spec;
  const std::function<void()> make_ledger_durable;
  comm::SharedMemory copy;
  int64_t slice = 0;  // elements
  // Of leaders:
  std::unique_ptr<ShardExchange> exchange;
  bool in_flight = false;
  bool exchanging = false;
  int64_t round = 0;  // the next to post, or the one posted
  int64_t step = 0;
  Identity identity;
  uint64_t identity_hash_value = 0;
  std::vector<Manifest::File> files, parities;  // this node's, in order; on node 0 state.bin comes first
  std::deque<storage::UnsyncedFile> unsynced;   // of the background thread
  std::function<void()> prove;
  std::atomic<bool> failed = false, committed = false;
  double begun_s = 0;
  std::atomic<double> duration_s = 0;
  double writing_s = 0;                      // of the background thread, for this checkpoint
  std::optional<Committed> news;             // written by the background thread, read while that is idle
  std::unique_ptr<BackgroundThread> thread;  // declared last: joined before anything it uses goes

  int64_t shards_of(int node) const;
  size_t report_words(int node) const {
    return static_cast<size_t>(1 + (spec.parity > 0 ? 4 : 2) * shards_of(node));
  }
  void attempt(const std::string& what, const std::function<void()>& work);
  void write_state(const std::string& small_state);
  void write_shard(int64_t shard);
  void write_file(const std::string& name, storage::Pieces pieces);
  Manifest::File put(const std::string& name, storage::Pieces pieces);
  void sync(size_t left);
  void end_writing();
  std::vector<Report> gather_reports();
  Manifest manifest_of(const std::vector<Report>& reports) const;
  void post_commit(const std::vector<Report>& reports);
  void drop();
  bool tell_all(bool value);
};

int64_t Writer::State::shards_of(int node) const {
  const int64_t nodes = world.nodes();
  return (spec.layout.shards() - node + nodes - 1) / nodes;
}

/// Background thread: an error is fatal to this checkpoint only.
void Writer::State::attempt(const std::string& what, const std::function<void()>& work) {
  if (failed) return;
  const double begin_s = now_s();
  std::string problem;
  try {
    work();
    writing_s += now_s() - begin_s;
    return;
  } catch (const std::exception& error) {
    problem = error.what();
  }
  failed = true;
  log_warning("checkpoint " + step_name(step) + ": " + what + " failed, training goes on: " + problem);
}

void Writer::State::write_file(const std::string& name, storage::Pieces pieces) {
  constexpr size_t on_their_way = 6;  // files: the disk works while hashes and parity are computed
  storage::make_directories(unfinished_path(spec.place, step));
  files.push_back(put(name, pieces));
  if (spec.parity > 0) {
    const std::vector<std::byte> parity = storage::encode_parity(pieces, files.back().hash, spec.parity);
    const std::span<const std::byte> beside = parity;
    parities.push_back(put(parity_name(name), std::span(&beside, 1)));
  }
  sync(on_their_way);
}

/// Hashes are of what is meant, whatever happens to the bytes while they are written.
Manifest::File Writer::State::put(const std::string& name, storage::Pieces pieces) {
  unsynced.emplace_back(unfinished_path(spec.place, step) + "/" + name, pieces, "checkpoint");
  Manifest::File file = {name, 0, hash64(pieces)};
  for (const auto& piece : pieces) file.bytes += static_cast<int64_t>(piece.size());
  return file;
}

/// The oldest, until so many are left.
void Writer::State::sync(size_t left) {
  for (; unsynced.size() > left; unsynced.pop_front()) unsynced.front().sync();
}

/// The copy is proven last: what all of the files were made from is what was copied.
void Writer::State::end_writing() {
  if (prove) attempt("proving the copy", prove);
  attempt("bringing its files to the disk", [&] { sync(0); });
  unsynced.clear();
}

void Writer::State::write_state(const std::string& small_state) {
  attempt(std::string("writing ") + state_name, [&] {
    const std::string sealed = seal_envelope(small_state);
    const std::span<const std::byte> bytes = std::as_bytes(std::span(sealed));
    write_file(state_name, std::span(&bytes, 1));
  });
}

void Writer::State::write_shard(int64_t shard) {
  attempt("writing " + shard_name(shard), [&] {
    const std::vector<std::span<const float>> arrays = exchange->arrays(shard);
    write_file(shard_name(shard),
               build_shard(spec.layout, {step, shard, identity_hash_value}, arrays).pieces);
  });
}

/// **Collective over leaders.** On node 0 all nodes' reports, elsewhere nothing. Sizes are known, so no
/// headers.
std::vector<Report> Writer::State::gather_reports() {
  Report own = {failed ? 0 : 1};
  for (const auto* written : {&files, &parities})
    for (const Manifest::File& file : *written)
      if (!file.name.starts_with(state_name))
        own.insert(own.end(), {file.bytes, static_cast<int64_t>(file.hash)});
  own.resize(report_words(world.node()));  // fewer files where it failed
  std::vector<Report> reports;
  comm::MessageBatch batch(world, comm::Channel::shards, 0);
  if (world.node() == 0) {
    reports.push_back(own);
    for (int node = 1; node < world.nodes(); ++node) reports.emplace_back(report_words(node));
    for (int node = 1; node < world.nodes(); ++node)
      batch.receive(node, std::as_writable_bytes(std::span(reports[static_cast<size_t>(node)])));
  } else {
    batch.send(0, std::as_bytes(std::span(own)));
  }
  batch.wait();
  return reports;
}

Manifest Writer::State::manifest_of(const std::vector<Report>& reports) const {
  Manifest manifest;
  manifest.step = step;
  manifest.layout = spec.layout;
  manifest.identity = identity;
  manifest.parity = spec.parity;
  for (const bool parity : {false, true}) {
    if (parity && spec.parity == 0) break;
    for (int64_t shard = 0; shard < spec.layout.shards(); ++shard) {
      const int node = static_cast<int>(shard % world.nodes());
      const Report& report = reports[static_cast<size_t>(node)];
      const auto at = static_cast<size_t>(1 + 2 * ((parity ? shards_of(node) : 0) + shard / world.nodes()));
      const std::string name = shard_name(shard);
      manifest.files.push_back(
          {parity ? parity_name(name) : name, report[at], static_cast<uint64_t>(report[at + 1])});
    }
    manifest.files.push_back((parity ? parities : files).front());
  }
  CHECK(manifest.state_file().name == state_name, "node 0 writes the small state first");
  return manifest;
}

void Writer::State::post_commit(const std::vector<Report>& reports) {
  thread->post([this, manifest = manifest_of(reports)] {
    attempt("the commit", [&] {
      make_ledger_durable();
      commit_checkpoint(spec.place, manifest);
      committed = true;
      duration_s = now_s() - begun_s;
    });
    if (!committed) return drop();
    news = {step, duration_s, writing_s, bytes_of(manifest.files), bytes_of(files) + bytes_of(parities)};
    try {
      prune_checkpoints(spec.place, step, spec.keep);
    } catch (const std::exception& error) {
      log_warning("checkpoint " + step_name(step) +
                  " is safe, but older ones could not be removed: " + error.what());
    }
  });
}

/// Background thread of rank 0.
void Writer::State::drop() {
  try {
    remove_unfinished(spec.place, step);
  } catch (const std::exception& error) {
    log_warning("the next start will remove what is left of an abandoned checkpoint: " +
                std::string(error.what()));
  }
}

/// **Collective over leaders.** Node 0's value.
bool Writer::State::tell_all(bool value) {
  int64_t word = value;
  comm::MessageBatch batch(world, comm::Channel::shards, 0);
  if (world.node() != 0) batch.receive(0, std::as_writable_bytes(std::span(&word, 1)));
  for (int node = 1; world.node() == 0 && node < world.nodes(); ++node)
    batch.send(node, std::as_bytes(std::span(&word, 1)));
  batch.wait();
  return word != 0;
}

Writer::Writer(const comm::World& world, WriterSpec spec, std::function<void()> make_ledger_durable)
    : state_(std::make_unique<State>(world, std::move(spec), std::move(make_ledger_durable))) {
  State& s = *state_;
  const size_t node = static_cast<size_t>(world.node());
  CHECK(s.spec.slices.size() > node + 1 && s.spec.layout.elements > 0, "a slice for each node");
  s.slice = s.spec.slices[node + 1] - s.spec.slices[node];
  const size_t floats = std::max<size_t>(1, s.spec.layout.arrays.size() * static_cast<size_t>(s.slice));
  s.copy = comm::SharedMemory(world, s.spec.shm_directory, "checkpoint", floats * sizeof(float));
  // Pages are made now, each rank some, or threads would stand still for that at the first copy.
  const std::span<float> copy = s.copy.as<float>();
  const auto share = [&](int rank) {
    return copy.size() * static_cast<size_t>(rank) / static_cast<size_t>(world.node_size());
  };
  std::fill(copy.begin() + static_cast<std::ptrdiff_t>(share(world.node_rank())),
            copy.begin() + static_cast<std::ptrdiff_t>(share(world.node_rank() + 1)), 0.0f);
  comm::agree(world, [&] {  // also a barrier: what is removed is nothing that another node has just begun
    if (world.rank() != 0) return;
    storage::make_directories(s.spec.place.directory);
    remove_all_unfinished(s.spec.place.directory);
  });
  if (!world.leads()) return;
  s.exchange = std::make_unique<ShardExchange>(world, s.spec.layout, s.spec.slices, s.copy.as<float>());
  s.thread = std::make_unique<BackgroundThread>();
}

Writer::~Writer() = default;

std::span<float> Writer::copy_of(int array) {
  State& s = *state_;
  CHECK(array >= 0 && static_cast<size_t>(array) < s.spec.layout.arrays.size(), std::to_string(array));
  return s.copy.as<float>().subspan(static_cast<size_t>(array * s.slice), static_cast<size_t>(s.slice));
}

void Writer::begin(int64_t step, std::string small_state, const Identity& identity,
                   std::function<void()> prove) {
  State& s = *state_;
  CHECK(s.world.leads() && !busy(), "one checkpoint at a time");
  s.in_flight = true;
  s.round = 0;
  s.step = step;
  s.identity = identity;
  s.identity_hash_value = identity_hash(identity);
  s.files.clear();
  s.parities.clear();
  s.writing_s = 0;
  s.failed = s.committed = false;
  s.begun_s = now_s();
  s.prove = std::move(prove);
  if (s.world.node() == 0) s.thread->post([&s, state = std::move(small_state)] { s.write_state(state); });
  progress();
}

void Writer::progress() {
  State& s = *state_;
  while (s.in_flight && s.round < s.exchange->rounds()) {
    if (!s.exchanging) {
      if (s.world.nodes() > 1 && !s.thread->idle()) return;  // it may still use the room of the round before
      s.exchange->post(s.round);
      s.exchanging = true;
    }
    if (!s.exchange->test()) return;
    s.exchanging = false;
    if (const std::optional<int64_t> shard = s.exchange->shard_of(s.round))
      s.thread->post([&s, shard = *shard] { s.write_shard(shard); });
    if (++s.round == s.exchange->rounds()) s.thread->post([&s] { s.end_writing(); });
  }
}

bool Writer::busy() const {
  return state_->in_flight || (state_->thread && !state_->thread->idle());
}

Writer::Part Writer::part() const {
  const State& s = *state_;
  if (!s.in_flight) return Part::none;
  if (s.round < s.exchange->rounds() || !s.thread->idle()) return Part::under_way;
  return s.failed ? Part::failed : Part::durable;
}

void Writer::commit() {
  State& s = *state_;
  CHECK(part() == Part::durable, "commit of a checkpoint that is not durable");
  const std::vector<Report> reports = s.gather_reports();
  s.exchange->release();
  s.duration_s = now_s() - s.begun_s;
  s.in_flight = false;
  if (s.world.node() == 0) s.post_commit(reports);
}

void Writer::abandon() {
  State& s = *state_;
  CHECK(part() == Part::durable || part() == Part::failed, "abandoned while under way");
  s.exchange->release();
  s.in_flight = false;
  if (s.world.rank() != 0) return;
  log_warning("checkpoint " + step_name(s.step) +
              " is abandoned, because not every node could give its part.");
  s.thread->post([&s] { s.drop(); });
}

bool Writer::finish() {
  State& s = *state_;
  CHECK(s.world.leads(), "leaders only");
  if (s.in_flight) {
    for (; part() == Part::under_way; progress())
      if (s.exchanging)
        s.exchange->wait();
      else
        s.thread->wait_idle();
    const std::vector<Report> reports = s.gather_reports();
    const bool durable = s.tell_all(std::all_of(reports.begin(), reports.end(),
                                                [](const Report& report) { return report.front() == 1; }));
    if (durable)
      commit();
    else
      abandon();
  }
  s.thread->wait_idle();
  return s.tell_all(s.committed);
}

std::optional<Committed> Writer::take_committed() {
  CHECK(!busy(), "the writer's thread may be writing it");
  return std::exchange(state_->news, std::nullopt);
}

double Writer::last_duration_s() const {
  return state_->duration_s;
}

}  // namespace lepton::checkpoint
