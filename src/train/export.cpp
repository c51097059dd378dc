// SPDX-License-Identifier: Apache-2.0
// The command `export`: a trained network as an ONNX file for other programs. Rank 0 writes. Called by main.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "data/dataset.h"
#include "data/input_converter.h"
#include "onnx/export.h"
#include "storage/file.h"
#include "train/commands.h"
#include "train/setup.h"
#include "train/trained_model.h"

namespace lepton::train {

namespace {

/// The deck's normalisation as (x - shift) * factor: of images by channel, else by number of a sample.
void set_normalisation(const data::Dataset& dataset, const data::Statistics& statistics,
                       onnx::ExportSpec& spec) {
  const data::Input& input = dataset.inputs().front();
  const auto groups = static_cast<size_t>(input.groups());
  std::vector<double> shift(groups, 0), factor(groups, 1);
  data::group_normalisation(input.rules.normalisation, statistics,
                            static_cast<size_t>(dataset.first_group(input)), shift, factor);
  const data::GroupMap map = data::GroupMap::of(input.shape, input.layout);
  const bool by_channel = dataset.input_shape().size() >= 3;
  spec.normalised = dataset.input_shape();
  if (by_channel) std::fill(spec.normalised.begin() + 1, spec.normalised.end(), 1);
  for (int64_t i = 0; i < element_count(spec.normalised); ++i) {
    const auto group = static_cast<size_t>(by_channel ? i : map.group(i));
    spec.shift.push_back(static_cast<float>(shift[group]));
    spec.factor.push_back(static_cast<float>(factor[group]));
  }
}

}  // namespace

Exit export_model(const comm::World& world, const Options& options) {
  const Deck deck = load_deck(world, options);
  comm::agree(world, [&] {
    if (world.rank() == 0) storage::require_replaceable(options.output);
    REQUIRE(!options.normalize || deck.data.normalisation != data::Normalisation::none, Exit::usage,
            "--normalize", "the deck does not normalise its inputs", "Leave it out.");
  });
  const bool inside = options.normalize;
  const data::Dataset dataset(world, deck.data);
  const model::Graph graph = graph_for(world, deck, dataset);
  data::DataSpec training = deck.data;  // whose statistics a bare model needs for --normalize alone
  if (!inside) training.normalisation = data::Normalisation::none;
  const TrainedModel model =
      load_model(world, deck, training, graph, dataset, model_path(deck, options), deck.path);
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    onnx::ExportSpec spec;
    spec.opset = options.opset;
    spec.version = options.version;
    if (inside) set_normalisation(dataset, model.statistics, spec);
    const onnx::Exported exported = onnx::export_network(graph, model.parameters, spec);
    storage::replace_file(options.output, exported.bytes);
    for (const std::string& note : exported.notes) log_info(note);
    if (!inside && deck.data.normalisation != data::Normalisation::none)
      log_info(
          "the network takes inputs as data.normalize makes them; --normalize puts that into the model.");
    log_info(fmt::format("{} is {} in ONNX's opset {}.", options.output, model.path, options.opset));
    if (options.json)
      fmt::print("{}\n", nlohmann::ordered_json{{"model", model.path},
                                                {"output", options.output},
                                                {"opset", options.opset},
                                                {"bytes", exported.bytes.size()}}
                             .dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  });
  return Exit::done;
}

}  // namespace lepton::train
