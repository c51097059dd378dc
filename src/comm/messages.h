// SPDX-License-Identifier: Apache-2.0
// Point-to-point messages between node leaders, nonblocking: rows pushed ahead of use, rows that follow units
// to other nodes (data), parts of shards (checkpoint). Main thread only. A batch of sends and receives is
// posted, progressed by test(), and complete when all are. Buffers must live until then. pack.h packs
// structured messages. Invariant: between two nodes the messages of one channel and round match in the order
// in which they were posted.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/waiting.h"
#include "comm/world.h"

namespace lepton::comm {

enum class Channel : int { lent = 0, rows = 1, shards = 2, control = 3 };
constexpr int channels = 4;  ///< a tag is its channel and, times this, its round (lent: its number)

class MessageBatch {
 public:
  /// `round` enters the tag, modulo 8,192. Spans longer than `piece_bytes` are split, on both sides alike.
  MessageBatch(const World& world, Channel channel, int64_t round, size_t piece_bytes = size_t{64} << 20);
  ~MessageBatch();  ///< CHECKs that nothing is outstanding, unless an exception is under way or the deadline
                    ///< passed
  MessageBatch(MessageBatch&&) noexcept;
  /// Makes a complete batch anew, for another round; nothing is allocated up to the number of pieces it had.
  void restart(int64_t round);

  void send(int node, std::span<const std::byte> bytes);  ///< to the leader of `node`, also to oneself
  void receive(int node, std::span<std::byte> bytes);     ///< sizes must match the sender's, else Error(io)
  bool test();                                            ///< progresses; true when all are complete
  /// Until complete. DeadlineError names the nodes that are silent.
  void wait(const Poll& poll = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lepton::comm
