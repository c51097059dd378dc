// SPDX-License-Identifier: Apache-2.0
// Attributes of operators, read with their ONNX defaults. A value of the wrong type is the input's fault (a
// deck or an ONNX file), never ours; the caller that knows the layer adds its name. Called by every op.
#include "ops/operators.h"

#include "base/error.h"

namespace lepton::ops {

template <class T>
static T attribute_or(const Attributes& attributes, const std::string& name, const T& otherwise,
                      const char* kind) {
  const auto found = attributes.find(name);
  if (found == attributes.end()) return otherwise;
  const T* value = std::get_if<T>(&found->second);
  REQUIRE(value, Exit::deck, "", "attribute " + name + " must be " + kind, "");
  return *value;
}

int64_t int_attribute(const Attributes& attributes, const std::string& name, int64_t otherwise) {
  return attribute_or<int64_t>(attributes, name, otherwise, "an integer");
}

double float_attribute(const Attributes& attributes, const std::string& name, double otherwise) {
  const auto found = attributes.find(name);
  if (found != attributes.end() && std::holds_alternative<int64_t>(found->second))
    return static_cast<double>(std::get<int64_t>(found->second));
  return attribute_or<double>(attributes, name, otherwise, "a number");
}

std::string string_attribute(const Attributes& attributes, const std::string& name,
                             const std::string& otherwise) {
  return attribute_or<std::string>(attributes, name, otherwise, "a text");
}

std::vector<int64_t> ints_attribute(const Attributes& attributes, const std::string& name,
                                    const std::vector<int64_t>& otherwise) {
  return attribute_or<std::vector<int64_t>>(attributes, name, otherwise, "a list of integers");
}

std::vector<double> floats_attribute(const Attributes& attributes, const std::string& name,
                                     const std::vector<double>& otherwise) {
  const auto found = attributes.find(name);
  if (found != attributes.end())
    if (const auto* whole = std::get_if<std::vector<int64_t>>(&found->second))
      return {whole->begin(), whole->end()};
  return attribute_or<std::vector<double>>(attributes, name, otherwise, "a list of numbers");
}

const SparseMatrix& matrix_attribute(const Attributes& attributes, const std::string& name) {
  const auto found = attributes.find(name);
  CHECK(found != attributes.end(), "no attribute " + name);
  return *std::get<std::shared_ptr<const SparseMatrix>>(found->second);
}

std::vector<std::string> texts_attribute(const Attributes& attributes, const std::string& name,
                                         const std::vector<std::string>& otherwise) {
  return attribute_or<std::vector<std::string>>(attributes, name, otherwise, "a list of texts");
}

int64_t sample_axis_of(const OpSpec& spec, const std::string& attribute, int64_t axis, int64_t rank) {
  require_shape(axis != 0 && axis < rank + 1 && axis >= -rank,
                spec.type + " has no " + attribute + " " + std::to_string(axis) + " in its input " +
                    shape_text(spec.inputs[0]) + ", whose first is 1");
  return axis > 0 ? axis - 1 : axis + rank;
}

int64_t sample_axis(const OpSpec& spec, const std::string& attribute, int64_t otherwise) {
  return sample_axis_of(spec, attribute, int_attribute(spec.attributes, attribute, otherwise),
                        std::ssize(spec.inputs[0]));
}

}  // namespace lepton::ops
