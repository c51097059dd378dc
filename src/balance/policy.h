// SPDX-License-Identifier: Apache-2.0
// The policy of stealing (DESIGN section 4.3) as pure functions of state and event: no MPI, clock, thread or
// randomness; times are seconds since the round began, and come with the events. Two actors: each node
// decides when it has something to report (NodePolicy), rank 0 who gives how much to whom (MovePolicy). Both
// reckon with what the other must believe, so that a node on its plan says nothing.
//
// Units go in portions of at most half (rounded up) of what a node has left, each to who then ends first, so
// that several share them; one decision may end with one node giving all that it has left. Invariants: no
// order is given unless the pair ends earlier for it by more than a message is worth, so that units do not go
// back and forth; units move only between nodes of one class.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "balance/protocol.h"
#include "balance/recent.h"

namespace lepton::balance {

/// An imbalance shorter than this is not worth its messages, nor that threads of a late node take single
/// units, which costs short ones a tenth of their speed.
constexpr double worth_s = 1e-3;

/// Nor is one shorter than this part of the time until the node's end: some of it evens out by itself, and as
/// long as units are left it can be mended later, when its size is known better.
constexpr double report_slack = 0.1;

/// What the plan of a round says of a node: the same on all nodes.
struct NodePlan {
  int64_t units = 0;
  int threads = 1;
  int node_class = 0;
  double unit_s = 0;  ///< thread time of a unit, by the node's speed; 0: no node was measured yet
  double end_s = 0;   ///< when its units end
};

/// How far a node has come.
struct Progress {
  int64_t started = 0, done = 0, left = 0;  ///< units; left: not started
  int64_t coming = 0;                       ///< units that it took, whose rows are not here yet
  double busy_s = 0;                        ///< thread time of those done
  int64_t kept = 0;                         ///< of those left, such as it gives to nobody
  bool idle() const { return left == 0 && coming == 0 && started == done; }
};

/// When a node reports: once it will end much before or after what rank 0 believes: by more than a unit, than
/// a message is worth, and than its slack.
class NodePolicy {
 public:
  void begin(const NodePlan& plan);
  /// Looks at the progress: between units and again and again while the node waits.
  std::optional<Report> look(double now_s, const Progress& progress);
  /// It has reported that it will be late.
  bool late() const { return late_; }
  /// What is left of it is over before a message about it would be worth its while.
  bool ends(const Progress& progress) const;
  /// How it stands, asked for or not.
  Report report(double now_s, const Progress& progress);
  /// A message Give was obeyed; units came, runnable or not yet. After either rank 0 expects it to be idle at
  /// `end_s`.
  void gave(double end_s);
  void took(int64_t units, double end_s);

 private:
  void learn(double now_s, const Progress& progress);
  void measure(const Progress& progress);
  double end_s(double now_s, const Progress& progress) const;
  double turns(const Progress& progress) const;
  double tolerance_s(double left_s) const;

  NodePlan plan_;
  double unit_s_ = 0;  ///< the best guess; 0: none
  Recent recent_;      ///< thread time of units
  int64_t measured_ = 0, done_ = 0, gives_seen_ = 0, taken_ = 0;
  double measured_busy_s_ = 0;
  double advanced_s_ = 0;  ///< when a unit was seen to be done, or none to be under way
  std::optional<double> believed_end_s_, idle_since_s_;
  int64_t coming_ = 0;                ///< when it reported last
  std::optional<double> took_end_s_;  ///< of units that came since the last report: the end then expected
  bool late_ = false, reported_ = false, told_ = false;  ///< told: rank 0 knows of this idleness
};

/// What rank 0 orders of a node.
struct Order {
  int from = 0;
  Give give;
};

/// Rank 0's view of all nodes, and its decisions.
class MovePolicy {
 public:
  void begin(std::span<const NodePlan> plans);
  /// A report came.
  void report(int node, const Report& report);
  /// What follows from the reports, as far as it is due by now, into `orders`.
  void decide(double now_s, std::vector<Order>& orders);
  /// When something is due, after a report at once; infinite: nothing before the next report.
  double due_s() const { return due_s_; }

 private:
  struct View {
    NodePlan plan;
    double unit_s = 0, end_s = 0;
    int64_t left = 0;  ///< at left_at_s, orders included
    double left_at_s = 0;
    bool reported = false, gave = false, took = false;
    bool guessed = false;        ///< unit_s is that of others
    bool passed = false;         ///< nothing of it can be moved now
    std::vector<int64_t> gives;  ///< units of each message Give to it
    int64_t ordered_to = 0;      ///< units that others were told to give it
    bool known() const { return unit_s > 0; }
    /// unit_s is what its first unit takes at least, which has not ended yet.
    bool silent() const { return guessed && !reported; }
    double per_unit_s() const { return unit_s / plan.threads; }
    double free_s(double now_s) const { return end_s > now_s ? end_s : now_s; }
  };
  void wait(int node_class, double at_s);
  void match(double now_s, int node_class, std::vector<Order>& orders);
  void guess(double now_s);
  /// Of those who have computed something.
  double mean_unit_s() const;
  /// When all would end if units were fluid.
  double level_s(double now_s, int node_class) const;
  int64_t left(const View& view, double now_s) const;
  int64_t trust(const View& view) const;
  bool alive(const View& view, double now_s) const;
  /// Who ends last and has units for others; who could take one and end first. -1: nobody.
  int most_behind(double now_s, double level_s, int node_class) const;
  int earliest(double now_s, int node_class, int but) const;
  double lead_s(const View& giver, const View& taker) const;
  int64_t units_to_move(const View& giver, const View& taker, double now_s, double level_s) const;

  std::vector<View> views_;
  std::vector<char> undecided_;  ///< classes that have reported, or wait
  double due_s_ = std::numeric_limits<double>::infinity();
};

}  // namespace lepton::balance
