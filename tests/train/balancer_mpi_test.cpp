// SPDX-License-Identifier: Apache-2.0
// Balancers of several nodes on one machine: what a slow node does not get to others do, each unit once, with
// its rows; a message of a later round waits; close() leaves nothing under way; where nothing is to move,
// nobody waits and nothing is sent.
#include "train/balancer.h"

#include <gtest/gtest.h>

#include "balanced.h"
#include "comm/count_messages.h"

namespace lepton::train {
namespace {

using balance::Message;
using balance::Policy;

std::vector<double> even(int nodes) {
  return std::vector<double>(static_cast<size_t>(nodes), nodes > 1 ? 2 : 0.2);
}

/// Rounds with even nodes, then with a slow one that no plan knows of.
void expect_taken_over(BalancedRounds& rounds, int slow) {
  const int nodes = rounds.parts.nodes();
  for (int round = 0; round < 3; ++round) rounds.round(even(nodes));
  std::vector<double> unit_ms = even(nodes);
  unit_ms[static_cast<size_t>(slow)] = nodes > 1 ? 60 : 0.5;
  rounds.round(unit_ms);
  if (!rounds.parts.world.leads()) return;
  int64_t taken = 0, done = 0;
  for (int node = 0; node < nodes; ++node) {
    taken += rounds.total.node_taken(node);
    done += rounds.total.node_units(node);
  }
  EXPECT_EQ(done, balanced_units);
  EXPECT_GT(rounds.total.units_ns(), 0);
  if (nodes == 1) {
    EXPECT_EQ(taken, 0);
    return;
  }
  EXPECT_GT(taken, 0) << "node " << slow << " of " << nodes << " is slow";
  EXPECT_LT(rounds.total.node_units(slow), rounds.planned[static_cast<size_t>(slow)]);
}

/// What rank 0 notes of these rounds adds up.
void expect_recorded(BalancedRounds& rounds, int64_t training_rounds) {
  if (rounds.parts.world.rank() != 0) return;
  const WorkRecord& record = rounds.balancer->record();
  EXPECT_EQ(record.rounds(), training_rounds);
  report::NodeWork sum;
  for (const report::NodeWork& node : record.totals()) {
    EXPECT_EQ(node.done, node.planned + node.taken - node.given);
    EXPECT_GE(node.given, 0);
    EXPECT_GT(node.busy_s, 0);
    EXPECT_GT(node.units_per_s, 0);
    sum.planned += node.planned;
    sum.done += node.done;
    sum.taken += node.taken;
    sum.given += node.given;
  }
  EXPECT_EQ(sum.planned, training_rounds * balanced_units);
  EXPECT_EQ(sum.done, sum.planned);
  EXPECT_EQ(sum.taken, sum.given);
}

TEST(Balancer, ASlowNodesUnitsAreTakenByOthersEachOnce) {
  const SmallRuns runs;
  for (const int ranks_per_node : {1, 2, 1000})
    for (const bool last : {false, true}) {
      BalancedRounds rounds(runs, ranks_per_node, Policy::steal);
      expect_taken_over(rounds, last ? rounds.parts.nodes() - 1 : 0);
      expect_recorded(rounds, 4);
    }
}

TEST(Balancer, RowsFollowToOtherMachinesOnly) {
  const SmallRuns runs;
  for (const bool alone : {false, true}) {  // nodes on a machine of their own each, or all on one
    BalancedRounds rounds(runs, alone ? 1000 : 1, Policy::steal, alone);
    ASSERT_EQ(rounds.parts.nodes(), runs.world().size());
    std::vector<int64_t> sent = {
        comm::sent_in(comm::Channel::lent, [&] { expect_taken_over(rounds, 0); }).messages};
    runs.world().all_sum(sent);
    EXPECT_EQ(sent[0] > 0, !alone && rounds.parts.nodes() > 1);
  }
}

TEST(Balancer, PlansByWhatItLearned) {
  const SmallRuns runs;
  for (const Policy policy : {Policy::static_, Policy::proportional, Policy::steal}) {
    BalancedRounds rounds(runs, 1, policy);
    std::vector<double> unit_ms = even(rounds.parts.nodes());
    unit_ms[0] *= 5;
    for (int round = 0; round < 4; ++round) rounds.round(unit_ms);
    if (rounds.parts.nodes() == 1) continue;
    const int64_t share = balanced_units / rounds.parts.nodes();
    EXPECT_EQ(rounds.planned[0] < share, policy != Policy::static_);
    for (int node = 0; node < rounds.parts.nodes(); ++node) {
      EXPECT_TRUE(policy == Policy::steal || rounds.total.node_taken(node) == 0);
    }
    if (!rounds.parts.world.leads()) continue;
    const auto evaluation = rounds.balancer->plan(9, exact::RoundKind::test, 0, balanced_units);
    EXPECT_EQ(std::ranges::count(evaluation, 0),
              (balanced_units + rounds.parts.nodes() - 1) / rounds.parts.nodes());
  }
}

TEST(Balancer, WhereNothingMovesNobodyWaitsAndNothingIsSent) {
  const SmallRuns runs;
  for (const Policy policy : {Policy::static_, Policy::proportional}) {
    Balanced parts(runs, 1, policy);
    Balancer balancer = parts.make_balancer();
    const comm::Sent sent = comm::sent_in(comm::Channel::control, [&] {
      for (int turn = 0; turn < parts.nodes(); ++turn) {  // one node after the other does its round
        if (turn == parts.world.node()) {
          balancer.plan(1, exact::RoundKind::train, 0, balanced_units);
          balancer.begin(Balanced::header_of(1));
          balance::UnitQueue queue = parts.job.node.queue();
          EXPECT_TRUE(queue.closed());
          while (!queue.take().empty()) {
            queue.count_done(1, 1000);
            balancer.poll();
          }
          balancer.poll();
          EXPECT_TRUE(queue.closed());
        }
        parts.world.barrier();
      }
    });
    EXPECT_EQ(sent.messages, 0);
    balancer.close();
  }
}

TEST(Balancer, WithStealingNobodyLeavesBeforeAllAreStarted) {
  const SmallRuns runs;
  Balanced parts(runs, 1, Policy::steal);
  Balancer balancer = parts.make_balancer();
  balancer.plan(1, exact::RoundKind::train, 0, balanced_units);
  balancer.begin(Balanced::header_of(1));
  balance::UnitQueue queue = parts.job.node.queue();
  const bool alone = parts.nodes() == 1, late = parts.world.node() == 0;
  EXPECT_EQ(queue.closed(), alone);
  if (!late) queue.take(balanced_units);
  const double began_s = now_s();
  while (now_s() - began_s < 0.1) balancer.poll();  // started and not done: nobody asks for more
  EXPECT_EQ(queue.closed(), alone);
  parts.world.barrier();
  if (late) queue.take(balanced_units);
  while (!queue.closed() && now_s() - began_s < 30) balancer.poll();
  EXPECT_TRUE(queue.closed());
  parts.world.barrier();
  balancer.close();
}

/// A leader without a balancer, that says what the test wants said.
struct Puppet {
  explicit Puppet(const comm::World& world) : mailbox(world), barrier(world) {}
  void meet() {
    barrier.enter();
    barrier.wait("puppets");
  }
  comm::Mailbox mailbox;
  comm::LeaderBarrier barrier;
};

balance::Stamp stamp_of(int64_t round) {
  return {round, 0, round, 1};
}

/// Node 0's part: round 1 while an offer of round 2 is already there, and round 2 with the unit that it
/// offers.
void begin_late(Balanced& parts, int32_t offered) {
  Balancer balancer = parts.make_balancer();
  balance::UnitQueue queue = parts.job.node.queue();
  std::vector<int> seen(balanced_units, 0);
  for (int64_t round = 1; round <= 2; ++round) {
    parts.fetch(round, balancer.plan(round, exact::RoundKind::train, round, balanced_units));
    balancer.begin(Balanced::header_of(round));
    const double began_s = now_s();
    while (!queue.closed() && now_s() - began_s < 20) {
      parts.job.exchange.progress();
      balancer.poll();
      for (const int32_t unit : queue.take()) {
        seen[static_cast<size_t>(unit)] += static_cast<int>(round);
        queue.count_done(1, 1000);
      }
    }
    EXPECT_TRUE(queue.closed());
    if (round == 1) {
      EXPECT_EQ(seen[static_cast<size_t>(offered)], 0);
    }
    balancer.units_ended();
    exact::Lanes lanes(1, parts.nodes(), 0, 0);
    balancer.vote(lanes);
    EXPECT_EQ(lanes.node_taken(0), round - 1);
    parts.job.exchange.end(round);
  }
  EXPECT_EQ(seen[static_cast<size_t>(offered)], 2);
  for (const int32_t unit : {0, 1}) EXPECT_EQ(seen[static_cast<size_t>(unit)], 3);  // its own, in both rounds
  balancer.close();
}

/// The others' part. Node 1 offers, and answers for the unit until it is started.
void offer_early(Balanced& parts, int32_t offered) {
  balance::Planner planner(parts.policy, parts.job.threads_per_node, parts.job.classes.of_node,
                           parts.job.classes.shares);
  Puppet puppet(parts.world);
  const bool offers = parts.world.node() == 1;
  balance::RoundPlan plan;
  for (int64_t round = 1; round <= 2; ++round) {
    planner.plan(balance::Purpose::train, round, balanced_units, plan);
    std::vector<int> unit_node(balanced_units);
    for (size_t node = 0; node < plan.ranges.size(); ++node)
      for (int64_t u = plan.ranges[node].begin; u < plan.ranges[node].end; ++u)
        unit_node[static_cast<size_t>(u)] = static_cast<int>(node);
    parts.fetch(round, unit_node);
    if (round == 1 && offers) {
      puppet.mailbox.send(0, encode(Message{stamp_of(2), balance::Offer{0, {offered}, 0}}));
      sleep_ms(100);  // node 0 looks at it in its first round
    }
    if (round == 2 && offers) {
      puppet.mailbox.send(0, encode(Message{stamp_of(1), balance::Report{}}));  // nobody cares any more
      const std::vector<int32_t> units = {offered};
      parts.job.exchange.lending().lend(2, 0, 0, units);
      std::optional<Message> started;
      for (const double began_s = now_s(); !started && now_s() - began_s < 20;) {
        parts.job.exchange.progress();
        while (const auto letter = puppet.mailbox.receive()) {
          const Message message = balance::decode(letter->bytes);
          if (std::holds_alternative<balance::Started>(message.body)) started = message;
        }
      }
      ASSERT_TRUE(started);
      EXPECT_EQ(started->stamp, stamp_of(2));
      EXPECT_EQ(std::get<balance::Started>(started->body).number, 0);
    }
    puppet.meet();
    parts.job.exchange.end(round);
  }
  puppet.mailbox.drain();
}

TEST(Balancer, AMessageOfALaterRoundWaits) {
  const SmallRuns runs;
  Balanced parts(runs, 1, Policy::steal);
  if (parts.nodes() > 1) {
    const auto offered = static_cast<int32_t>((balanced_units + parts.nodes() - 1) / parts.nodes());
    parts.world.node() == 0 ? begin_late(parts, offered) : offer_early(parts, offered);
  }
  parts.world.barrier();
}

/// Takes what rank 0 gives it, and says at once that all of it is started.
void take_as_puppet(Balanced& parts) {
  Puppet puppet(parts.world);
  if (parts.world.node() == 1) {
    puppet.mailbox.send(0, encode(Message{stamp_of(1), balance::Report{0.01, 0, 0.01, 0.01, 0, 0, {}}}));
    bool asked = false;
    for (const double began_s = now_s(); !asked && now_s() - began_s < 20;)
      while (const auto letter = puppet.mailbox.receive()) {
        const Message message = balance::decode(letter->bytes);
        const auto& offer = std::get<balance::Offer>(message.body);
        EXPECT_FALSE(offer.units.empty());
        puppet.mailbox.send(0, encode(Message{stamp_of(1), balance::Started{offer.number}}));
        asked = true;
      }
    EXPECT_TRUE(asked);
  }
  puppet.meet();
  puppet.mailbox.drain();
}

TEST(Balancer, RankZeroHearsItselfAtOnce) {
  const SmallRuns runs;
  Balanced parts(runs, 1000, Policy::steal, true);  // one machine: no rows are sent
  if (parts.nodes() > 1 && parts.world.node() > 0) take_as_puppet(parts);
  if (parts.nodes() > 1 && parts.world.node() == 0) {
    Balancer balancer = parts.make_balancer();
    parts.fetch(1, balancer.plan(1, exact::RoundKind::train, 0, balanced_units));
    balancer.begin(Balanced::header_of(1));
    balance::UnitQueue queue = parts.job.node.queue();
    sleep_ms(50);  // node 1 has reported
    queue.take();
    queue.count_done(1, 10'000'000);
    const int64_t left = queue.left();
    balancer.poll();
    EXPECT_LT(queue.left(), left);  // its own report, the order and the offer: all in one look
    for (const double began_s = now_s(); !queue.closed() && now_s() - began_s < 20; balancer.poll())
      queue.take(balanced_units);
    EXPECT_TRUE(queue.closed());
    balancer.close();
    parts.job.exchange.end(1);
  }
  parts.world.barrier();
}

TEST(Balancer, UnitsOfARoundThatIsOverAreABug) {
  const SmallRuns runs;
  Balanced parts(runs, 1, Policy::steal);
  if (parts.nodes() > 1 && parts.world.node() == 1) {
    Puppet puppet(parts.world);
    puppet.mailbox.send(0, encode(Message{stamp_of(1), balance::Offer{0, {59}, 0}}));
    puppet.mailbox.drain();
  } else if (parts.nodes() > 1 && parts.world.node() == 0) {
    Balancer balancer = parts.make_balancer();
    balancer.plan(2, exact::RoundKind::train, 1, balanced_units);
    balancer.begin(Balanced::header_of(2));
    Exit code = Exit::done;
    for (const double began_s = now_s(); code == Exit::done && now_s() - began_s < 20;) try {
        balancer.poll();
      } catch (const Error& error) {
        code = error.code();
      }
    EXPECT_EQ(code, Exit::software);
    balancer.close();
  } else {
    comm::Mailbox(parts.world).drain();
  }
  parts.world.barrier();
}

TEST(Balancer, CloseLeavesNothingUnderWay) {
  const SmallRuns runs;
  Balanced parts(runs, 1, Policy::steal);
  for (int turn = 0; turn < 2; ++turn) {
    if (parts.world.node() != 0) {
      Puppet puppet(parts.world);
      for (int64_t round = 1; round < 5; ++round)
        puppet.mailbox.send(0, encode(Message{stamp_of(round), balance::Report{}}));
      puppet.mailbox.drain();
      EXPECT_FALSE(puppet.mailbox.receive());
    } else {
      Balancer balancer = parts.make_balancer();
      balancer.close();  // however much was sent that nobody will read
    }
    parts.world.barrier();
  }
  comm::Mailbox next(parts.world);  // and whoever comes next finds nothing
  for (const double began_s = now_s(); now_s() - began_s < 0.05;) EXPECT_FALSE(next.receive());
  next.drain();
}

TEST(Balancer, WarnsOfACoarseGrainOnceSpeedsAreKnown) {
  const SmallRuns runs;
  BalancedRounds rounds(runs, 1, Policy::steal);
  const int nodes = rounds.parts.nodes();
  const int64_t coarse = 2 * (nodes + 1);  // a unit more than there are threads
  if (rounds.balancer) {
    EXPECT_EQ(rounds.balancer->grain_warning(coarse, 2), "");
  }
  rounds.round(even(nodes));
  if (!rounds.balancer) return;
  EXPECT_EQ(rounds.balancer->grain_warning(coarse, 2).empty(), nodes == 1);
  EXPECT_EQ(rounds.balancer->grain_warning(200 * nodes, 1), "");
}

}  // namespace
}  // namespace lepton::train
