// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/loss_parts.h"

#include <algorithm>

#include "base/error.h"

namespace lepton::train {

std::vector<LossPart> loss_parts(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph) {
  std::vector<LossPart> parts;
  CHECK(deck.losses.size() == graph.heads.size(), "a head for each loss");
  for (size_t i = 0; i < deck.losses.size(); ++i) {
    const NamedLoss& named = deck.losses[i];
    const model::Head& head = graph.heads[i];
    const int64_t positions = dataset.targets()[i].positions;
    const ops::Loss loss(named.spec, head.count / positions, {.positions = positions});
    parts.push_back({named.name, loss, head.first, head.count, positions, named.weight / loss.weight_of(1)});
  }
  return parts;
}

ops::Loss whole_loss(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph) {
  if (!deck.losses.empty()) return {ops::LossSpec{.kind = ops::LossKind::mse}, graph.outputs()};
  return {deck.loss,
          graph.outputs() / dataset.positions(),
          {dataset.positions(), deck.data.ignored_class.has_value(), deck.class_weights}};
}

void take_part(std::span<const float> scores, int64_t samples, const LossPart& part, std::span<float> to) {
  const int64_t row = std::ssize(scores) / samples;
  for (int64_t i = 0; i < samples; ++i)
    std::copy_n(scores.data() + i * row + part.first, part.count, to.data() + i * part.count);
}

void put_part(std::span<const float> from, int64_t samples, const LossPart& part, std::span<float> gradient) {
  const int64_t row = std::ssize(gradient) / samples;
  const auto factor = static_cast<float>(part.factor);
  for (int64_t i = 0; i < samples; ++i)
    std::transform(from.data() + i * part.count, from.data() + (i + 1) * part.count,
                   gradient.data() + i * row + part.first, [=](float value) { return value * factor; });
}

}  // namespace lepton::train
