// SPDX-License-Identifier: Apache-2.0
// See the header. Sizes that a network computes from its own shapes are known here but for the batch's, of
// which they are multiples (Count).
#include "onnx/import_shapes.h"

#include <algorithm>
#include <numeric>

#include "onnx/fold.h"
#include "ops/op.h"

namespace lepton::onnx {

namespace {

using List = std::vector<int64_t>;

constexpr const char* mixes = "it mixes the batch with other dimensions";

// ---- Reshape

/// 0 and -1 in what a Reshape asks for.
std::vector<Count> resolved(const std::vector<Count>& before, std::vector<Count> after, bool zeros_count) {
  int64_t total = 1, known = 1, open = -1;
  for (const Count& count : before) total *= count.number;
  bool of_batch = false;
  for (size_t d = 0; d < after.size(); ++d) {
    if (after[d].number == 0 && !zeros_count && d < before.size()) after[d] = before[d];
    if (after[d] == Count{-1}) {
      require_import(open < 0, std::string(mixes) + ", or its shape has more than one -1");
      open = static_cast<int64_t>(d);
      continue;
    }
    require_import(after[d].number > 0 && !__builtin_mul_overflow(known, after[d].number, &known),
                   "its shape is too large, or has nothing in it");
    require_import(!after[d].of_batch || !of_batch, mixes);
    of_batch = of_batch || after[d].of_batch;
  }
  if (open < 0 || total % known != 0) return after;
  after[static_cast<size_t>(open)] = {total / known, !of_batch};
  return after;
}

/// A fixed batch that the file's input declares, of one sample say, stands for any where the rest fits a
/// sample.
bool has_fixed_batch(const Importer& importer, const Value& value, const std::vector<Count>& asked) {
  int64_t known = 1, open = 0;
  for (size_t d = 1; d < asked.size(); ++d) {
    if (asked[d].of_batch) return false;
    if (asked[d].number == -1)
      ++open;
    else if (__builtin_mul_overflow(known, asked[d].number, &known))
      return false;
  }
  const int64_t count = element_count(importer.shape(value));
  return value.plain() && importer.declared_batch() > 0 && !asked.empty() &&
         asked[0] == Count{importer.declared_batch()} && open <= 1 && known > 0 &&
         (open > 0 ? count % known == 0 : known == count);
}

/// Dimensions before and behind the batch stay there; in the one that has the batch, factors of either side
/// may be joined with it: [T, N, heads * D] as [T, N * heads, D].
Value regrouped(Importer& importer, const std::string& name, const Value& value,
                const std::vector<Count>& after) {
  const Shape own = importer.shape(value);
  const auto split = own.begin() + value.batch_axis + value.before;
  int64_t in_front = element_count(Shape(own.begin(), split));
  const int64_t all = element_count(own);
  int64_t total = 1, batch = -1;
  Shape shape;
  for (size_t d = 0; d < after.size(); ++d) {
    require_import(!__builtin_mul_overflow(total, after[d].number, &total), "its shape is too large");
    if (after[d].of_batch) batch = static_cast<int64_t>(d);
  }
  const std::string misfit = std::string(mixes) + ", or its shape does not fit " + shape_text(own);
  require_import(batch >= 0 && total == all, misfit);
  Value result = value;
  result.batch_axis = batch;
  for (size_t d = 0; d < after.size(); ++d) {
    if (!after[d].of_batch) {
      shape.push_back(after[d].number);
      continue;
    }
    const int64_t outer = element_count(shape);
    require_import(in_front % outer == 0 && after[d].number % (in_front / outer) == 0, misfit);
    const int64_t before = in_front / outer, behind = after[d].number / before;
    result.before = before > 1 ? 1 : 0;
    result.behind = behind > 1 ? 1 : 0;
    if (before > 1) shape.push_back(before);
    if (behind > 1) shape.push_back(behind);
  }
  result.single = shape.empty();
  if (result.single) shape = {1};
  result.index = importer.append("Reshape", name, {{{"shape", shape}}, {{value.index}}, {}}).index;
  return result;
}

}  // namespace

Value with_dimensions(Importer& importer, const std::string& name, const Value& value,
                      const std::vector<Count>& counts) {
  const Shape before = importer.shape(value);
  const auto joined = before.begin() + value.batch_axis;
  Shape shape;
  int64_t batch = -1;
  for (size_t d = 0; d < counts.size(); ++d) {
    if (counts[d].of_batch) {
      batch = static_cast<int64_t>(d);
      shape.insert(shape.end(), joined, joined + value.before + value.behind);
    } else {
      shape.push_back(counts[d].number);
    }
  }
  require_import(batch >= 0, mixes);
  const bool single = shape.empty();
  Value result = importer.reshaped(name, value, single ? Shape{1} : shape);
  result.batch_axis = batch;
  result.single = single;
  return result;
}

int64_t axis_in(const Importer& importer, const Value& value, int64_t axis, const char* of_batch) {
  const int64_t rank = importer.rank(value);
  if (axis < 0) axis += rank;
  require_import(axis >= 0 && axis < rank,
                 "its axis is outside of " + shape_text(importer.shape(value)) + " and the batch");
  require_import(axis != value.batch_axis, of_batch);
  return axis;
}

std::vector<Count> dimensions(const Importer& importer, const Value& value) {
  if (value.single) return {{1, true}};
  const Shape& own = importer.shape(value);
  std::vector<Count> counts;
  Count batch{1, true};
  for (int64_t d = 0; d < std::ssize(own); ++d) {
    const int64_t size = own[static_cast<size_t>(d)];
    if (d < value.batch_axis || d >= value.batch_axis + value.before + value.behind)
      counts.push_back({size});
    else
      batch.number *= size;
  }
  counts.insert(counts.begin() + value.batch_axis, batch);
  return counts;
}

void give_dimensions(Importer& importer, const ImportNode& node, const Value& value,
                     const std::vector<Count>& counts) {
  importer.give(node, 0, with_dimensions(importer, node.name, value, counts));
}

void shape_rule(Importer& importer, const ImportNode& node) {
  std::vector<Count> counts = dimensions(importer, importer.required_value(node, 0));
  const auto rank = std::ssize(counts);
  const auto place = [&](const char* name, int64_t otherwise) {
    const int64_t at = node_int(node.proto, name, otherwise);
    return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  const int64_t begin = place("start", 0), end = std::max(begin, place("end", rank));
  const std::vector<Count> part(counts.begin() + begin, counts.begin() + end);
  importer.give(node, 0, integer_constant({std::ssize(part)}, part));
}

void size_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  importer.give(node, 0, integer_constant({}, {{element_count(importer.shape(value)), true}}));
}

void flatten_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  if (value.single) return give_dimensions(importer, node, value, {{1, true}, {1}});
  const int64_t axis = node_int(node.proto, "axis", 1);
  require_import(value.plain() && (axis == 1 || axis == 1 - importer.rank(value)),
                 "it keeps more than the batch dimension apart");
  ops::Attributes attributes = importer.attributes(node);
  if (attributes.contains("axis")) attributes["axis"] = int64_t{1};
  importer.give(node, 0, importer.append("Flatten", node.name, {std::move(attributes), {value}, {}}));
}

void reshape_rule(Importer& importer, const ImportNode& node) {
  const Value value = importer.required_value(node, 0);
  const Constant& asked = importer.required(node, 1);
  const bool zeros_count = node_int(node.proto, "allowzero", 0) != 0;
  require_import(!asked.floating && !asked.integers.empty(), mixes);
  const std::vector<Count> before = dimensions(importer, value);
  std::vector<Count> after = asked.integers;
  for (size_t d = 0; d < after.size(); ++d)
    if (after[d].number == 0 && !zeros_count && d < before.size()) after[d] = before[d];
  if (has_fixed_batch(importer, value, after)) after[0] = {1, true};
  importer.give(node, 0,
                regrouped(importer, node.name, value, resolved(before, std::move(after), zeros_count)));
}

static std::vector<int64_t> axes_of(Importer& importer, const ImportNode& node, int64_t rank) {
  std::vector<int64_t> axes;
  if (importer.input(node, 1) != nullptr) axes = importer.required(node, 1).numbers();
  for (int64_t& axis : axes) {
    if (axis < 0) axis += rank;
    require_import(axis >= 0 && axis < rank, "its axes do not fit");
  }
  require_distinct(axes);
  std::sort(axes.begin(), axes.end());
  return axes;
}

void squeeze_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  const std::vector<Count> before = dimensions(importer, value);
  const std::vector<int64_t> axes = axes_of(importer, node, std::ssize(before));
  std::vector<Count> after;
  for (size_t d = 0; d < before.size(); ++d) {
    const bool one = before[d] == Count{1};
    const bool named = std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(d));
    require_import(!named || one, "it removes a dimension that is not 1");
    if (!(axes.empty() ? one : named)) after.push_back(before[d]);
  }
  give_dimensions(importer, node, value, after);
}

void unsqueeze_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  std::vector<Count> counts = dimensions(importer, value);
  const auto added = importer.required(node, 1).elements();
  for (const int64_t axis : axes_of(importer, node, std::ssize(counts) + added))
    counts.insert(counts.begin() + axis, Count{1});
  give_dimensions(importer, node, value, counts);
}

/// A Transpose that moves the batch alone changes nothing but where it stands.
void transpose_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  if (value.single) return importer.give(node, 0, value);
  const int64_t rank = importer.rank(value);
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  std::iota(perm.rbegin(), perm.rend(), 0);
  perm = ops::ints_attribute(importer.attributes(node), "perm", perm);
  std::vector<int64_t> sorted = perm, own{0};
  std::sort(sorted.begin(), sorted.end());
  require_import(std::ssize(perm) == rank && sorted.front() == 0 && sorted.back() == rank - 1 &&
                     std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(),
                 "its perm is no permutation of its input's dimensions");
  Value result = value;
  for (size_t d = 0; d < perm.size(); ++d) {
    if (perm[d] != value.batch_axis) {
      own.push_back(importer.own_axis(value, perm[d]));
      continue;
    }
    result.batch_axis = static_cast<int64_t>(d);
    for (int64_t j = 0; j < value.before + value.behind; ++j) own.push_back(value.batch_axis + 1 + j);
  }
  if (!std::is_sorted(own.begin(), own.end()) || value.batch_axis == result.batch_axis)
    result.index = importer.append("Transpose", node.name, {{{"perm", own}}, {{value.index}}, {}}).index;
  importer.give(node, 0, result);
}

Value expanded(Importer& importer, const std::string& name, const Value& value, std::vector<Count> asked) {
  std::vector<Count> own = dimensions(importer, value);
  const size_t rank = std::max(own.size(), asked.size());
  own.insert(own.begin(), rank - own.size(), Count{1});
  asked.insert(asked.begin(), rank - asked.size(), Count{1});
  const Value narrow = with_dimensions(importer, name + ".narrow", value, own);
  Shape wide = importer.shape(narrow);
  for (size_t d = 0, at = 0; d < rank; ++d) {
    if (own[d].of_batch) {
      require_import(asked[d] == own[d] || asked[d] == Count{1}, mixes);
      at += static_cast<size_t>(value.before + value.behind);
      continue;
    }
    require_import(!asked[d].of_batch,
                   "it repeats what it has along another dimension as often as there are samples");
    require_import(own[d].number == 1 || asked[d].number == 1 || asked[d] == own[d],
                   "its shape does not fit " + shape_text(importer.shape(value)));
    wide[at++] = std::max(own[d].number, asked[d].number);
  }
  if (wide == importer.shape(narrow)) return narrow;
  return narrow.with(importer.append("Expand", name, {{{"shape", wide}}, {{narrow.index}}, {}}).index);
}

void expand_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  require_import(!importer.required(node, 1).floating, "its shape is not of integers");
  importer.give(node, 0, expanded(importer, node.name, value, importer.required(node, 1).integers));
}

Value reduced(Importer& importer, const ImportNode& node, const std::string& type, Operands operands) {
  importer.require_one_output(node);
  const Value value = operands.values.front();
  const bool none = ops::ints_attribute(operands.attributes, "axes", {}).empty();
  if (none && ops::int_attribute(operands.attributes, "noop_with_empty_axes", 0) != 0) return value;
  operands.attributes.erase("noop_with_empty_axes");
  List axes = ops::ints_attribute(operands.attributes, "axes", {});
  const bool all = std::ssize(axes) + 1 == importer.rank(value);
  const bool drops = ops::int_attribute(operands.attributes, "keepdims", 1) == 0 && (all || !value.plain());
  std::vector<Count> counts = dimensions(importer, value);
  for (int64_t& axis : axes)
    axis = axis_in(importer, value, axis, "it computes across the samples of the batch");
  require_distinct(axes);
  if (!drops) return importer.append(type, node.name, std::move(operands));
  operands.attributes["keepdims"] = int64_t{1};
  const Value kept = importer.append(type, node.name, std::move(operands));
  std::sort(axes.begin(), axes.end());
  for (; !axes.empty(); axes.pop_back()) counts.erase(counts.begin() + axes.back());
  return with_dimensions(importer, node.name + ".dropped", kept, counts);
}

void reduce_rule(Importer& importer, const ImportNode& node) {
  importer.give(node, 0, reduced(importer, node, node.type, importer.operands(node)));
}

}  // namespace lepton::onnx
