// SPDX-License-Identifier: Apache-2.0
// Weights of an import: parameters and running statistics with their names, their values, and how those begin
// that the file gives no values for, which is as deck layers begin: products by He et al. where a relu-like
// activation follows, else by Glorot and Bengio, recurrent weights orthogonal, biases at 0 (of forget gates
// 1), scales at 1, tables normal; products and tables decay. A constant of a formula, 0.5 * x say, is a
// frozen parameter. See importer.h.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "onnx/importer.h"
#include "onnx/slots.h"

namespace lepton::onnx {

namespace {

using model::Initialiser;
using Kind = Initialiser::Kind;

constexpr double table_deviation = 0.02;  // as the layer embedding

/// Gates; 0: the operator is not recurrent.
int64_t gates_of(const std::string& type) {
  return type == "LSTM" ? 4 : type == "GRU" ? 3 : type == "RNN" ? 1 : 0;
}

/// [outputs, inputs, taps...]; of a transposed convolution the other way round.
void set_fans(const std::string& type, const Shape& shape, Initialiser& initialiser) {
  if (shape.size() < 2) return;
  const size_t outputs = type == "ConvTranspose" ? 1 : 0, inputs = 1 - outputs;
  const bool taps = type == "Conv" || type == "ConvTranspose";
  const int64_t own = taps ? element_count(Shape(shape.begin() + 2, shape.end())) : 1;
  initialiser.fan_in = std::max<int64_t>(1, shape[inputs] * own);
  initialiser.fan_out = std::max<int64_t>(1, shape[outputs] * own);
}

/// W, R or B: gate by gate, recurrent weights orthogonal, and forget gates open at first.
Role recurrent_role(const std::string& type, int number, const Shape& shape) {
  Role role;
  role.shape = shape;
  role.decays = number < 3;
  const int64_t parts = gates_of(type) * (number < 3 ? 1 : 2);
  const int64_t units = shape.size() < 2 ? 1 : std::max<int64_t>(1, shape[1] / parts);
  if (number == 1) {
    role.initialiser.kind = Kind::glorot_uniform;
    role.initialiser.fan_in = std::max<int64_t>(1, shape.back());
    role.initialiser.fan_out = units;
  } else if (number == 2) {
    role.initialiser.kind = Kind::orthogonal;
    role.initialiser.fan_in = role.initialiser.fan_out = units;
  } else if (type == "LSTM") {  // i, o, f and c of W, then of R
    role.initialiser = {
        .kind = Kind::columns, .value = 1, .columns_begin = 2 * units, .columns_end = 3 * units};
  }
  return role;
}

/// What is added to each place of a sequence, say: no bias per channel.
bool is_table(const ImportNode& node, int number, const Shape& shape) {
  const auto wide = std::count_if(shape.begin(), shape.end(), [](int64_t d) { return d > 1; });
  return !is_parameter_slot(node.type, number) && wide > 1;
}

template <class T>
std::vector<T> turned(const std::vector<T>& values, int64_t rows, int64_t columns) {
  std::vector<T> result(values.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      result[static_cast<size_t>(c * rows + r)] = values[static_cast<size_t>(r * columns + c)];
  return result;
}

/// Which elements of the initializer stand in the arena, in order; empty: all of `total` as they are (or, of
/// one number, several).
std::vector<int32_t> arranged(const Constant& constant, const Role& role, int64_t total) {
  std::vector<int32_t> sources = constant.sources;
  if (sources.empty() && (role.turned || constant.elements() < total)) {
    sources.resize(static_cast<size_t>(constant.elements()));
    std::iota(sources.begin(), sources.end(), 0);
  }
  if (role.turned) sources = turned(sources, constant.shape[0], constant.shape[1]);
  bool all = std::ssize(sources) == total;
  for (size_t i = 0; i < sources.size() && all; ++i) all = sources[i] == static_cast<int32_t>(i);
  if (all) sources.clear();
  return sources;
}

bool is_uniform(const std::vector<float>& values) {
  return !values.empty() &&
         std::all_of(values.begin(), values.end(), [&](float v) { return v == values[0]; });
}

/// Ones or zeros, say: those that are learned are not tied. Of one number that is known only where it is the
/// one that such tensors begin at.
bool may_be_merged(const std::vector<float>& values, const Initialiser& begins) {
  if (values.size() == 1)
    return (begins.kind == Kind::zeros && values[0] == 0) || (begins.kind == Kind::ones && values[0] == 1) ||
           (begins.kind == Kind::constant && values[0] == static_cast<float>(begins.value));
  return is_uniform(values);
}

/// Minus infinity, or a number that stands for it, behind which softmax sees nothing.
bool hides(const std::vector<float>& values) {
  constexpr float least = -1e4F;  // of masks in float16, say
  return std::any_of(values.begin(), values.end(),
                     [](float value) { return !std::isfinite(value) || value <= least; });
}

}  // namespace

/// Looks through operators that keep the scale of values.
bool Importer::followed_by_relu(const std::string& name) const {
  static const std::set<std::string> relus = {"Relu",  "LeakyRelu", "PRelu",     "Elu",  "Selu",    "Gelu",
                                              "Swish", "Mish",      "HardSwish", "Clip", "Softplus"};
  static const std::set<std::string> transparent = {
      "AveragePool", "BatchNormalization", "Dropout", "Flatten", "GlobalAveragePool",
      "Identity",    "LayerNormalization", "MaxPool", "Reshape", "RMSNormalization"};
  std::string at = name;
  for (size_t steps = 0; steps < needed_.size(); ++steps) {
    const auto consumers = consumers_.find(at);
    if (consumers == consumers_.end() || consumers->second.empty()) return false;
    const messages::NodeProto& next = *consumers->second.front();
    if (relus.contains(next.op_type())) return true;
    if (!transparent.contains(next.op_type()) || next.output_size() == 0) return false;
    at = next.output(0);
  }
  return false;
}

Role Importer::role_of(const ImportNode& node, int number, const Shape& shape) const {
  if (gates_of(node.type) > 0 && !shape.empty()) return recurrent_role(node.type, number, shape);
  Role role;
  role.shape = shape;
  if (is_product(node.type) && number == 1) {
    role.decays = true;
    role.initialiser.kind = followed_by_relu(node.proto.output(0)) ? Kind::he_normal : Kind::glorot_uniform;
    set_fans(node.type, shape, role.initialiser);
  } else if (node.type == "Gather" || is_table(node, number, shape)) {
    role.decays = true;
    role.initialiser = {.kind = Kind::normal, .deviation = table_deviation};
  } else if (node.type.ends_with("Normalization") && number == 1) {
    role.initialiser.kind = Kind::ones;
  } else if (node.type == "PRelu") {
    role.initialiser = {.kind = Kind::constant, .value = 0.25};
  }
  return role;
}

Shape Importer::without_batch(const Constant& constant, const Value& value) const {
  Shape own = constant.shape;
  const int64_t all = rank(value), missing = all - std::ssize(own);
  require_import(missing >= 0, "the constant " + constant.origin + " of shape " + shape_text(own) +
                                   " has more dimensions than what it meets, " + shape_text(shape(value)) +
                                   " and the batch");
  if (value.batch_axis >= missing) {
    const auto at = own.begin() + (value.batch_axis - missing);
    require_import(*at == 1, "the constant " + constant.origin + " of shape " + shape_text(own) +
                                 " differs from sample to sample");
    own.insert(own.erase(at), static_cast<size_t>(value.before + value.behind), 1);
  }
  if (own.empty()) own = {1};
  return own;
}

bool Importer::learns(const ImportNode& node, int number, const Constant& constant) const {
  const bool slot = is_parameter_slot(node.type, number);
  const bool statistic = node.type == "BatchNormalization" && number > 2;
  if (constant.origin.empty())  // ones and zeros are an exporter's where the program has no scale or bias
    return slot && (statistic || !node.type.ends_with("Normalization") || !is_uniform(constant.floats));
  if (signature_.buffers.contains(constant.origin) && !statistic) return false;
  for (const std::string& beginning : spec_.frozen)
    if (constant.origin.starts_with(beginning)) return false;
  return slot || (constant.elements() > 1 && !hides(constant.floats));  // one number is a formula's
}

/// A tensor that learns has each of its elements once in the network, but for nodes that share all of it.
void Importer::claim_elements(const std::string& origin, int64_t total, const std::vector<int32_t>& sources) {
  std::vector<bool>& claimed = claimed_[origin];
  claimed.resize(static_cast<size_t>(total), false);
  const auto claim = [&](size_t element) {
    CHECK(element < claimed.size(), "an element of the tensor that the network takes");
    require_import(!claimed[element], "it takes " + origin +
                                          " in another form than another node does, or parts of it twice; "
                                          "model.onnx_frozen can name it");
    claimed[element] = true;
  };
  if (sources.empty())
    for (size_t i = 0; i < claimed.size(); ++i) claim(i);
  for (const int32_t source : sources) claim(static_cast<size_t>(source));
}

int Importer::add_parameter(const ImportNode& node, int number, const Constant& constant, const Role& role) {
  require_import(constant.floating, "its input " + std::to_string(number) + " is a constant of integers");
  require_import(element_count(role.shape) == constant.elements(),
                 "its input " + std::to_string(number) + " has the shape " + shape_text(constant.shape));
  const bool frozen = !learns(node, number, constant);
  taken_.insert(constant.origin);
  if (!frozen) taken_.insert(constant.joined.begin(), constant.joined.end());
  const Known* origin = constant.origin.empty() ? nullptr : known(constant.origin);
  const Constant* whole = origin == nullptr ? nullptr : std::get_if<Constant>(origin);
  const int64_t total = whole == nullptr ? constant.elements() : whole->elements();
  const std::vector<int32_t> sources = arranged(constant, role, total);
  const bool doubted = !frozen && may_have_merged();
  std::string name = constant.origin;
  if (!name.empty() && !sources.empty() && constant.elements() < total && sources.front() > 0)
    name += "." + std::to_string(sources.front());  // one of several parts
  bool apart =
      (doubted || role.statistic) && role.beside < 0 && may_be_merged(constant.floats, role.initialiser);
  const auto [first, last] = parameters_.equal_range(name);
  for (auto known = first; known != last && !apart && !role.statistic; ++known) {  // weights that nodes share
    const KnownParameter& other = known->second;
    if (other.shape == role.shape && other.sources == sources && other.factor == role.factor &&
        (!doubted || other.beside == role.beside))
      return other.index;
  }
  apart = apart || (doubted && first != last && role.beside >= 0);  // another product's bias
  const std::string known_as = name;
  if (first != last && (apart || frozen)) name.clear();
  if (name.empty()) name = unique(node.name + "." + std::to_string(number));
  if (!frozen && !apart && !constant.origin.empty()) claim_elements(constant.origin, total, sources);
  if (frozen) builder_.begin_use({node.name, "", true, spec_.position});
  const int index = role.statistic
                        ? builder_.add_statistic(name, role.shape, role.initialiser.kind)
                        : builder_.add_parameter(name, role.shape, role.initialiser, role.decays && !frozen,
                                                 role.decays && !frozen ? spec_.l2 : 0);
  if (frozen) builder_.end_use();
  parameters_.emplace(known_as.empty() ? name : known_as,
                      KnownParameter{index, role.shape, sources, role.factor, role.beside});
  if (!constant.open && (frozen || !spec_.initialise)) {
    std::vector<float>& values = given_[name];
    values = role.turned ? turned(constant.floats, constant.shape[0], constant.shape[1]) : constant.floats;
    for (float& value : values) value *= role.factor;
  }
  return index;
}

/// Of those that might learn, were they not computed with before the network takes what comes out.
void Importer::note_tensors() const {
  if (spec_.notes == nullptr) return;
  spec_.notes->lost = lost_;
  for (const messages::TensorProto& tensor : graph_.initializer()) {
    const std::string& name = tensor.name();
    const Known* found = known(name);
    const Constant* constant = found == nullptr ? nullptr : std::get_if<Constant>(found);
    const bool frozen =
        std::ranges::any_of(spec_.frozen, [&](const auto& begin) { return name.starts_with(begin); });
    if (constant != nullptr && constant->floating && constant->elements() > 1 && !hides(constant->floats) &&
        computed_.contains(name) && !taken_.contains(name) && !frozen && !signature_.buffers.contains(name))
      spec_.notes->computed.push_back(name);
  }
}

/// Each beginning of a name freezes something, and something is left to train.
void Importer::check_frozen(const model::Graph& graph) const {
  const auto& tensors = graph.layout.tensors();
  for (const std::string& beginning : spec_.frozen)
    REQUIRE(std::ranges::any_of(tensors,
                                [&](const auto& tensor) { return tensor.name.starts_with(beginning); }) ||
                std::ranges::any_of(graph_.initializer(),
                                    [&](const auto& tensor) { return tensor.name().starts_with(beginning); }),
            Exit::deck, spec_.position.text(),
            "model.onnx_frozen has \"" + beginning + "\", with which no tensor's name of " + spec_.path +
                " begins",
            "`lepton inspect` of a model lists its tensors.");
  REQUIRE(spec_.frozen.empty() || std::any_of(tensors.begin(), tensors.end(),
                                              [](const ArenaTensor& tensor) { return !tensor.frozen; }),
          Exit::deck, spec_.position.text(), "all parameters are frozen: nothing is left to train",
          "Leave some names out of model.onnx_frozen.");
}

void Importer::place_values(model::Graph& graph) {
  for (size_t t = 0; t < graph.initialisers.size(); ++t) {
    const auto given = given_.find(graph.layout.tensors()[t].name);
    if (given == given_.end()) continue;
    graph.initialisers[t] = {.kind = model::Initialiser::Kind::given};
    graph.given[static_cast<int>(t)] = std::move(given->second);
  }
}

}  // namespace lepton::onnx
