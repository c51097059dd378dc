// SPDX-License-Identifier: Apache-2.0
// The walk through an ONNX file; see importer.h.
#include "onnx/importer.h"

#include <algorithm>
#include <set>

#include "onnx/fold.h"
#include "onnx/model_file.h"
#include "onnx/slots.h"
#include "ops/table.h"

namespace lepton::onnx {

namespace {

using messages::AttributeProto;
using messages::NodeProto;

bool commutes(const std::string& type) {
  return type == "Add" || type == "Mul" || type == "Min" || type == "Max";
}

bool is_ours(const std::string& domain) {
  return domain == "lepton";
}
bool is_onnx(const std::string& domain) {
  return domain.empty() || domain == "ai.onnx";
}

/// "Attention_2", a function of an export of ours, is an Attention.
std::string own_type(const std::string& type) {
  if (ops::find_operator(type) != nullptr) return type;
  return type.substr(0, type.rfind('_'));
}

bool is_zero(const Constant& constant) {
  return constant.floating &&
         std::all_of(constant.floats.begin(), constant.floats.end(), [](float x) { return x == 0; });
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += "\n    " + line;
  return text;
}

}  // namespace

void cannot(const std::string& what) {
  fail(Exit::deck, "", what, "");
}
void require_import(bool condition, const std::string& what) {
  if (!condition) cannot(what);
}

void require_distinct(std::vector<int64_t> axes) {
  std::sort(axes.begin(), axes.end());
  require_import(std::adjacent_find(axes.begin(), axes.end()) == axes.end(), "it names an axis twice");
}

Importer::Importer(const messages::ModelProto& model, const ImportSpec& spec)
    : model_(model),
      graph_(model.graph()),
      spec_(spec),
      signature_(signature_of(model.graph())),
      lost_(lost_parameters(model.graph(), signature_)),
      data_(spec.inputs.empty() ? std::vector<model::NamedShape>{{"input", spec.input}} : spec.inputs),
      builder_(std::span<const model::NamedShape>(data_)) {}

model::Graph Importer::run() {
  const auto require = [&](bool condition, const std::string& what, const std::string& hint) {
    REQUIRE(condition, Exit::deck, spec_.position.text(), spec_.path + ": " + what, hint);
  };
  require(graph_.output_size() == 1,
          "the network has " + std::to_string(graph_.output_size()) + " outputs, one is trained",
          "Export the one alone that gives the scores.");
  find_needed();
  read_constants();
  read_inputs();
  for (const NodeProto& node : graph_.node())  // rules look at those of nodes behind theirs, too
    if (needed_.contains(&node) && node.op_type() == "Constant") {
      import_node(node);
      skip(node);
    }
  for (const NodeProto& node : graph_.node())
    if (needed_.contains(&node) && !skipped_.contains(&node)) import_node(node);
  require(problems_.empty(), "Lepton does not compute all of this network:" + joined(problems_),
          declared_batch_ > 0
              ? "The file fixes the batch at " + std::to_string(declared_batch_) +
                    ": export it with an open one (dynamic_shapes or dynamic_axes in PyTorch)."
              : "`lepton keys` names layers; DESIGN and README the operators.");
  const auto output = known_.find(graph_.output(0).name());
  const Value* scores = output == known_.end() ? nullptr : std::get_if<Value>(&output->second);
  require(scores != nullptr && !is_network_input(*scores),
          "its output " + graph_.output(0).name() + " is not computed",
          "It must depend on the network's input.");
  require(scores->plain(), "the batch is not the first dimension of its output", "");
  builder_.keep_for(scores->index);  // without values that the file takes the shape of alone
  model::Graph graph = builder_.finish();
  for (const std::string& tensor : model::unused_parameters(graph))
    require(false, tensor + " has no effect on the output", "Export the network without it.");
  place_values(graph);
  check_frozen(graph);
  note_tensors();
  return graph;
}

/// A name stands for one thing.
void Importer::refuse_names_twice() const {
  std::set<std::string> given;
  for (const messages::TensorProto& tensor : graph_.initializer()) given.insert(tensor.name());
  for (const messages::ValueInfoProto& input : graph_.input()) given.insert(input.name());
  for (const NodeProto& node : graph_.node())
    for (const std::string& output : node.output())
      REQUIRE(output.empty() || given.insert(output).second, Exit::deck, spec_.position.text(),
              spec_.path + ": two things have the name " + output, "Each output of a node has its own.");
}

/// Backwards from the output; what nobody needs is left out.
void Importer::find_needed() {
  refuse_names_twice();
  std::map<std::string, const NodeProto*> producers;
  for (const NodeProto& node : graph_.node())
    for (const std::string& output : node.output()) producers[output] = &node;
  std::vector<std::string> open{graph_.output(0).name()};
  while (!open.empty()) {
    const auto producer = producers.find(open.back());
    open.pop_back();
    if (producer == producers.end() || !needed_.insert(producer->second).second) continue;
    for (const std::string& input : producer->second->input())
      if (!input.empty()) open.push_back(input);
  }
  for (const NodeProto& node : graph_.node())
    if (needed_.contains(&node))
      for (const std::string& input : node.input())
        if (!input.empty()) consumers_[input].push_back(&node);
}

void Importer::read_constants() {
  for (const messages::TensorProto& tensor : graph_.initializer()) {
    if (!consumers_.contains(tensor.name())) continue;
    try {
      known_[tensor.name()] = read_tensor(tensor);
    } catch (const Error& error) {
      fail(Exit::deck, spec_.path, error.problem(), "");
    }
  }
}

std::string Importer::unique(const std::string& wish) {
  std::string name = wish;
  for (int i = 2; !names_.insert(name).second; ++i) name = wish + "_" + std::to_string(i);
  return name;
}

ImportNode Importer::named(const NodeProto& proto) {
  const std::string wish = !proto.name().empty()     ? proto.name()
                           : proto.output_size() > 0 ? proto.output(0)
                                                     : proto.op_type();
  const bool own = is_ours(proto.domain());
  return {proto, own ? own_type(proto.op_type()) : proto.op_type(), unique(wish), own};
}

void Importer::note_problem(const ImportNode& node, const std::string& what) {
  problems_.push_back(node.name + " (" + node.type + "): " + what);
  for (int i = 0; i < node.proto.output_size(); ++i) give(node, i, Unknown{});
}

void Importer::import_node(const NodeProto& proto) {
  const ImportNode node = named(proto);
  bool unknown = false;
  for (const std::string& name : proto.input()) {
    if (name.empty()) continue;
    const auto found = known_.find(name);
    if (found == known_.end()) return note_problem(node, "its input " + name + " is not computed before it");
    unknown = unknown || std::holds_alternative<Unknown>(found->second);
  }
  if (unknown) {  // told where it began
    for (int i = 0; i < proto.output_size(); ++i) give(node, i, Unknown{});
    return;
  }
  try {
    require_import(node.own || is_onnx(proto.domain()),
                   "Lepton has no operators of the domain " + proto.domain());
    if (fold_node(node)) return;
    const ImportRule rule = node.own ? nullptr : find_import_rule(node.type);
    if (rule != nullptr)
      rule(*this, node);
    else
      add_by_table(node);
  } catch (const Error& error) {
    if (error.code() != Exit::deck) throw;
    const std::string prefix = "layer \"" + node.name + "\": ";
    const std::string& what = error.problem();
    note_problem(node, what.starts_with(prefix) ? what.substr(prefix.size()) : what);
  }
}

bool Importer::fold_node(const ImportNode& node) {
  if (node.own) return false;
  std::vector<const Constant*> inputs;
  for (int i = 0; i < node.proto.input_size(); ++i) {
    const Known* known = input(node, i);
    if (known != nullptr && !std::holds_alternative<Constant>(*known)) return false;
    inputs.push_back(constant(node, i));
  }
  require_import(folds(node.type), "of constants Lepton does not compute it");
  require_one_output(node);
  Constant result = fold(node.proto, inputs);
  const bool kept = !result.origin.empty() || !result.joined.empty() || !result.floating;
  for (const Constant* one : inputs)
    if (one != nullptr && !kept) computed_.insert(one->origin);
  give(node, 0, std::move(result));
  return true;
}

const Known* Importer::known(const std::string& name) const {
  const auto found = known_.find(name);
  return found == known_.end() ? nullptr : &found->second;
}
const Known* Importer::input(const ImportNode& node, int number) const {
  if (number >= node.proto.input_size() || node.proto.input(number).empty()) return nullptr;
  return &known_.at(node.proto.input(number));
}
const Value* Importer::value(const ImportNode& node, int number) const {
  const Known* known = input(node, number);
  return known == nullptr ? nullptr : std::get_if<Value>(known);
}
const Constant* Importer::constant(const ImportNode& node, int number) const {
  const Known* known = input(node, number);
  return known == nullptr ? nullptr : std::get_if<Constant>(known);
}
const Constant& Importer::required(const ImportNode& node, int number) const {
  const Constant* found = constant(node, number);
  require_import(found != nullptr, "its input " + std::to_string(number) + " must be constant");
  return *found;
}
const Value& Importer::required_value(const ImportNode& node, int number) const {
  const Value* found = value(node, number);
  require_import(found != nullptr,
                 "its input " + std::to_string(number) + " must be computed from the network's input");
  return *found;
}

void Importer::give(const ImportNode& node, int output, Known known) {
  if (output < node.proto.output_size() && !node.proto.output(output).empty())
    known_[node.proto.output(output)] = std::move(known);
}
bool Importer::is_used(const ImportNode& node, int output) const {
  if (output >= node.proto.output_size()) return false;
  const std::string& name = node.proto.output(output);
  return !name.empty() && (consumers_.contains(name) || name == graph_.output(0).name());
}
void Importer::require_one_output(const ImportNode& node) const {
  for (int i = 1; i < node.proto.output_size(); ++i)
    require_import(!is_used(node, i), "its output " + node.proto.output(i) + " is not computed");
}
const NodeProto* Importer::producer(const std::string& output) const {
  for (const NodeProto* node : needed_)
    if (std::find(node->output().begin(), node->output().end(), output) != node->output().end()) return node;
  return nullptr;
}
std::vector<const NodeProto*> Importer::consumers(const std::string& name) const {
  const auto found = consumers_.find(name);
  return found == consumers_.end() ? std::vector<const NodeProto*>{} : found->second;
}
const NodeProto* Importer::only_consumer(const NodeProto& node, int output) const {
  const auto found = consumers_.find(node.output(output));
  if (found == consumers_.end() || found->second.size() != 1) return nullptr;
  return node.output(output) == graph_.output(0).name() ? nullptr : found->second.front();
}

ops::Attributes Importer::attributes(const ImportNode& node) const {
  ops::Attributes attributes;
  for (const AttributeProto& attribute : node.proto.attribute()) {
    switch (attribute.type()) {
      case AttributeProto::INT:
        attributes[attribute.name()] = attribute.i();
        break;
      case AttributeProto::FLOAT:
        attributes[attribute.name()] = shortest(attribute.f());
        break;
      case AttributeProto::STRING:
        attributes[attribute.name()] = attribute.s();
        break;
      case AttributeProto::INTS:
        attributes[attribute.name()] = std::vector<int64_t>(attribute.ints().begin(), attribute.ints().end());
        break;
      case AttributeProto::STRINGS:
        attributes[attribute.name()] =
            std::vector<std::string>(attribute.strings().begin(), attribute.strings().end());
        break;
      case AttributeProto::FLOATS: {
        std::vector<double> numbers;
        for (const float number : attribute.floats()) numbers.push_back(shortest(number));
        attributes[attribute.name()] = std::move(numbers);
        break;
      }
      default:
        cannot("its attribute " + attribute.name() + " is of a kind that Lepton's operators do not take");
    }
  }
  return attributes;
}

Operands Importer::operands(const ImportNode& node) {
  Operands result{attributes(node), {}, {}};
  std::vector<int64_t> places;  // of constants
  const Value* largest = nullptr;
  for (int i = 0; i < node.proto.input_size(); ++i) {
    const Value* one = value(node, i);
    if (one != nullptr && (largest == nullptr || rank(*one) > rank(*largest))) largest = one;
  }
  require_import(largest != nullptr, "it does not depend on the network's input");
  for (int i = 0; i < node.proto.input_size(); ++i) {
    if (input(node, i) == nullptr) continue;
    if (const AttributeSlot* slot = node.own ? nullptr : find_slot(node.type, i)) {
      const Constant& given = required(node, i);
      if (slot->kind == AttributeSlot::Kind::integers) {
        result.attributes[slot->name] = given.numbers();
        continue;
      }
      require_import(given.elements() == 1, "its input " + slot->name + " must be one number");
      if (slot->kind == AttributeSlot::Kind::integer)
        result.attributes[slot->name] = given.numbers().front();
      else
        result.attributes[slot->name] =
            given.floating ? shortest(given.floats[0]) : static_cast<double>(given.numbers()[0]);
      continue;
    }
    if (const Value* one = value(node, i)) {
      result.values.push_back(*one);
      continue;
    }
    const Constant* given = constant(node, i);
    require_import(given != nullptr, "its input " + std::to_string(i) + " is a sequence of tensors");
    Constant numbers;
    if (broadcasts(node.type) && !given->floating) {  // a mask, say
      numbers = cast(*given, true);
      given = &numbers;
    }
    if (is_bias(node.type, i) && given->origin.empty() && is_zero(*given)) continue;  // it has none
    places.push_back(i);
    const Shape own = broadcasts(node.type) ? without_batch(*given, *largest) : given->shape;
    Role role = role_of(node, i, own);
    if (is_bias(node.type, i) && !result.parameters.empty()) role.beside = result.parameters.front();
    result.parameters.push_back(add_parameter(node, i, *given, role));
  }
  if (!broadcasts(node.type) || commutes(node.type) || places.empty()) return result;
  if (places.size() == 1 && places.front() == 0)
    result.attributes["parameter_first"] = int64_t{1};
  else if (places.front() < std::ssize(result.values))  // else they stand behind the values anyway
    result.attributes["parameter_at"] = places;
  return result;
}

void Importer::add_by_table(const ImportNode& node) {
  require_import(ops::find_operator(node.type) != nullptr, "Lepton has no such operator");
  require_import(node.type != "SparseMatMul", "its matrix is not in the file");
  require_import(node.own || node.type != "Attention" || input(node, 3) == nullptr,
                 "its attn_mask is for pairs of queries and keys");
  require_one_output(node);
  give(node, 0, append(node.type, node.name, operands(node)));
}

model::Graph import_network(const std::string& bytes, const ImportSpec& spec) {
  const messages::ModelProto model = parse_model(spec.path, bytes);
  return Importer(model, spec).run();
}

}  // namespace lepton::onnx
