// SPDX-License-Identifier: Apache-2.0
// How parts of shards come to the node that writes them. Shard i is written by node i mod n; nodes whose
// slices it covers send their parts between units. It goes in rounds of n shards, one per node, so that a
// node needs room for one foreign shard at a time, whatever the size of the state. A shard that lies within
// the node's own slice is used where it lies: a single node sends nothing and copies nothing. Invariant: all
// leaders post the same rounds in the same order. Called by the writer of a leader.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "checkpoint/layout.h"
#include "comm/messages.h"
#include "comm/world.h"

namespace lepton::checkpoint {

class ShardExchange {
 public:
  /// slices: nodes + 1 element offsets. copy: this node's slice of each array, one array behind the other.
  ShardExchange(const comm::World& world, const StateLayout& layout, std::vector<int64_t> slices,
                std::span<const float> copy);

  int64_t rounds() const;
  /// The shard that this node writes in a round, if any.
  std::optional<int64_t> shard_of(int64_t round) const;

  /// **Leaders.** Posts the sends and receives of a round. Nothing posted may be outstanding, and the arrays
  /// of the round before must no longer be in use.
  void post(int64_t round);
  bool test();  ///< moves messages; true when the round is complete
  void wait();  ///< until the round is complete, with the world's deadline

  /// **Local.** The complete arrays of a shard that this node writes, once its round is complete; a shard
  /// that does not lie here must be the one of the last round. The writer's thread calls it, once per shard:
  /// it adds the node's own part to what came.
  std::vector<std::span<const float>> arrays(int64_t shard);
  /// **Local.** Gives back the room of foreign shards.
  void release();

 private:
  bool lies_here(int64_t shard) const;
  std::span<const float> of_copy(size_t array, int64_t begin, int64_t end) const;
  void post_receives(int64_t shard);
  void post_sends(int64_t round);

  const comm::World& world_;
  const StateLayout layout_;
  const std::vector<int64_t> slices_;
  const std::span<const float> copy_;
  std::vector<float> foreign_;  // arrays of a shard that lies on several nodes, one behind the other
  std::unique_ptr<comm::MessageBatch> batch_;
  int64_t posted_ = 0;  // rounds ever posted, the same on all leaders; goes into the message tags
};

}  // namespace lepton::checkpoint
