// SPDX-License-Identifier: Apache-2.0
// Gather: rows by number, the gradient of those that occur (several times, never, all), refusals.
#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec gather(int64_t n, int64_t length, int64_t rows, int64_t width) {
  return {.type = "Gather",
          .samples = n,
          .training = true,
          .inputs = {{length}},
          .parameters = {{rows, width}},
          .input_needs_gradient = {false}};
}

Reference gather_reference(int64_t width) {
  return [width](const std::vector<Numbers>& inputs, const std::vector<Numbers>& parameters) {
    Numbers y;
    for (const double number : inputs[0])
      for (int64_t i = 0; i < width; ++i)
        y.push_back(parameters[0][static_cast<size_t>(static_cast<int64_t>(number) * width + i)]);
    return y;
  };
}

Operands operands_of(const OpSpec& open, const Floats& numbers) {
  Operands operands = random_operands(completed(open));
  operands.inputs[0] = numbers;
  return operands;
}

void check_gather(const OpSpec& spec, const Floats& numbers) {
  const Operands operands = operands_of(spec, numbers);
  check_op(spec, gather_reference(spec.parameters[0][1]), 1e-6, &operands);
}

TEST(Gather, RowsThatOccurOftenAndNever) {
  check_gather(gather(2, 3, 5, 7), {4, 0, 4, 4, 2, 0});
  check_gather(gather(1, 1, 1, 1), {0});
  check_gather(gather(3, 2, 40, 17), {39, 38, 0, 1, 2, 39});
}

TEST(Gather, MoreNumbersThanRows) {
  check_gather(gather(4, 4, 3, 5), {0, 1, 2, 0, 1, 2, 0, 1, 2, 2, 2, 2, 1, 1, 0, 0});
}

TEST(Gather, TellsTheRowsThatAUnitTouched) {
  const OpSpec spec = completed(gather(2, 2, 9, 3));
  prepare_thread();
  const auto op = make_op(spec);
  EXPECT_TRUE(op->gradient_parts().rows);
  EXPECT_EQ(op->gradient_parts().elements, 4 * 3);
  const Operands operands = operands_of(spec, {8, 3, 3, 8});
  const Results results = run_op(*op, spec, operands);
  for (int64_t row = 0; row < 9; ++row)
    EXPECT_EQ(results.parameter_gradients[0][static_cast<size_t>(row * 3)] != 0, row == 3 || row == 8) << row;
}

/// Where they are checked when the data are read, that would be a bug; of columns it is the data's.
TEST(Gather, NumbersOutsideTheTableAreRefused) {
  for (const float number : {-1.0f, 5.0f, NAN}) {
    const OpSpec spec = completed(gather(1, 1, 5, 2));
    const Operands operands = operands_of(spec, {number});
    try {
      run_op(spec, operands);
      FAIL() << number;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::data);
      EXPECT_NE(error.problem().find("a table of 5 rows is asked for row"), std::string::npos);
    }
  }
}

TEST(Gather, Refusals) {
  expect_refused(gather(1, 3, (1 << 24) + 1, 2), "no more than 16,777,216");
  OpSpec spec = gather(1, 3, 5, 2);
  spec.attributes["axis"] = int64_t{1};
  expect_refused(spec, "axis = 0");
  spec = gather(1, 3, 5, 2);
  spec.inputs = {{2, 3}};
  expect_refused(spec, "not [2, 3]");
  spec.parameters = {{5}};
  expect_refused(spec, "needs a table");
}

}  // namespace
}  // namespace lepton::ops
