// SPDX-License-Identifier: Apache-2.0
// Which class of nodes computes which units, where a job has several (DESIGN section 1.10): a pure function
// of the shares, the round's number in its kind and the units, so that bits depend on the shares and not on
// which ranks came. Invariant: over any rounds of equal length that follow each other each class gets what
// its share asks for, to within one unit per class. Called by train on leaders, once per round.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lepton::balance {

class ClassShares {
 public:
  /// Of every sum(shares) units class c computes shares[c] > 0. One class: it computes all.
  explicit ClassShares(std::span<const int64_t> shares);
  /// Class c computes units [begins[c], begins[c + 1]) of round `number`: classes + 1 entries, written
  /// without allocation once `begins` has its size.
  void cut(int64_t number, int64_t units, std::vector<int64_t>& begins) const;

 private:
  /// Units of class c among the first `count` of an endless sequence that repeats the shares, evenly mixed.
  int64_t among_first(int64_t count, size_t c) const;

  std::vector<int64_t> shares_;
  int64_t period_ = 0;
  std::vector<int64_t> before_;  ///< [place * classes + c]: units of class c before a place in the period
};

}  // namespace lepton::balance
