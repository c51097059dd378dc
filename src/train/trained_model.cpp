// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/trained_model.h"

#include <fmt/format.h>

#include <utility>

#include "data/store.h"
#include "train/compare_deck.h"
#include "train/resume.h"

namespace lepton::train {

namespace {

/// Statistics of `groups` features or channels normalise rows of as many only.
void check_groups(size_t groups, const data::Dataset& dataset, const std::string& model,
                  const std::string& source) {
  const int64_t own = dataset.statistics_groups();
  if (own == 0) return;
  REQUIRE(groups == static_cast<size_t>(own), Exit::deck, source,
          fmt::format("rows of shape {} are normalised by {} features or channels, those that {} was trained "
                      "on by {}",
                      shape_text(dataset.input_shape()), own, model, groups),
          "Give rows of the shape, and the deck (data.layout too), that the model was trained with.");
}

void read_checkpoint(const SavedState& saved, const data::Dataset& dataset, const std::string& source,
                     std::span<float> parameters) {
  const auto elements = static_cast<int64_t>(parameters.size());
  const int64_t of_saved = saved.reader.manifest().layout.elements;
  REQUIRE(elements == of_saved, Exit::deck, source,
          fmt::format("on rows of shape {} this network has {} elements, the one in {} has {}",
                      shape_text(dataset.input_shape()), elements, saved.path, of_saved),
          "Give rows of the shape, and the deck, that the checkpoint was trained with.");
  saved.reader.read("parameters", 0, elements, parameters);
}

}  // namespace

std::string model_path(const Deck& deck, const Options& options) {
  return options.checkpoint.empty() ? deck.run.directory : options.checkpoint;
}

TrainedModel load_model(const comm::World& world, const Deck& deck, const data::DataSpec& training,
                        const model::Graph& graph, const data::Dataset& dataset, const std::string& path,
                        const std::string& source) {
  TrainedModel model{path, {}, {}};
  model.parameters.resize(graph.layout.elements());
  if (!model.path.ends_with(".safetensors")) {
    const SavedState saved = open_saved(world, model.path);
    comm::agree(world, [&] {
      require_same_model(saved.reader.manifest().identity, deck, saved.path, false);
      require_same_shape(saved.reader.manifest().identity, dataset.inputs(), source, saved.path);
      read_checkpoint(saved, dataset, source, model.parameters);
      check_groups(saved.state.statistics.mean.size(), dataset, saved.path, source);
    });
    return {saved.path, std::move(model.parameters), saved.state.statistics};
  }
  comm::agree(world, [&] { read_model_file(model.path, graph, model.parameters); });
  if (dataset.statistics_groups() == 0) return model;
  data::Dataset trained_on(world, training);
  comm::agree(world, [&] {
    REQUIRE(trained_on.has(data::SplitKind::train), Exit::deck, "data.train",
            "a bare model needs the train split for the statistics of data.normalize",
            "Give data.train, or a checkpoint.");
    check_groups(static_cast<size_t>(trained_on.statistics_groups()), dataset, model.path, source);
  });
  model.statistics = data::SampleStore(world, trained_on, deck.run.shm_directory, nullptr).statistics();
  return model;
}

}  // namespace lepton::train
