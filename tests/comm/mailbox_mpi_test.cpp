// SPDX-License-Identifier: Apache-2.0
// Letters between leaders: all of them, whole and in order, whoever is busy; nothing allocated and two looks
// when there are none; what drain() discards, whom its deadlines name, and what becomes of letters under way
// when their mailbox goes with an exception.
#include "comm/mailbox.h"

#include <gtest/gtest.h>
#include <mpi.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "allocations.h"
#include "base/clock.h"
#include "base/waiting.h"
#include "comm/shared_memory.h"
#include "comm/waits.h"
#include "comm/worlds.h"

// MPI's profiling interface: counts what a mailbox asks of MPI, and loses messages when told to.
namespace {
int64_t sends = 0, probes = 0;
bool losing = false;
}  // namespace
extern "C" int MPI_Isend(const void* bytes, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
                         MPI_Request* request) {
  ++sends;
  *request = MPI_REQUEST_NULL;
  return losing ? MPI_SUCCESS : PMPI_Isend(bytes, count, type, to, tag, comm, request);
}
extern "C" int MPI_Improbe(int source, int tag, MPI_Comm comm, int* there, MPI_Message* message,
                           MPI_Status* status) {
  ++probes;
  return PMPI_Improbe(source, tag, comm, there, message, status);
}

namespace lepton::comm {
namespace {

constexpr size_t large = 1'000'000;

/// The bytes of letter `index` between two nodes: their number first, where there is room.
std::string letter_text(int from, int to, int64_t index, size_t length) {
  std::string text(length, '\0');
  const uint64_t name = mix64(static_cast<uint64_t>(index) * 4096 + static_cast<uint64_t>(from * 64 + to));
  for (size_t i = 0; i < length; ++i) text[i] = static_cast<char>((name >> (i % 8 * 8)) + i / 8);
  return text;
}

size_t letter_length(int64_t index) {
  constexpr size_t lengths[] = {0, 1, 8, 15, 16, 100, 4000, 5000, 70'000};
  return index % 100 == 50 ? large : lengths[static_cast<size_t>(index) % std::size(lengths)];
}

/// Everybody sends everybody (also itself) `count` letters, receiving meanwhile.
void all_to_all(const World& world, Mailbox& mailbox, int64_t count, size_t length_of(int64_t)) {
  std::vector<int64_t> next(static_cast<size_t>(world.nodes()), 0);
  int64_t left = count * world.nodes(), sent = 0;
  Pace pace;
  while (left > 0) {
    if (sent < count) {
      for (int to = 0; to < world.nodes(); ++to)
        mailbox.send(to, letter_text(world.node(), to, sent, length_of(sent)));
      ++sent;
    }
    while (const std::optional<Letter> letter = mailbox.receive()) {
      const int64_t index = next[letter->from]++;
      ASSERT_EQ(letter->bytes.size(), length_of(index)) << "letter " << index << " from " << letter->from;
      ASSERT_TRUE(letter->bytes == letter_text(letter->from, world.node(), index, length_of(index)));
      --left;
      pace.restart();
    }
    if (sent == count) pace.step();
    ASSERT_LT(pace.waited_s(), 60) << left << " letters did not come";
  }
  for (const int64_t received : next) EXPECT_EQ(received, count);
}

TEST(Mailbox, LettersOfAnySizeComeInOrder) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    Mailbox mailbox(world);
    all_to_all(world, mailbox, 120, letter_length);
    mailbox.drain();
    EXPECT_EQ(mailbox.sent(), 120 * world.nodes());
    EXPECT_EQ(mailbox.received(), 120 * world.nodes());
  });
}

TEST(Mailbox, ThousandsOfLettersCome) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    Mailbox mailbox(world);
    all_to_all(world, mailbox, 1500, [](int64_t index) { return static_cast<size_t>(index % 40); });
    mailbox.drain();
  });
}

TEST(Mailbox, OneNodeNeedsNoMpi) {
  const World world(60, 1000);
  if (!world.leads()) return;
  sends = probes = 0;
  Mailbox mailbox(world);
  mailbox.send(0, "a");
  mailbox.send(0, "");
  EXPECT_EQ(next_letter(mailbox).bytes, "a");
  EXPECT_EQ(next_letter(mailbox).bytes, "");
  EXPECT_FALSE(mailbox.receive());
  mailbox.send(0, "discarded");
  mailbox.drain();
  EXPECT_FALSE(mailbox.receive());
  EXPECT_EQ(mailbox.received(), 3);
  EXPECT_EQ(sends + probes, 0);
}

TEST(Mailbox, AnIdleLookIsTwoProbesWithoutMemory) {
  SKIP_WHERE_NOTHING_IS_COUNTED();
  const World world(60, 1);
  Mailbox mailbox(world);
  probes = 0;
  bool any = false;
  EXPECT_EQ(allocations_of([&] {
              for (int i = 0; i < 1000; ++i) any |= mailbox.receive().has_value();
            }),
            0);
  EXPECT_FALSE(any);
  EXPECT_EQ(probes, world.nodes() > 1 ? 2000 : 0);
  world.barrier();
  EXPECT_GT(allocations_of([&] { mailbox.send(0, "x"); }), 0);  // it counts
  mailbox.drain();
}

/// Whoever computes for long looks once between two units: what came meanwhile must not wait for the next
/// look.
/// That a letter is on its way is told by a file: node 0 calls nothing of MPI, however long that takes.
TEST(Mailbox, TheFirstLookFindsWhatCameWhileNobodyLooked) {
  const World world(60, 1);
  Mailbox mailbox(world);
  std::string sent = testing::TempDir() + "lepton-letter-" + std::to_string(getpid());
  world.broadcast(sent);
  for (int turn = 0; turn < 5 && world.nodes() > 1; ++turn) {
    const std::string file = sent + "-" + std::to_string(turn);
    if (world.node() == 1) {
      sleep_s(0.005);  // node 0 has left the barrier
      mailbox.send(0, "x");
      for (int i = 0; i < 100; ++i) mailbox.receive();
      std::ofstream(file) << turn;
    }
    while (!std::filesystem::exists(file))
      if (world.node() == 0)
        sleep_s(0.001);
      else
        mailbox.receive();
    if (world.node() == 0) {
      EXPECT_TRUE(mailbox.receive().has_value());
    }
    world.barrier();
    if (world.node() == 0) std::filesystem::remove(file);
  }
  mailbox.drain();
}

TEST(Mailbox, OneselfAndTheOthersTakeTurns) {
  const World world(60, 1);
  Mailbox mailbox(world);
  if (world.rank() != 0) mailbox.send(0, "other");
  if (world.rank() == 0) {
    int others = 0;
    mailbox.send(0, "own");
    for (int own = 0; others + 1 < world.nodes(); ++own) {  // one letter to oneself is always there
      ASSERT_LT(own, 10'000'000);
      if (next_letter(mailbox).bytes == "own")
        mailbox.send(0, "own");
      else
        ++others;
    }
  }
  mailbox.drain();
}

/// Rank 1 sends a letter that does not go at once and then stays away from MPI until rank 0 has another's.
TEST(Mailbox, ABusySenderKeepsNobodyElseBack) {
  const World host(60, 1000), world(60, 1);
  if (world.size() < 3) GTEST_SKIP() << "needs a third";
  const SharedMemory memory(host, "/dev/shm", "busy", sizeof(std::atomic<int>));
  auto& came = *reinterpret_cast<std::atomic<int>*>(memory.data());
  Mailbox mailbox(world);
  if (world.rank() == 1) {
    mailbox.send(0, std::string(large, 'l'));
    mailbox.send(0, "second");
    mailbox.send(2, "go");
    for (const double begin_s = now_s(); !came && now_s() - begin_s < 10;)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(came);
  } else if (world.rank() == 2) {
    EXPECT_EQ(next_letter(mailbox).bytes, "go");
    mailbox.send(0, "small");
  } else if (world.rank() == 0) {
    const Letter first = next_letter(mailbox);
    came = 1;
    EXPECT_EQ(first.from, 2);
    EXPECT_EQ(first.bytes, "small");
  }
  host.barrier();
  if (world.rank() == 1) mailbox.receive();
  if (world.rank() == 0) {
    const Letter whole = next_letter(mailbox), second = next_letter(mailbox);
    EXPECT_EQ(whole.from, 1);
    EXPECT_TRUE(whole.bytes == std::string(large, 'l'));
    EXPECT_EQ(second.bytes, "second");
  }
  mailbox.drain();
}

/// Letters sent after a drain, in this mailbox and in the next, come while others still drain: not one may be
/// taken.
TEST(Mailbox, DrainDiscardsWhatIsLeftAndNothingElse) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    const int nodes = world.nodes(), node = world.node();
    for (int round = 0; round < 30; ++round) {
      Mailbox mailbox(world);
      for (int part = 0; part < 2; ++part) {
        const int64_t before = mailbox.received();
        Random random(static_cast<uint64_t>(round * 2 + part));  // the same on all ranks
        int64_t sent_here = 0;
        for (int from = 0; from < nodes; ++from)
          for (int to = 0; to < nodes; ++to) {
            const int64_t count = random.below(6);
            if (to == node) sent_here += count;
            for (int64_t i = 0; from == node && i < count; ++i)
              mailbox.send(to, std::string(i == 3 ? 100'000 : 10, 'o'));
          }
        for (int64_t received = 0; received < sent_here / 3; ++received)
          EXPECT_EQ(next_letter(mailbox).bytes[0], 'o');
        mailbox.drain();
        EXPECT_EQ(mailbox.received() - before, sent_here);
        for (int to = 0; to < nodes; ++to) mailbox.send(to, "new");
        for (int from = 0; from < nodes; ++from) ASSERT_EQ(next_letter(mailbox).bytes, "new");
        mailbox.drain();  // nobody sends the next part's before all have the new ones
      }
    }
  });
}

TEST(Mailbox, DrainNamesTheLeaderWhoDoesNotCome) {
  const World world(0.6, 1), patient(60, 1);
  if (world.size() == 1) GTEST_SKIP() << "nobody can be missing";
  const int missing = world.size() - 1;
  Mailbox mailbox(world);
  if (world.rank() != missing) {
    try {
      mailbox.drain();
      ADD_FAILURE() << "drained without rank " << missing;
    } catch (const DeadlineError& error) {
      const std::string expected = "; rank " + std::to_string(missing) + " did not come";
      EXPECT_NE(error.problem().find(expected), std::string::npos) << error.problem();
    }
  }
  patient.barrier();
  if (world.rank() == missing) mailbox.drain();  // what the others began, so that MPI can end
  patient.barrier();
}

TEST(Mailbox, DrainNamesWhoseLettersAreMissing) {
  const World world(0.3, 1), patient(60, 1);
  if (world.size() == 1) GTEST_SKIP();
  const int loser = world.size() - 1;
  Mailbox mailbox(world);
  losing = world.rank() == loser;
  if (losing)
    for (int i = 0; i < 2; ++i) mailbox.send(0, "lost");
  losing = false;
  patient.barrier();
  if (world.rank() == 0) {
    try {
      mailbox.drain();
      ADD_FAILURE() << "drained without two letters";
    } catch (const DeadlineError& error) {
      const std::string expected = "; messages under way: 2 from rank " + std::to_string(loser);
      EXPECT_TRUE(error.problem().ends_with(expected)) << error.problem();
    }
    EXPECT_THROW(mailbox.send(0, "after a failure"), Error);
  } else {
    mailbox.drain();
  }
  patient.barrier();
}

TEST(Mailbox, LettersUnderWayOutliveAnException) {
  const World world(60, 1);
  if (world.size() == 1) GTEST_SKIP();
  if (world.rank() == 0) {
    EXPECT_THROW(
        {
          Mailbox mailbox(world);
          mailbox.send(1, letter_text(0, 1, 0, large));
          fail(Exit::io, "x", "y", "");
        },
        Error);
    const std::string other(large, 'o');  // where the letter would have been
    world.barrier();
    EXPECT_EQ(other.find_first_not_of('o'), std::string::npos);
  } else {
    Mailbox mailbox(world);
    if (world.rank() == 1) {
      EXPECT_TRUE(next_letter(mailbox).bytes == letter_text(0, 1, 0, large));
    }
    world.barrier();
  }
}

TEST(Mailbox, LettersUnderWayWithoutAnExceptionAreABug) {
  const World world(60, 1);
  if (world.size() == 1) GTEST_SKIP();
  auto mailbox = std::make_unique<Mailbox>(world);
  mailbox->send((world.node() + 1) % world.nodes(), std::string(large, 'x'));
  if (world.rank() == 0) {
    EXPECT_DEATH(mailbox.reset(), "messages under way");
  }
  mailbox->drain();
  EXPECT_THROW(mailbox->send(world.nodes(), ""), Error);
  EXPECT_THROW(mailbox->send(-1, ""), Error);
}

}  // namespace
}  // namespace lepton::comm
