// SPDX-License-Identifier: Apache-2.0
// The network's inputs: which of the file's are weights without values, and which input of the data each of
// the others is. Matched by name; the last ones of their kind, lengths or others, need not have the same. The
// batch is the first dimension, or the only open one, as of sequences with the steps in front; open ones
// behind the batch are the data's. Channels may stand last. See importer.h.
#include <algorithm>

#include "onnx/fold.h"
#include "onnx/importer.h"
#include "onnx/model_file.h"
#include "onnx/slots.h"

namespace lepton::onnx {

namespace {

using messages::NodeProto;
using messages::ValueInfoProto;
using Declared = std::vector<const ValueInfoProto*>;

/// As declared; 0: open.
Shape declared_dimensions(const ValueInfoProto& input) {
  Shape shape;
  for (const auto& dimension : input.type().tensor_type().shape().dim())
    shape.push_back(std::max<int64_t>(dimension.dim_value(), 0));
  return shape;
}

/// The first; or the only open one behind it, where the others are the data's.
int64_t batch_axis_of(const Shape& declared, const Shape& data) {
  const auto found = std::find(declared.begin(), declared.end(), 0);
  if (found == declared.end()) return 0;
  Shape others = declared;
  others.erase(others.begin() + (found - declared.begin()));
  return others == data ? found - declared.begin() : 0;
}

/// Undeclared is floating.
bool is_floating(int64_t type) {
  return type == messages::TensorProto::UNDEFINED || is_floating_type(type);
}

/// Of an image or volume; of others the shape itself.
Shape channels_last(const Shape& shape) {
  if (shape.size() < 3) return shape;
  Shape last(shape.begin() + 1, shape.end());
  last.push_back(shape.front());
  return last;
}

bool is_of_lengths(const std::string& name) {
  return name.ends_with(".length");
}
/// One number per sample.
bool is_flat(const ValueInfoProto& input) {
  return declared_dimensions(input).size() == 1;
}

std::string listed(const Declared& inputs) {
  std::string text;
  for (const ValueInfoProto* input : inputs) text += "\n    " + input->name() + " " + declared_shape(*input);
  return text;
}

}  // namespace

/// Each of these is some node's parameter, and none has an open dimension.
bool Importer::is_weight(const ValueInfoProto& input) const {
  const auto consumers = consumers_.find(input.name());
  const Shape shape = declared_dimensions(input);
  const bool open = std::any_of(shape.begin(), shape.end(), [](int64_t dimension) { return dimension <= 0; });
  if (consumers == consumers_.end() || open || model::too_large(shape)) return false;
  for (const NodeProto* node : consumers->second)
    for (int i = 0; i < node->input_size(); ++i)
      if (node->input(i) == input.name() && !is_parameter_slot(node->op_type(), i)) return false;
  return true;
}

void Importer::read_inputs() {
  Declared inputs;
  for (const ValueInfoProto& input : graph_.input())
    if (!known_.contains(input.name())) inputs.push_back(&input);
  REQUIRE(!inputs.empty(), Exit::deck, spec_.position.text(), spec_.path + ": the network has no input", "");
  const auto unneeded = [&](const ValueInfoProto* input) { return !consumers_.contains(input->name()); };
  if (!std::all_of(inputs.begin(), inputs.end(), unneeded)) std::erase_if(inputs, unneeded);
  std::set<size_t> data;
  for (size_t i = 0; i < data_.size(); ++i) data.insert(i);
  match_inputs(inputs, data);
  Declared others;
  for (const ValueInfoProto* input : inputs) {
    if (!is_weight(*input)) {
      others.push_back(input);
      continue;
    }
    Constant open;
    open.floating = open.open = true;
    open.origin = input->name();
    open.shape = declared_dimensions(*input);
    known_[input->name()] = std::move(open);
  }
  refuse_inputs(others, data);
}

/// What is matched leaves both.
void Importer::match_inputs(Declared& inputs, std::set<size_t>& data) {
  const auto match = [&](const ValueInfoProto* input, size_t number) {
    bind_input(*input, number);
    data.erase(number);
    std::erase(inputs, input);
  };
  for (size_t i = 0; i < data_.size(); ++i) {
    const auto same = std::find_if(inputs.begin(), inputs.end(), [&](const ValueInfoProto* input) {
      return input->name() == data_[i].name;
    });
    if (same != inputs.end()) match(*same, i);
  }
  for (const bool lengths : {true, false}) {
    std::vector<size_t> left;
    for (const size_t number : data)
      if (is_of_lengths(data_[number].name) == lengths) left.push_back(number);
    Declared open;
    for (const ValueInfoProto* input : inputs)
      if (!is_weight(*input) && (!lengths || is_flat(*input))) open.push_back(input);
    if (left.size() == 1 && (open.size() == 1 || (data_.size() == 1 && !open.empty())))
      match(open.front(), left.front());
  }
}

void Importer::refuse_inputs(const Declared& inputs, const std::set<size_t>& data) const {
  std::string given;
  for (const model::NamedShape& input : data_)
    given += (given.empty() ? "" : ", ") + input.name + " " + shape_text(input.shape);
  REQUIRE(inputs.empty(), Exit::deck, spec_.position.text(),
          spec_.path + ": the network has further inputs:" + listed(inputs),
          "The data give " + given + ". Declared of several are matched by their names (data.train.inputs).");
  std::string left;
  for (const size_t number : data)
    if (!is_of_lengths(data_[number].name)) left += (left.empty() ? "" : ", ") + data_[number].name;
  REQUIRE(left.empty(), Exit::deck, spec_.position.text(),
          spec_.path + ": the network does not take all that the data give: " + left,
          "Declared of several are matched by their names; leave out of data.train.inputs what it has not.");
}

void Importer::bind_input(const ValueInfoProto& input, size_t number) {
  const std::string where = spec_.position.text(), declared = declared_shape(input);
  const model::NamedShape& data = data_[number];
  const int index = builder_.inputs()[number];
  Shape sample = declared_dimensions(input);
  const int64_t batch = batch_axis_of(sample, data.shape);
  const int64_t size = sample.empty() ? 0 : sample[static_cast<size_t>(batch)];
  declared_batch_ = declared_batch_ < 0 || declared_batch_ == size ? size : 0;
  if (!is_floating(input.type().tensor_type().elem_type())) integer_inputs_.insert(index);
  if (!sample.empty()) sample.erase(sample.begin() + batch);
  if (batch == 0 && size == 0 && sample.size() == data.shape.size())  // the batch, and what the data tell
    for (size_t d = 0; d < sample.size(); ++d)
      if (sample[d] == 0) sample[d] = data.shape[d];
  const bool image = data.shape.front() == 1 && data.shape.size() == sample.size() + 1 && !sample.empty();
  REQUIRE(!image, Exit::deck, where,
          spec_.path + ": input " + input.name() + " takes " + declared + ", but a sample of the data is " +
              shape_text(data.shape),
          "If they are no images, set data.layout = \"sequence\".");
  const bool known = input.type().tensor_type().shape().dim_size() > 0 &&
                     std::all_of(sample.begin(), sample.end(), [](int64_t d) { return d > 0; });
  REQUIRE(known, Exit::deck, where,
          spec_.path + ": the shape of input " + input.name() + " is open: " + declared,
          "Only the batch, and behind it what the data tell, may be; export it with the others fixed.");
  const bool flat = sample.empty() && data.shape == Shape{1};
  const bool turned = sample != data.shape && sample == channels_last(data.shape);
  REQUIRE(flat || turned || sample == data.shape, Exit::deck, where,
          spec_.path + ": input " + input.name() + " takes " + declared + ", but a sample of the data" +
              (data_.size() > 1 ? "'s " + data.name : "") + " is " + shape_text(data.shape),
          "Its dimensions without the batch, the first or the only open one, must be those of the data.");
  if (flat)
    known_[input.name()] = Value{.index = index, .single = true};
  else if (turned)
    known_[input.name()] = turn_channels(input.name(), {index, batch});
  else
    known_[input.name()] = Value{index, batch};
}

/// An image or volume as files of TensorFlow take it.
Value Importer::turn_channels(const std::string& name, const Value& value) {
  std::vector<int64_t> perm{0};
  for (int64_t d = 2; d < rank(value); ++d) perm.push_back(d);
  perm.push_back(1);
  require_import(value.plain(), "the batch is not the first dimension of " + name);
  return append("Transpose", unique(name + ".channels_last"), {{{"perm", perm}}, {value}, {}});
}

}  // namespace lepton::onnx
