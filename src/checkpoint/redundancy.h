// SPDX-License-Identifier: Apache-2.0
// Redundancy: parity of the nodes' parts of a state on other nodes, so that the part of a lost node can be
// computed from those of the others. Nodes form groups; a group stands the loss of as many of its nodes as
// there are parity blocks in a stripe. Blocks rotate as on a RAID: each node's part is cut into segments, one
// per stripe in which the node has data; in the other stripes it holds parity. (The idea is SCR's: Moody et
// al. 2010.) Parity is made in the background from a copy, a chunk at a time, by main threads of leaders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/hash.h"
#include "comm/world.h"
#include "comm/xor_reduction.h"
#include "storage/erasure.h"

namespace lepton::checkpoint {

/// Nodes [first, first + count) of all.
struct NodeGroup {
  int first = 0, count = 1;
  /// The group of a node: a function of their number alone.
  static NodeGroup of(int node, int nodes);
};

/// Where the blocks of a group lie. Nodes are counted within the group, stripes are as many as nodes.
struct Rotation {
  int nodes = 1, parity = 0;
  /// Of a part; and data blocks of a stripe.
  int segments() const { return nodes - parity; }
  int data_node(int stripe, int block) const { return (stripe + parity + block) % nodes; }
  int parity_node(int stripe, int block) const { return (stripe + block) % nodes; }
  /// The stripe of a node's segment, in which its block has the segment's number.
  int stripe_of_segment(int node, int segment) const { return wrap(node - parity - segment); }
  /// The stripe of which a node holds parity block `block`.
  int stripe_of_parity(int node, int block) const { return wrap(node - block); }
  int wrap(int number) const { return (number % nodes + nodes) % nodes; }
};

/// Bytes of a segment where no part of a group is larger than this.
size_t segment_bytes(const Rotation& rotation, size_t largest_part);
/// A hash of blocks of equal size, one behind the other.
uint64_t blocks_hash(std::span<const std::byte> blocks, size_t block_bytes);

class Redundancy {
 public:
  /// **Collective over leaders.** `parity`: of a stripe, less than the nodes of the smallest group.
  Redundancy(const comm::World& world, const NodeGroup& group, int parity, size_t segment_bytes);
  ~Redundancy();
  Redundancy(const Redundancy&) = delete;
  Redundancy& operator=(const Redundancy&) = delete;

  /// Of this node: its part, `segments` blocks; room for its parity blocks; and for hashes, of the parts of
  /// all nodes of the group and, behind them, of its own parity. All stay until idle(); all nodes begin the
  /// same.
  void begin(std::span<const std::byte> part, std::span<std::byte> parity, std::span<uint64_t> hashes);
  /// Ends what has ended, and begins more: so much that it takes less than a millisecond, or some where there
  /// is no parity.
  void progress();
  /// Nothing is under way on this node.
  bool idle() const { return !under_way_; }
  int64_t ended() const { return retired_; }  ///< chunks, since begin()

 private:
  /// A chunk of a stripe, on its way to one of its parity blocks.
  struct Chunk {
    int stripe = 0, to = 0;
    size_t at = 0, bytes = 0;  ///< in a segment
  };
  void start();
  void retire(const Chunk& chunk);
  void gather();
  std::span<std::byte> parity_of(const Chunk& chunk) const;

  Rotation rotation_;
  int node_;  ///< in its group
  size_t segment_bytes_, chunk_bytes_;
  storage::Erasure code_;
  comm::XorReduction reduction_;
  std::vector<std::byte> scratch_;  ///< a chunk for each place
  std::span<const std::byte> part_;
  std::span<std::byte> parity_;
  std::span<uint64_t> hashes_;
  bool under_way_ = false, gathering_ = false;
  Chunk next_;
  std::vector<Chunk> chunks_;          ///< under way, by place
  int64_t started_ = 0, retired_ = 0;  ///< chunks, in order; their places go round
  std::unique_ptr<StreamHash[]> part_hashes_, parity_hashes_;
};

}  // namespace lepton::checkpoint
