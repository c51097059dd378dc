// SPDX-License-Identifier: Apache-2.0
// Messages between leaders: random sizes to everybody at once, splitting, reuse of a batch, wrong sizes,
// deadlines.
#include "comm/messages.h"

#include <gtest/gtest.h>

#include "base/waiting.h"
#include "comm/worlds.h"

namespace lepton::comm {
namespace {

std::vector<std::byte> message(int from, int to, int64_t round, Random& sizes, int64_t bytes_max) {
  const auto length = static_cast<size_t>(sizes.below(bytes_max));
  std::vector<std::byte> bytes(length);
  for (size_t i = 0; i < length; ++i)
    bytes[i] = static_cast<std::byte>(mix64(i * 49 + static_cast<uint64_t>(from * 7 + to)) +
                                      static_cast<uint64_t>(round));
  return bytes;
}

/// Everybody sends everybody (also itself) two messages of random length; `batch` is for that round.
void all_to_all(const World& world, MessageBatch& batch, int64_t round, int64_t bytes_max) {
  std::vector<std::vector<std::byte>> outgoing, incoming, expected;
  Random sizes(static_cast<uint64_t>(round));  // the same on all ranks
  for (int from = 0; from < world.nodes(); ++from)
    for (int to = 0; to < world.nodes(); ++to)
      for (int part = 0; part < 2; ++part) {
        std::vector<std::byte> bytes = message(from, to, round + part, sizes, bytes_max);
        if (to == world.node()) {
          incoming.emplace_back(bytes.size());
          expected.push_back(bytes);
        }
        if (from == world.node()) outgoing.push_back(std::move(bytes));
      }
  for (size_t i = 0; i < incoming.size(); ++i) batch.receive(static_cast<int>(i / 2), incoming[i]);
  for (size_t i = 0; i < outgoing.size(); ++i) batch.send(static_cast<int>(i / 2), outgoing[i]);
  int polls = 0;
  batch.wait([&] { ++polls; });
  EXPECT_TRUE(batch.test());
  for (size_t i = 0; i < incoming.size(); ++i) EXPECT_EQ(incoming[i], expected[i]);
}

TEST(Messages, ArriveWholeAtAnySizeAndSplit) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    for (const size_t piece_bytes : {size_t{100}, size_t{4096}, size_t{64} << 20}) {
      MessageBatch batch(world, Channel::rows, 8190, piece_bytes);
      for (int64_t round = 8190; round < 8196; ++round) {  // the tag wraps around here
        batch.restart(round);
        all_to_all(world, batch, round, round == 8195 ? 100'000 : 2000);
      }
    }
  });
}

TEST(Messages, ChannelsAndRoundsDoNotMix) {
  const World world(60, 1);
  const int next = (world.node() + 1) % world.nodes(),
            previous = (world.node() + world.nodes() - 1) % world.nodes();
  int64_t got[4] = {}, sent[4] = {1, 2, 3, 4};
  MessageBatch rows(world, Channel::rows, 1), shards(world, Channel::shards, 1),
      later(world, Channel::rows, 2), lent(world, Channel::lent, 1);
  const auto bytes = [](int64_t& word) { return std::as_writable_bytes(std::span(&word, 1)); };
  lent.receive(previous, bytes(got[3]));  // posted against the order of the sends
  later.receive(previous, bytes(got[2]));
  shards.receive(previous, bytes(got[1]));
  rows.receive(previous, bytes(got[0]));
  rows.send(next, bytes(sent[0]));
  shards.send(next, bytes(sent[1]));
  later.send(next, bytes(sent[2]));
  lent.send(next, bytes(sent[3]));
  lent.wait();
  later.wait();
  shards.wait();
  rows.wait();
  EXPECT_EQ(got[0] * 1000 + got[1] * 100 + got[2] * 10 + got[3], 1234);
}

TEST(Messages, AnotherSizeIsAnError) {
  const World world(60, 1);
  if (world.size() == 1) GTEST_SKIP();
  std::vector<std::byte> bytes(64);
  if (world.rank() == 0) {
    MessageBatch batch(world, Channel::rows, 1);
    batch.send(1, std::span(bytes).first(16));
    batch.wait();
  } else if (world.rank() == 1) {
    MessageBatch batch(world, Channel::rows, 1);
    batch.receive(0, bytes);
    EXPECT_THROW(batch.wait(), Error);
    EXPECT_TRUE(batch.test());
  }
}

TEST(Messages, ADeadlineNamesTheSilentRank) {
  const World world(0.3, 1), patient(60, 1);
  if (world.size() == 1) GTEST_SKIP();
  if (world.rank() == 0) {
    std::vector<std::byte> bytes(64);
    MessageBatch batch(world, Channel::rows, 1);
    batch.receive(1, bytes);
    EXPECT_FALSE(batch.test());
    try {
      batch.wait();
      ADD_FAILURE() << "a message that nobody sent";
    } catch (const DeadlineError& error) {
      EXPECT_NE(error.problem().find("rank 0 and rank 1"), std::string::npos) << error.problem();
    }
  }
  patient.barrier();
}

}  // namespace
}  // namespace lepton::comm
