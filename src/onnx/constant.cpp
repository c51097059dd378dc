// SPDX-License-Identifier: Apache-2.0
// Tensors in messages: little-endian bytes, or lists of numbers by type. See the header.
#include "onnx/constant.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "model/graph_builder.h"

namespace lepton::onnx {

namespace {

using messages::TensorProto;

static_assert(std::endian::native == std::endian::little, "ONNX stores little-endian bytes");

[[noreturn]] void refuse_tensor(const TensorProto& tensor, const std::string& what) {
  fail(Exit::deck, "", "tensor \"" + tensor.name() + "\" " + what, "");
}

/// The numbers of a tensor, from its bytes or else from `list`, which holds one per number.
template <class Stored, class List>
std::vector<Stored> stored(const TensorProto& tensor, int64_t count, const List& list) {
  std::vector<Stored> values;
  const auto size = static_cast<size_t>(count);
  if (tensor.has_raw_data()) {
    if (tensor.raw_data().size() != size * sizeof(Stored))
      refuse_tensor(tensor, "holds " + std::to_string(tensor.raw_data().size()) + " bytes for " +
                                std::to_string(count) + " numbers");
    values.resize(size);
    if (size > 0) std::memcpy(values.data(), tensor.raw_data().data(), size * sizeof(Stored));
    return values;
  }
  if (list.size() != count)
    refuse_tensor(tensor, "holds " + std::to_string(list.size()) + " numbers, its shape asks for " +
                              std::to_string(count));
  values.reserve(size);
  for (const auto value : list) values.push_back(static_cast<Stored>(value));
  return values;
}

float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16, magnitude = half & 0x7fffU;
  if (magnitude >= 0x7c00U) return std::bit_cast<float>(sign | 0x7f800000U | (magnitude & 0x3ffU) << 13);
  const auto scaled = static_cast<float>(magnitude & 0x3ffU) * 0x1p-24F;  // subnormal numbers
  const float value = magnitude < 0x400U ? scaled : std::bit_cast<float>((magnitude << 13) + (112U << 23));
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

template <class Values, class Convert>
void to_floats(const Values& values, Constant& constant, const Convert& convert) {
  constant.floating = true;
  constant.floats.reserve(values.size());
  for (const auto value : values) constant.floats.push_back(convert(value));
}

template <class Values>
void to_counts(const Values& values, Constant& constant) {
  constant.integers.reserve(values.size());
  for (const auto value : values) constant.integers.push_back({static_cast<int64_t>(value)});
}

}  // namespace

std::vector<int64_t> Constant::numbers() const {
  REQUIRE(!floating, Exit::deck, "", "integers are needed where the file has other numbers", "");
  std::vector<int64_t> values;
  for (const Count& count : integers) {
    REQUIRE(!count.of_batch, Exit::deck, "", "it depends on the batch size", "");
    values.push_back(count.number);
  }
  return values;
}

Constant integer_constant(Shape shape, std::vector<Count> values) {
  Constant constant;
  constant.shape = std::move(shape);
  constant.integers = std::move(values);
  return constant;
}

Constant float_constant(Shape shape, std::vector<float> values) {
  Constant constant;
  constant.shape = std::move(shape);
  constant.floating = true;
  constant.floats = std::move(values);
  return constant;
}

Constant read_tensor(const TensorProto& tensor) {
  Constant constant;
  constant.shape.assign(tensor.dims().begin(), tensor.dims().end());
  for (const int64_t dimension : constant.shape)
    if (dimension < 0) refuse_tensor(tensor, "has the shape " + shape_text(constant.shape));
  if (model::too_large(constant.shape)) refuse_tensor(tensor, "is too large for any machine");
  if (tensor.has_segment()) refuse_tensor(tensor, "is a segment of a larger one");
  const int64_t count = constant.elements();
  switch (tensor.data_type()) {
    case TensorProto::FLOAT:
      constant.floating = true;
      constant.floats = stored<float>(tensor, count, tensor.float_data());
      break;
    case TensorProto::DOUBLE:
      to_floats(stored<double>(tensor, count, tensor.double_data()), constant,
                [](double value) { return static_cast<float>(value); });
      break;
    case TensorProto::FLOAT16:
      to_floats(stored<uint16_t>(tensor, count, tensor.int32_data()), constant, half_to_float);
      break;
    case TensorProto::BFLOAT16:
      to_floats(stored<uint16_t>(tensor, count, tensor.int32_data()), constant,
                [](uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); });
      break;
    case TensorProto::INT64:
      to_counts(stored<int64_t>(tensor, count, tensor.int64_data()), constant);
      break;
    case TensorProto::INT32:
      to_counts(stored<int32_t>(tensor, count, tensor.int32_data()), constant);
      break;
    case TensorProto::INT8:
      to_counts(stored<int8_t>(tensor, count, tensor.int32_data()), constant);
      break;
    case TensorProto::UINT8:
    case TensorProto::BOOL:
      to_counts(stored<uint8_t>(tensor, count, tensor.int32_data()), constant);
      break;
    default:
      refuse_tensor(tensor,
                    "has the type " + std::to_string(tensor.data_type()) +
                        " of onnx.TensorProto, which is "
                        "neither float16, bfloat16, float, double, int8, int32, int64, uint8 nor bool");
  }
  constant.origin = tensor.name();
  return constant;
}

static void write_head(const std::string& name, const Shape& shape, TensorProto::DataType type,
                       TensorProto& tensor) {
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (const int64_t dimension : shape) tensor.add_dims(dimension);
}

void write_floats(const std::string& name, const Shape& shape, const float* values, TensorProto& tensor) {
  write_head(name, shape, TensorProto::FLOAT, tensor);
  tensor.set_raw_data(values, static_cast<size_t>(element_count(shape)) * sizeof(float));
}

void write_integers(const std::string& name, const Shape& shape, const std::vector<int64_t>& values,
                    TensorProto& tensor) {
  CHECK(element_count(shape) == std::ssize(values), name);
  write_head(name, shape, TensorProto::INT64, tensor);
  tensor.set_raw_data(values.data(), values.size() * sizeof(int64_t));
}

bool is_floating_type(int64_t type) {
  return type == TensorProto::FLOAT || type == TensorProto::DOUBLE || type == TensorProto::FLOAT16 ||
         type == TensorProto::BFLOAT16;
}

Constant cast(const Constant& constant, bool floating) {
  if (constant.floating == floating) return constant;
  Constant result;
  result.shape = constant.shape;
  result.floating = floating;
  result.batch_axis = constant.batch_axis;
  if (floating)
    for (const int64_t number : constant.numbers()) result.floats.push_back(static_cast<float>(number));
  for (const float value : constant.floats) {
    REQUIRE(std::abs(value) < 0x1p62F, Exit::deck, "", "it casts a number that no integer holds", "");
    result.integers.push_back({static_cast<int64_t>(value)});
  }
  return result;
}

}  // namespace lepton::onnx
