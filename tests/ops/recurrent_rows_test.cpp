// SPDX-License-Identifier: Apache-2.0
// Rows of recurrent cells: each element by itself gives what it gives in its row, whatever the width of
// vectors; rows that are over get 0 and leave the others alone. (That the formulas are right, recurrent_test
// shows.)
#include "ops/recurrent_rows.h"

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using testing::Floats;
using testing::random_floats;

constexpr int64_t rows = 3;

/// All arrays of a step; `of_unit` cuts one unit of one row out of it.
struct Memory {
  explicit Memory(int64_t units_of_row, int64_t rows_of_step = rows)
      : units(units_of_row),
        gates(random_floats(rows_of_step * 4 * units, 1, 0, 1)),
        before(random_floats(rows_of_step * units, 2)),
        state(random_floats(rows_of_step * units, 3)),
        cell_before(random_floats(rows_of_step * units, 4)),
        cell(random_floats(rows_of_step * units, 5)),
        kept(random_floats(rows_of_step * units, 6)),
        bias(random_floats(units, 7)),
        sums(random_floats(rows_of_step * 4 * units, 8)),
        dstate(random_floats(rows_of_step * units, 9)),
        dcell(random_floats(rows_of_step * units, 10)),
        step_rows(rows_of_step) {}

  RecurrentStep step() {
    return {.rows = step_rows,
            .units = units,
            .lengths = lengths.empty() ? nullptr : lengths.data(),
            .step = 2,
            .gates = gates.data(),
            .before = before.data(),
            .state = state.data(),
            .cell_before = cell_before.data(),
            .cell = cell.data(),
            .kept = kept.data(),
            .bias = bias.data()};
  }

  static Floats part(const Floats& from, int64_t gate_count, int64_t row, int64_t width, int64_t unit) {
    Floats values;
    for (int64_t g = 0; g < gate_count; ++g)
      values.push_back(from[static_cast<size_t>((row * gate_count + g) * width + unit)]);
    return values;
  }
  /// `gate_count` of the arrays of gates and `sum_count` of the sums, which lie so many to a row.
  Memory of_unit(int64_t row, int64_t unit, int64_t gate_count, int64_t sum_count) const {
    Memory one(1, 1);
    one.gates = part(gates, gate_count, row, units, unit);
    one.sums = part(sums, sum_count, row, units, unit);
    for (const auto array : {&Memory::before, &Memory::state, &Memory::cell_before, &Memory::cell,
                             &Memory::kept, &Memory::dstate, &Memory::dcell})
      one.*array = part(this->*array, 1, row, units, unit);
    one.bias = {bias[static_cast<size_t>(unit)]};
    return one;
  }

  int64_t units;
  Floats gates, before, state, cell_before, cell, kept, bias, sums, dstate, dcell;
  std::vector<int64_t> lengths;
  int64_t step_rows;
};

struct Loop {
  const char* name;
  int64_t gate_count, sum_count;
  void (*run)(Memory&);
};

const Loop loops[] = {
    {"rnn tanh", 1, 1, [](Memory& m) { rnn_forward(m.step(), false, m.sums.data()); }},
    {"rnn relu", 1, 1, [](Memory& m) { rnn_forward(m.step(), true, m.sums.data()); }},
    {"rnn tanh back", 1, 1, [](Memory& m) { rnn_backward(m.step(), false, m.dstate.data()); }},
    {"rnn relu back", 1, 1, [](Memory& m) { rnn_backward(m.step(), true, m.dstate.data()); }},
    {"lstm", 4, 4, [](Memory& m) { lstm_forward(m.step(), m.sums.data()); }},
    {"lstm back", 4, 4, [](Memory& m) { lstm_backward(m.step(), m.dstate.data(), m.dcell.data()); }},
    {"gru", 3, 3, [](Memory& m) { gru_forward(m.step(), m.sums.data()); }},
    {"gru back", 3, 3, [](Memory& m) { gru_backward(m.step(), m.dstate.data(), m.sums.data()); }},
    {"gru gates", 3, 2, [](Memory& m) { gru_gates_forward(m.step(), m.sums.data()); }},
    {"gru candidate", 3, 1, [](Memory& m) { gru_candidate_forward(m.step(), m.sums.data()); }},
    {"gru candidate back", 3, 1, [](Memory& m) { gru_candidate_backward(m.step(), m.dstate.data()); }},
    {"gru gates back", 3, 1, [](Memory& m) { gru_gates_backward(m.step(), m.sums.data(), m.dstate.data()); }},
};

void expect_same(const Memory& got, const Memory& want, const std::string& what) {
  EXPECT_EQ(got.gates, want.gates) << what;
  EXPECT_EQ(got.sums, want.sums) << what;
  for (const auto array : {&Memory::state, &Memory::cell, &Memory::kept, &Memory::dstate, &Memory::dcell})
    EXPECT_EQ(got.*array, want.*array) << what;
}

TEST(RecurrentRows, EachElementByItself) {
  for (const Loop& loop : loops)
    for (const int64_t units : {1, 7, 16, 37}) {
      const Memory before(units);
      Memory together = before;
      loop.run(together);
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t unit = 0; unit < units; ++unit) {
          Memory one = before.of_unit(row, unit, loop.gate_count, loop.sum_count);
          loop.run(one);
          expect_same(together.of_unit(row, unit, loop.gate_count, loop.sum_count), one, loop.name);
        }
    }
}

TEST(RecurrentRows, WhatIsOverGetsNothing) {
  constexpr int64_t units = 5;
  for (const Loop& loop : loops) {
    SCOPED_TRACE(loop.name);
    Memory all(units), some = all;
    some.lengths = {3, 2, 1};  // at step 2 the first row alone goes on
    loop.run(all);
    loop.run(some);
    for (int64_t unit = 0; unit < units; ++unit)
      expect_same(some.of_unit(0, unit, loop.gate_count, loop.sum_count),
                  all.of_unit(0, unit, loop.gate_count, loop.sum_count), "the first row");
    const std::string name = loop.name;
    if (name == "gru gates" || name == "gru gates back") continue;  // what they give is multiplied by 0 later
    const bool back = name.ends_with("back");
    const Floats& zero = back ? some.gates : some.state;
    const int64_t row = back ? loop.gate_count * units : units;
    for (int64_t i = row; i < 3 * row; ++i) EXPECT_EQ(zero[static_cast<size_t>(i)], 0.0f);
    for (int64_t i = units; back && i < 3 * units; ++i)
      EXPECT_EQ(some.dstate[static_cast<size_t>(i)], 0.0f) << "nothing goes on from there";
  }
}

TEST(RecurrentRows, StateGradientsAreSums) {
  Floats sum = {1, 2, 3, 4};
  const Floats carried = {10, 20, 30, 40}, output = {100, 200, 0, 300, 400};
  add_state_gradients(2, 2, nullptr, nullptr, 0, sum.data());
  EXPECT_EQ(sum, (Floats{1, 2, 3, 4}));
  add_state_gradients(2, 2, carried.data(), output.data(), 3, sum.data());
  EXPECT_EQ(sum, (Floats{111, 222, 333, 444}));
}

}  // namespace
}  // namespace lepton::ops
