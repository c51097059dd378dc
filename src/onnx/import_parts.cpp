// SPDX-License-Identifier: Apache-2.0
// Rules for operators that take parts of a value, which are Slices here, or rows of a table. See
// import_shapes.h.
#include <algorithm>
#include <functional>
#include <numeric>

#include "onnx/fold.h"
#include "onnx/import_shapes.h"
#include "ops/op.h"

namespace lepton::onnx {

namespace {

using List = std::vector<int64_t>;

/// A part along one of the file's axes.
Value sliced(Importer& importer, const std::string& name, const Value& value, int64_t axis, int64_t start,
             int64_t end, int64_t step) {
  Operands operands;
  operands.attributes = {
      {"starts", List{start}}, {"ends", List{end}}, {"axes", List{axis}}, {"steps", List{step}}};
  operands.values = {value};
  return importer.append("Slice", name, std::move(operands));
}

/// Indices of that shape at equal distances, as a Slice.
void give_places(Importer& importer, const ImportNode& node, int64_t axis, List places, const Shape& shape) {
  const Value* value = importer.value(node, 0);
  std::vector<Count> counts = dimensions(importer, *value);
  axis = axis_in(importer, *value, axis, "it gathers samples of the batch");
  require_import(!places.empty(), "it gathers nothing");
  const int64_t size = counts[static_cast<size_t>(axis)].number;
  for (int64_t& place : places) {
    if (place < 0) place += size;
    require_import(place >= 0 && place < size, "its indices are outside of " + std::to_string(size));
  }
  const int64_t step = places.size() > 1 ? places[1] - places[0] : 1;
  for (size_t i = 1; i < places.size(); ++i)
    require_import(step > 0 && places[i] - places[i - 1] == step,
                   "it gathers indices that are not at equal distances of each other");
  const Value part =
      sliced(importer, node.name + ".slice", *value, axis, places.front(), places.back() + 1, step);
  counts.erase(counts.begin() + axis);
  for (size_t d = 0; d < shape.size(); ++d)
    counts.insert(counts.begin() + axis + static_cast<int64_t>(d), Count{shape[d]});
  give_dimensions(importer, node, part, counts);
}

/// Parts of the file's sizes, or all of the same; those that are wanted.
std::vector<Value> parts_of(Importer& importer, const ImportNode& node, const Value& value,
                            const std::vector<int64_t>& sizes, const std::function<bool(int)>& wanted) {
  const int64_t axis = axis_in(importer, value, node_int(node.proto, "axis", 0), "it splits the batch");
  const int64_t size = dimensions(importer, value)[static_cast<size_t>(axis)].number;
  const bool parted =
      std::all_of(sizes.begin(), sizes.end(), [&](int64_t one) { return one > 0 && one <= size; });
  require_import(parted && std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) == size,
                 "its parts do not fit " + shape_text(importer.shape(value)));
  std::vector<Value> parts(sizes.size());
  int64_t begin = 0;
  for (size_t i = 0; i < sizes.size(); begin += sizes[i++])
    if (wanted(static_cast<int>(i)))
      parts[i] =
          sliced(importer, node.name + "." + std::to_string(i), value, axis, begin, begin + sizes[i], 1);
  return parts;
}

/// Parts of that size; the last may be smaller.
List even_sizes(int64_t size, int64_t part) {
  List sizes(static_cast<size_t>((size + part - 1) / part), part);
  sizes.back() = size - part * (std::ssize(sizes) - 1);
  return sizes;
}

/// Of the axis that a node splits.
int64_t split_size(const Importer& importer, const ImportNode& node, const Value& value) {
  const int64_t axis = axis_in(importer, value, node_int(node.proto, "axis", 0), "it splits the batch");
  return dimensions(importer, value)[static_cast<size_t>(axis)].number;
}

/// By one number per sample they are vectors.
void gather_rows(Importer& importer, const ImportNode& node) {
  const Value* numbers = importer.value(node, 1);
  importer.require_one_output(node);
  Value rows = importer.append("Gather", node.name, importer.operands(node));
  if (numbers != nullptr && numbers->single) {
    rows.single = false;
    rows = importer.reshaped(node.name + ".vector", rows, {importer.shape(rows).back()});
  }
  importer.give(node, 0, rows);
}

}  // namespace

/// A table's rows by the network's numbers; or a part of a value by constant numbers.
void gather_rule(Importer& importer, const ImportNode& node) {
  if (importer.value(node, 0) == nullptr) return gather_rows(importer, node);
  const Constant& indices = importer.required(node, 1);
  give_places(importer, node, node_int(node.proto, "axis", 0), indices.numbers(), indices.shape);
}

/// Along the first axis alone it is a Gather.
void gather_nd_rule(Importer& importer, const ImportNode& node) {
  importer.required_value(node, 0);
  const Constant& indices = importer.required(node, 1);
  require_import(
      !indices.shape.empty() && indices.shape.back() == 1 && node_int(node.proto, "batch_dims", 0) == 0,
      "it gathers along more than one axis");
  give_places(importer, node, 0, indices.numbers(), Shape(indices.shape.begin(), indices.shape.end() - 1));
}

/// Along the batch nothing may be cut off.
void slice_rule(Importer& importer, const ImportNode& node) {
  Value value = importer.required_value(node, 0);
  const auto counts = [&](int number) {
    require_import(!importer.required(node, number).floating, "it cuts at numbers that are no integers");
    return importer.required(node, number).integers;
  };
  const std::vector<Count> starts = counts(1), ends = counts(2);
  List axes(starts.size()), steps(starts.size(), 1);
  std::iota(axes.begin(), axes.end(), 0);
  if (importer.input(node, 3) != nullptr) axes = importer.required(node, 3).numbers();
  if (importer.input(node, 4) != nullptr) steps = importer.required(node, 4).numbers();
  require_import(
      ends.size() == starts.size() && axes.size() == starts.size() && steps.size() == starts.size(),
      "starts, ends, axes and steps differ in length");
  const std::vector<Count> whole = dimensions(importer, value);
  const int64_t rank = std::ssize(whole);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] < 0) axes[i] += rank;
    require_import(axes[i] >= 0 && axes[i] < rank, "its axes do not fit");
    const Count size = whole[static_cast<size_t>(axes[i])];
    const bool all = steps[i] == 1 && starts[i] == Count{0} &&
                     (ends[i] == size ||
                      (!ends[i].of_batch && ends[i].number >= (size.of_batch ? INT32_MAX : size.number)));
    if (all) continue;
    axis_in(importer, value, axes[i], "it cuts samples out of the batch");
    require_import(!starts[i].of_batch && !ends[i].of_batch, "it cuts at the batch size");
    const std::string name = axes.size() == 1 ? node.name : node.name + "." + std::to_string(i);
    value = sliced(importer, name, value, axes[i], starts[i].number, ends[i].number, steps[i]);
  }
  importer.give(node, 0, value);
}

void split_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  const int64_t size = split_size(importer, node, value), outputs = node.proto.output_size();
  List sizes = even_sizes(size, (size + outputs - 1) / outputs);
  if (importer.input(node, 1) != nullptr) sizes = importer.required(node, 1).numbers();
  require_import(std::ssize(sizes) == outputs, "it has another number of outputs than parts");
  const auto used = [&](int i) { return importer.is_used(node, i); };
  const std::vector<Value> parts = parts_of(importer, node, value, sizes, used);
  for (int i = 0; i < node.proto.output_size(); ++i)
    if (used(i)) importer.give(node, i, parts[static_cast<size_t>(i)]);
}

/// As PyTorch's exporter writes a split; SequenceAt takes the parts apart again.
void split_to_sequence_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  const int64_t size = split_size(importer, node, value);
  const bool named = importer.input(node, 1) != nullptr;
  require_import(named || node_int(node.proto, "keepdims", 1) != 0,
                 "it removes the dimension that it splits");
  List sizes = named ? importer.required(node, 1).numbers() : List{1};
  if (!named || importer.required(node, 1).shape.empty()) {  // one size for all
    require_import(sizes[0] > 0, "its parts have nothing in them");
    sizes = even_sizes(size, std::min(sizes[0], size));
  }
  importer.give(node, 0, Parts{parts_of(importer, node, value, sizes, [](int) { return true; })});
}

void sequence_at_rule(Importer& importer, const ImportNode& node) {
  const Known* known = importer.input(node, 0);
  const Parts* parts = known == nullptr ? nullptr : std::get_if<Parts>(known);
  require_import(parts != nullptr, "its input is no split of a tensor");
  int64_t place = importer.required(node, 1).numbers().at(0);
  if (place < 0) place += std::ssize(parts->values);
  require_import(place >= 0 && place < std::ssize(parts->values), "its position is outside of the sequence");
  importer.give(node, 0, parts->values[static_cast<size_t>(place)]);
}

}  // namespace lepton::onnx
