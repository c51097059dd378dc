// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/classes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/hash.h"
#include "model/initialise.h"
#include "ops/table.h"
#include "train/fingerprint.h"

namespace lepton::train {

namespace {

void require_one_class(const Deck& deck, std::span<const std::string> of_rank) {
  for (size_t rank = 1; rank < of_rank.size(); ++rank)
    REQUIRE(of_rank[rank] == of_rank[0], Exit::deck, deck.place("balance.classes"),
            fmt::format("ranks compute differently: rank 0 is '{}', rank {} is '{}'", of_rank[0], rank,
                        of_rank[rank]),
            "Use nodes of one kind, cap the instruction set with run.isa = \"avx2\", or allow several by "
            "balance.classes.");
}

/// The first share that names a rank's class.
int share_of(const Deck& deck, const std::string& rank_class, size_t rank) {
  const std::vector<ClassShare>& shares = deck.balance.shares;
  for (size_t s = 0; s < shares.size(); ++s)
    if (rank_class.starts_with(shares[s].name)) return static_cast<int>(s);
  fail(Exit::deck, deck.place("balance.shares"),
       fmt::format("rank {} is '{}', which no share names", rank, rank_class),
       "Name how it begins, as in \"1 cpu\"; or start without such ranks.");
}

void sort_by_share(const Deck& deck, std::span<const std::string> of_rank, std::span<const int> node_of_rank,
                   Classes& classes) {
  const std::vector<ClassShare>& shares = deck.balance.shares;
  std::vector<std::string> found(shares.size());
  for (size_t rank = 0; rank < of_rank.size(); ++rank) {
    const int c = share_of(deck, of_rank[rank], rank);
    std::string& first = found[static_cast<size_t>(c)];
    if (first.empty()) first = of_rank[rank];
    REQUIRE(first == of_rank[rank], Exit::deck, deck.place("balance.shares"),
            fmt::format("ranks of the share '{}' compute differently: '{}' and '{}'",
                        shares[static_cast<size_t>(c)].name, first, of_rank[rank]),
            "Give each of them a share of its own: names may be as long as the classes are.");
    classes.of_node[static_cast<size_t>(node_of_rank[rank])] = c;
  }
  std::vector<std::string> texts;
  for (size_t s = 0; s < shares.size(); ++s) {
    REQUIRE(!found[s].empty(), Exit::no_device, deck.place("balance.shares"),
            fmt::format("no rank of this job is of the class '{}', which has a share", shares[s].name),
            "Start with such a rank; or change the shares, which changes the bits.");
    texts.push_back(fmt::format("{} of [{}]", shares[s].units, found[s]));
    classes.shares.push_back(shares[s].units);
  }
  classes.arithmetic = fmt::format("{}", fmt::join(texts, ", "));
}

}  // namespace

std::string rank_class(const Deck& deck, const model::Graph& graph, const std::string& instruction_set,
                       std::span<const float> parameters, DeviceState* device) {
  const int64_t samples = std::min(deck.train.unit_size, deck.train.batch_size);
  if (!device)
    return fmt::format("cpu {} {} {}", instruction_set, ops::math_library_version(),
                       hex64(fingerprint(graph, samples, parameters)));
  const ops::Engine& engine = device->engine();
  return fmt::format("{}{}, {}, {}", engine.device().kind == DeviceKind::cuda ? "cuda " : "",
                     engine.backend->properties().name, engine.libraries,
                     hex64(device_fingerprint(graph, samples, parameters, *device)));
}

Classes one_class(int nodes) {
  return {"", {}, std::vector<int>(static_cast<size_t>(nodes), 0), {1}};
}

Classes sort_classes(const Deck& deck, std::span<const std::string> of_rank,
                     std::span<const int> node_of_rank) {
  Classes classes = one_class(*std::max_element(node_of_rank.begin(), node_of_rank.end()) + 1);
  for (const std::string& member : of_rank)
    if (std::find(classes.members.begin(), classes.members.end(), member) == classes.members.end())
      classes.members.push_back(member);
  switch (deck.balance.classes) {
    case ClassPolicy::refuse:
      require_one_class(deck, of_rank);
      classes.arithmetic = of_rank[0];
      break;
    case ClassPolicy::fixed:
      classes.shares.clear();
      sort_by_share(deck, of_rank, node_of_rank, classes);
      break;
    case ClassPolicy::free:
      classes.arithmetic = "free";
      break;
  }
  return classes;
}

Classes settle_classes(const comm::World& world, const Deck& deck, const model::Graph& graph,
                       const std::string& instruction_set, std::span<float> parameters, DeviceState* device) {
  if (world.leads())
    model::initialise(graph, 0x1e9701, 0, static_cast<int>(graph.layout.tensors().size()), parameters);
  world.node_barrier();
  const std::string mine = rank_class(deck, graph, instruction_set, parameters, device);
  world.node_barrier();
  const std::vector<std::string> of_rank = world.all_gather(mine);
  std::vector<int> node_of_rank;
  for (const std::string& node : world.all_gather(std::to_string(world.node())))
    node_of_rank.push_back(std::stoi(node));
  Classes classes;
  comm::agree(world, [&] { classes = sort_classes(deck, of_rank, node_of_rank); });
  return classes;
}

}  // namespace lepton::train
