// SPDX-License-Identifier: Apache-2.0
// Writer: checkpoints in the background from a copy made at a step boundary, by the commit protocol of DESIGN
// section 6: step-N.tmp-G -> shards written, fsynced, hashed by the nodes (shard i by node i mod n) ->
// reports travel in the lanes of the following steps -> rank 0 makes the ledger durable, writes the manifest
// last, renames (= commit), prunes. Invariants: at most one in flight; byte-identical for identical states
// (no times, hosts, ranks, speeds); an error is fatal to that checkpoint, never to the run. Leaders' main
// threads call it; its own thread writes and never calls MPI.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/commit.h"
#include "checkpoint/layout.h"
#include "comm/shared_memory.h"
#include "comm/world.h"

namespace lepton::checkpoint {

struct WriterSpec {
  Place place;
  int keep = 3;
  std::string shm_directory;
  StateLayout layout;
  std::vector<int64_t> slices;  ///< element offsets of each node's slice; nodes + 1 entries
  int parity = 0;               ///< parity blocks per stripe of each file (storage/parity.h); 0: none
};

/// What a checkpoint took.
struct Committed {
  int64_t step = 0;
  double seconds = 0;     ///< from begin() to the commit, which waits for a step to end
  double writing_s = 0;   ///< of rank 0's thread: writing, hashes, parity, proof, fsync
  int64_t bytes = 0;      ///< of all files of all nodes, parity included
  int64_t own_bytes = 0;  ///< of those that rank 0's thread wrote
};

class Writer {
 public:
  /// **Collective over the node.** Allocates the copy (12 bytes per element with Adam, divided by nodes) in
  /// node-shared memory; rank 0 makes the directory and removes what dead runs left unfinished.
  /// `make_ledger_durable` runs on rank 0's writer thread before a commit. Throws Error(memory), on rank 0
  /// Error(run_directory).
  Writer(const comm::World& world, WriterSpec spec, std::function<void()> make_ledger_durable);
  ~Writer();

  /// **Local, any rank of the node.** Where threads copy this node's slice of array `a` before begin(). Only
  /// while the node's leader is not busy().
  std::span<float> copy_of(int array);
  /// **Leaders.** The copies are complete: send parts of shards to their writers, then write. small_state:
  /// the encoded run state, the same on all leaders (only rank 0's is written, in an envelope). `prove`, on
  /// the writer's thread after it has written from the copy: where it throws, this node's part has failed.
  /// Only while rank 0 is not busy().
  void begin(int64_t step, std::string small_state, const Identity& identity,
             std::function<void()> prove = {});
  /// **Leaders.** Moves messages between units; cheap.
  void progress();
  /// From begin() until committed or abandoned, as far as this rank knows: rank 0 is the last to become free,
  /// so it is rank 0's answer that decides whether the next checkpoint may begin.
  bool busy() const;
  enum class Part { none, under_way, durable, failed };
  /// This node's part of the checkpoint in flight: reported in lanes. durable or failed is final, and given
  /// only when nothing of this node is under way any more.
  Part part() const;
  /// **Collective over leaders.** All parts are durable: gathers hashes; rank 0 commits in the background.
  void commit();
  /// **Collective over leaders.** No part is under way and some failed: everything of this checkpoint is
  /// dropped (rank 0 removes the directory), with a warning.
  void abandon();
  /// **Collective over leaders.** Waits for the checkpoint in flight (end of run, stop) and commits or
  /// abandons it. Returns whether the last begun checkpoint was committed, the same on all leaders; false
  /// when none was begun.
  bool finish();
  /// **Rank 0.** The checkpoint that was committed since the last call, if any. Only while not busy().
  std::optional<Committed> take_committed();
  /// From begin() to the commit (on rank 0; elsewhere to the report); 0 before the first.
  double last_duration_s() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lepton::checkpoint
