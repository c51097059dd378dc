// SPDX-License-Identifier: Apache-2.0
// From deck to graph and unit sizes. Called by the commands train, evaluate, predict and check.
#include "train/setup.h"

#include <algorithm>
#include <set>

#include "base/hash.h"
#include "base/log.h"
#include "comm/shared_memory.h"
#include "data/batch.h"
#include "exact/scale.h"
#include "model/layers.h"
#include "onnx/import.h"
#include "onnx/model_file.h"
#include "storage/file.h"
#include "train/adjacency.h"
#include "train/deck_tree.h"

namespace lepton::train {

/// **Collective.** The content of model.onnx, which rank 0 reads.
static std::string network_content(const comm::World& world, const Deck& deck) {
  std::string content;
  comm::agree(world, [&] {
    if (world.rank() == 0) content = onnx::read_model(deck.network.path);
  });
  world.broadcast(content);
  return content;
}

constexpr const char* content_key = "model.onnx_content";

Deck load_deck(const comm::World& world, const Options& options) {
  std::string text;
  comm::agree(world, [&] {
    if (world.rank() == 0) text = storage::read_file(options.target);
  });
  world.broadcast(text);
  Deck deck;
  comm::agree(world, [&] { deck = parse_deck(options.target, text, options.overrides); });
  if (options.max_steps > 0) deck.train.max_steps = options.max_steps;
  if (!deck.network.path.empty())
    deck.mathematical[content_key] = toml_text(hex64(hash64(network_content(world, deck))));
  return deck;
}

/// The deck's network with what the data say of its ends.
static model::ModelSpec model_spec(const Deck& deck, const data::Dataset& dataset) {
  model::ModelSpec spec = deck.model;
  spec.input = dataset.input_shape();
  spec.inputs.clear();
  for (const data::Input& input : dataset.inputs()) spec.inputs.push_back({input.name, input.shape});
  spec.outputs = dataset.outputs();
  const bool targets = !dataset.sources().front().targets.empty();
  spec.positions = targets ? dataset.positions() : 0;
  for (size_t i = 0; i < spec.heads.size(); ++i) {
    spec.heads[i].outputs = dataset.targets()[i].outputs;
    spec.heads[i].positions = targets ? dataset.targets()[i].positions : 0;
  }
  spec.memory_bytes_max = static_cast<int64_t>(comm::available_memory_bytes(deck.run.shm_directory));
  const auto file = deck.positions.find("model.onnx");
  if (file != deck.positions.end()) spec.position = file->second;
  return spec;
}

static void require_memory_for(const model::Graph& graph, const model::ModelSpec& spec) {
  REQUIRE(graph.layout.elements() <= spec.memory_bytes_max / static_cast<int64_t>(sizeof(float)),
          Exit::memory, spec.position.text(), "the parameters alone need more memory than there is", "");
}

/// What the loss applies itself must not stand at the network's end.
static void warn_of_scores(const comm::World& world, const Deck& deck, const model::Graph& graph) {
  const std::string& last = graph.nodes.back().type;
  const bool softmax =
      deck.loss.kind == ops::LossKind::softmax_cross_entropy && (last == "Softmax" || last == "LogSoftmax");
  const bool sigmoid = deck.loss.kind == ops::LossKind::binary_cross_entropy && last == "Sigmoid";
  if (world.rank() == 0 && (softmax || sigmoid))
    log_warning(deck.place("model.onnx") + ": the loss takes raw scores, but the network ends with " + last +
                ", which the loss applies itself. Export it without.");
}

static void warn_of_tensors(const comm::World& world, const Deck& deck, const onnx::TensorNotes& notes) {
  if (world.rank() != 0) return;
  if (!notes.computed.empty())
    log_warning(deck.place("model.onnx") + ": " + std::to_string(notes.computed.size()) + " tensors, " +
                notes.computed.front() +
                " first, do not learn: nodes compute with them alone before the network "
                "takes them. Name them in model.onnx_frozen if that is wanted.");
  if (notes.lost.empty()) return;
  log_warning(deck.place("model.onnx") + ": PyTorch's exporter has rewritten " + deck.network.path +
              " for inference: " + std::to_string(notes.lost.size()) + " parameters of the program, " +
              notes.lost.front() +
              " first, are folded into others, or merged. It trains as it is; to train what "
              "PyTorch would, export it with torch.onnx.export(..., dynamo=True, optimize=False).");
}

/// **Collective.**
static model::Graph graph_from_file(const comm::World& world, const Deck& deck,
                                    const data::Dataset& dataset) {
  const std::string content = network_content(world, deck);
  model::Graph graph;
  onnx::TensorNotes notes;
  comm::agree(world, [&] {
    const auto known = deck.mathematical.find(content_key);
    REQUIRE(known == deck.mathematical.end() || known->second == toml_text(hex64(hash64(content))), Exit::io,
            deck.network.path, "the file has changed since the deck was read", "Run it again.");
    const model::ModelSpec spec = model_spec(deck, dataset);
    graph =
        onnx::import_network(content, {deck.network.path, spec.position, spec.input, spec.l2,
                                       deck.network.initialise, deck.network.frozen, spec.inputs, &notes});
    require_memory_for(graph, spec);
    model::check_outputs(graph, spec);
  });
  warn_of_scores(world, deck, graph);
  warn_of_tensors(world, deck, notes);
  return graph;
}

model::Graph graph_for(const comm::World& world, const Deck& deck, const data::Dataset& dataset) {
  if (!deck.network.path.empty()) return graph_from_file(world, deck, dataset);
  model::Graph graph;
  std::shared_ptr<const ops::SparseMatrix> adjacency;
  if (!deck.adjacency.empty())
    adjacency =
        read_adjacency(world, dataset.sources().front().inputs.front().arrays.front().file, deck.adjacency);
  comm::agree(world, [&] {
    model::ModelSpec spec = model_spec(deck, dataset);
    spec.adjacency = adjacency;
    graph = model::build_graph(spec);
  });
  return graph;
}

void require_outputs(const comm::World& world, const Deck& deck, const data::Dataset& dataset,
                     const model::Graph& graph) {
  comm::agree(world, [&] { model::check_outputs(graph, model_spec(deck, dataset)); });
}

int gradient_bits(const Deck& deck, const model::Graph& graph) {
  const int64_t units = (deck.train.batch_size + deck.train.unit_size - 1) / deck.train.unit_size;
  return exact::limit_bits(units * model::contributions_most(graph));
}

static void require_metrics_fit(const Deck& deck, int64_t outputs) {
  const int64_t classes = ops::Loss(deck.loss, outputs).tally_classes();
  for (const std::string& name : deck.evaluation.metrics) {
    const bool any = name.starts_with("macro_") || name == "mean_iou";
    REQUIRE(any ? classes > 0 : classes == 2, Exit::deck,
            deck.place(deck.evaluation.metric == name ? "evaluation.metric" : "evaluation.metrics"),
            "the metric " + name + " is one of two classes, but the network gives scores of " +
                std::to_string(classes),
            name == "auc" ? "With more there is no one curve: leave it out."
                          : "Take macro_" + name + ", the mean over the classes.");
  }
}

/// Areas need more than single values.
static void require_areas(ops::LossKind loss, int64_t positions, int64_t outputs, const std::string& place) {
  if (loss == ops::LossKind::softmax_dice) {
    REQUIRE(positions > 1, Exit::deck, place,
            "softmax_dice compares areas, but targets have one class id per sample",
            "It needs targets with a class id for each pixel, [N, height, width], or token.");
    REQUIRE(outputs <= ops::dice_classes_max, Exit::deck, place,
            "softmax_dice takes at most " + std::to_string(ops::dice_classes_max) +
                " classes, the network gives scores of " + std::to_string(outputs),
            "Use softmax_cross_entropy or softmax_focal.");
  }
  REQUIRE(loss != ops::LossKind::binary_dice || outputs > 1, Exit::deck, place,
          "binary_dice compares areas, but targets have one value per sample",
          "It needs targets with a value from 0 to 1 for each pixel, and as many scores.");
}

void require_loss_fits(const comm::World& world, const Deck& deck, const data::Dataset& dataset,
                       const model::Graph& graph) {
  comm::agree(world, [&] {
    for (size_t i = 0; i < deck.losses.size(); ++i) {
      const int64_t positions = dataset.targets()[i].positions;
      require_areas(deck.losses[i].spec.kind, positions, graph.heads[i].count / positions,
                    deck.losses[i].position.text());
    }
    if (!deck.losses.empty()) return;
    const int64_t positions = dataset.positions(), outputs = graph.outputs() / positions;
    require_areas(deck.loss.kind, positions, outputs, deck.place("model.loss"));
    REQUIRE(deck.class_weights.empty() || std::ssize(deck.class_weights) == outputs, Exit::deck,
            deck.place("model.class_weights"),
            "model.class_weights has " + std::to_string(deck.class_weights.size()) +
                " weights, but the network gives scores of " + std::to_string(outputs) + " classes",
            "Give each class one, in the order of the ids.");
    require_metrics_fit(deck, outputs);
  });
}

UnitSizes unit_sizes(const Deck& deck, const data::Dataset& dataset) {
  UnitSizes sizes;
  const int64_t unit = deck.train.unit_size, batch = deck.train.batch_size;
  const int64_t samples =
      dataset.has(data::SplitKind::train) ? dataset.split(data::SplitKind::train).samples : 0;
  if (samples > 0) sizes.training = data::unit_sizes_occurring(samples, std::min(batch, samples), unit);
  sizes.evaluation_round = unit * std::max<int64_t>((batch + unit - 1) / unit, 32);
  std::set<int64_t> inference;
  for (data::SplitKind kind : {data::SplitKind::train, data::SplitKind::validation, data::SplitKind::test}) {
    if (!dataset.has(kind)) continue;
    const int64_t n = dataset.split(kind).samples;
    for (int64_t size : data::unit_sizes_occurring(n, std::min(sizes.evaluation_round, n), unit))
      inference.insert(size);
  }
  sizes.inference.assign(inference.begin(), inference.end());
  sizes.max_samples = std::max(batch, sizes.evaluation_round);
  sizes.max_units = (sizes.max_samples + unit - 1) / unit;
  return sizes;
}

}  // namespace lepton::train
