// SPDX-License-Identifier: Apache-2.0
// Tensors in messages: all types that are read, both places of their numbers, and what is refused.
#include "onnx/constant.h"

#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using messages::TensorProto;

TensorProto tensor(TensorProto::DataType type, const Shape& shape) {
  TensorProto made;
  made.set_name("w");
  made.set_data_type(type);
  for (const int64_t dimension : shape) made.add_dims(dimension);
  return made;
}

TEST(Constant, FloatsAndIntegersGoThereAndBack) {
  TensorProto floats, integers;
  const std::vector<float> values{1.5F, -2, 3};
  write_floats("a", {3, 1}, values.data(), floats);
  write_integers("b", {2}, {-7, int64_t{1} << 40}, integers);
  const Constant a = read_tensor(floats), b = read_tensor(integers);
  EXPECT_EQ(a.shape, (Shape{3, 1}));
  EXPECT_EQ(a.floats, values);
  EXPECT_EQ(a.origin, "a");
  EXPECT_EQ(b.numbers(), (std::vector<int64_t>{-7, int64_t{1} << 40}));
  EXPECT_FALSE(b.floating);
}

TEST(Constant, OtherTypesBecomeThese) {
  TensorProto half = tensor(TensorProto::FLOAT16, {6});
  for (const int bits : {0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x3555}) half.add_int32_data(bits);
  EXPECT_EQ(read_tensor(half).floats, (std::vector<float>{1, -2, 0x1p-24F, 65504, -0.0F, 0x1.554p-2F}));
  TensorProto brain = tensor(TensorProto::BFLOAT16, {1});
  brain.add_int32_data(0x3fc0);
  EXPECT_EQ(read_tensor(brain).floats, (std::vector<float>{1.5F}));
  TensorProto wide = tensor(TensorProto::DOUBLE, {1});
  wide.add_double_data(0.1);
  EXPECT_EQ(read_tensor(wide).floats, (std::vector<float>{0.1F}));
  TensorProto truth = tensor(TensorProto::BOOL, {2});
  truth.set_raw_data(std::string("\1\0", 2));
  EXPECT_EQ(read_tensor(truth).numbers(), (std::vector<int64_t>{1, 0}));
  TensorProto narrow = tensor(TensorProto::INT32, {1});
  narrow.add_int32_data(-3);
  EXPECT_EQ(read_tensor(narrow).numbers(), (std::vector<int64_t>{-3}));
}

TEST(Constant, RefusesWhatContradictsItself) {
  const auto refused = [](const TensorProto& bad, const std::string& what) {
    expect_error_of([&] { read_tensor(bad); }, Exit::deck, {"\"w\"", what});
  };
  TensorProto shorter = tensor(TensorProto::FLOAT, {3});
  shorter.set_raw_data("12345678");
  refused(shorter, "8 bytes for 3 numbers");
  refused(tensor(TensorProto::FLOAT, {3}), "0 numbers, its shape asks for 3");
  refused(tensor(TensorProto::FLOAT, {-1}), "[-1]");
  refused(tensor(TensorProto::FLOAT, {int64_t{1} << 40, int64_t{1} << 40}), "too large");
  refused(tensor(TensorProto::STRING, {1}), "type 8");
}

TEST(Constant, CastsToFloatsAndTowardsZero) {
  EXPECT_EQ(cast(float_constant({2}, {-2.7F, 3}), false).numbers(), (std::vector<int64_t>{-2, 3}));
  EXPECT_EQ(cast(integer_constant({1, 2}, {{4}, {-1}}), true).floats, (std::vector<float>{4, -1}));
  EXPECT_EQ(cast(integer_constant({1, 2}, {{4}, {-1}}), true).shape, (Shape{1, 2}));
  Constant learned = float_constant({1}, {2});
  learned.origin = "w";
  EXPECT_EQ(cast(learned, true).origin, "w");
  EXPECT_EQ(cast(learned, false).origin, "");
  expect_error_of([] { cast(float_constant({1}, {1e30F}), false); }, Exit::deck, {"no integer holds"});
}

TEST(Constant, NumbersOfTheBatchAreNone) {
  expect_error_of([] { integer_constant({1}, {{2, true}}).numbers(); }, Exit::deck, {"batch size"});
  expect_error_of([] { float_constant({1}, {2}).numbers(); }, Exit::deck, {"integers"});
}

}  // namespace
}  // namespace lepton::onnx
