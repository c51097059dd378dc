// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/kept_copies.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/error.h"
#include "base/hash.h"
#include "base/watchdog.h"
#include "checkpoint/redundancy.h"
#include "exact/slices.h"
#include "storage/erasure.h"
#include "train/redundant_state.h"

namespace lepton::train {

namespace {

using checkpoint::NodeGroup;
using checkpoint::Rotation;

std::optional<CopyViews> views_of(std::span<std::byte> file, const KeptLabel& label) {
  CopyViews views;
  const int64_t segments = NodeGroup::of(label.node, label.nodes).count - label.parity;
  const exact::Slices slices = exact::cut_arena(label.elements, label.nodes);
  const int64_t begins = slices.elements[static_cast<size_t>(label.node)],
                ends = slices.elements[static_cast<size_t>(label.node) + 1];
  if (segments < 1 || label.slice_begin != begins || label.slice_end != ends ||
      (1 + label.moments) * (ends - begins) * static_cast<int64_t>(sizeof(float)) >
          segments * label.segment_bytes)
    return std::nullopt;
  const size_t begin = KeptState(file).state_begin();
  if (begin + cut_copies(nullptr, label, views) > file.size()) return std::nullopt;
  cut_copies(file.data() + begin, label, views);
  return views;
}

/// A block of a stripe that is there: its number in the code, and where it lies.
struct Block {
  int number = 0;
  const KeptPart* of = nullptr;
  size_t at = 0;  ///< within the part, or the parity
};

/// Blocks of one group of nodes.
class Group {
 public:
  Group(const std::vector<KeptPart>& copies, int node, int parity)
      : copies_(copies),
        nodes_(NodeGroup::of(node, static_cast<int>(copies.size()))),
        rotation_{nodes_.count, parity} {}
  const NodeGroup& nodes() const { return nodes_; }
  const Rotation& rotation() const { return rotation_; }
  const KeptPart& copy(int node) const { return copies_[static_cast<size_t>(nodes_.first + node)]; }

  /// As many as the code needs, or all that there are.
  std::vector<Block> left(int stripe, size_t segment_bytes) const {
    std::vector<Block> blocks;
    const int data = rotation_.segments();
    for (int i = 0; i < data + rotation_.parity && std::ssize(blocks) < data; ++i) {
      const bool of_data = i < data;
      const int at = of_data ? i : i - data;
      const KeptPart& of =
          copy(of_data ? rotation_.data_node(stripe, at) : rotation_.parity_node(stripe, at));
      if (of_data ? of.part : of.parity) blocks.push_back({i, &of, static_cast<size_t>(at) * segment_bytes});
    }
    return blocks;
  }
  bool whole() const {
    bool enough = true;
    for (int stripe = 0; stripe < rotation_.nodes; ++stripe)
      enough = enough && std::ssize(left(stripe, 0)) == rotation_.segments();
    return enough;
  }

 private:
  const std::vector<KeptPart>& copies_;
  NodeGroup nodes_;
  Rotation rotation_;
};

/// Files of this rank's machine, each mapped once.
class Files {
 public:
  explicit Files(const comm::World& world) : world_(world) {}
  /// **Collective.** What this rank has of a copy; nothing on the others.
  std::span<const std::byte> bytes(const KeptPart& copy, bool parity) {
    std::span<const std::byte> bytes;
    comm::agree(world_, [&] {
      if (world_.rank() != copy.rank) return;
      std::unique_ptr<Mapping>& file = files_[copy.path];
      if (!file) file = std::make_unique<Mapping>(copy.path);
      const std::optional<CopyViews> views =
          file->bytes().empty() ? std::nullopt : views_of(file->bytes(), copy.label);
      REQUIRE(views, Exit::io, copy.path, "the state kept in memory is gone", "Start the job again.");
      bytes = parity ? views->parity[static_cast<size_t>(copy.slot)]
                     : views->part[static_cast<size_t>(copy.slot)];
    });
    return bytes;
  }

 private:
  const comm::World& world_;
  std::map<std::string, std::unique_ptr<Mapping>> files_;
};

using TakeFloats = std::function<void(int64_t begin, std::span<const float> values)>;

/// **Collective.** The part of a lost node, in order.
void rebuild(const comm::World& world, const Group& group, int node, Files& files, const TakeFloats& take) {
  constexpr size_t chunk_max = size_t{4} << 20;
  const std::span<const KeptPart> copies(&group.copy(0), static_cast<size_t>(group.rotation().nodes));
  const KeptPart& witness =
      *std::find_if(copies.begin(), copies.end(), [](const KeptPart& copy) { return copy.rank >= 0; });
  const auto segment = static_cast<size_t>(witness.label.segment_bytes);
  const Rotation& rotation = group.rotation();
  const storage::Erasure code(rotation.segments(), rotation.parity);
  std::vector<uint64_t> hashes;
  for (int s = 0; s < rotation.segments(); ++s) {
    const std::vector<Block> blocks = group.left(rotation.stripe_of_segment(node, s), segment);
    std::vector<int> numbers;
    std::vector<std::span<const std::byte>> mine;
    for (const Block& block : blocks) {
      numbers.push_back(block.number);
      mine.push_back(files.bytes(*block.of, block.number >= rotation.segments()));
    }
    const std::vector<uint8_t> coefficients = code.restoring(s, numbers);
    StreamHash segment_hash;
    for (size_t at = 0; at < segment; at += chunk_max) {
      const size_t bytes = std::min(chunk_max, segment - at);
      std::vector<float> values(bytes / sizeof(float));
      const auto sum = std::as_writable_bytes(std::span(values));
      for (size_t b = 0; b < blocks.size(); ++b, beat()) {
        std::string chunk;
        if (!mine[b].empty())
          chunk.assign(reinterpret_cast<const char*>(mine[b].data() + blocks[b].at + at), bytes);
        const std::string got = from_rank(world, blocks[b].of->rank, chunk);
        storage::multiply_add(coefficients[b], std::as_bytes(std::span(got)), sum);
      }
      segment_hash.add(sum);
      take(static_cast<int64_t>((static_cast<size_t>(s) * segment + at) / sizeof(float)), values);
    }
    hashes.push_back(segment_hash.value());
  }
  const uint64_t hash = hash64_of<uint64_t>(hashes);
  const bool known = std::any_of(copies.begin(), copies.end(), [&](const KeptPart& copy) {
    return copy.rank >= 0 && copy.hashes[static_cast<size_t>(node)] == hash;
  });
  if (known) return;
  throw Error(Exit::io, witness.path,
              fmt::format("the part of node {} that was computed from the others is not what it was",
                          group.nodes().first + node),
              "Start again with run.keep_state = false: the newest checkpoint is gone on from.")
      .as_agreed();
}

}  // namespace

std::optional<KeptPart> look_at_copy(std::span<std::byte> file, const KeptLabel& label, int slot) {
  const std::optional<CopyViews> views = views_of(file, label);
  if (!views) return std::nullopt;
  const auto at = static_cast<size_t>(slot);
  const auto segment = static_cast<size_t>(label.segment_bytes);
  const NodeGroup group = NodeGroup::of(label.node, label.nodes);
  KeptPart part;
  part.slot = slot;
  part.label = label;
  part.hashes.assign(views->hashes[at].begin(), views->hashes[at].end());
  const auto hash = [&](std::span<const std::byte> blocks) {
    beat();
    return checkpoint::blocks_hash(blocks, segment);
  };
  part.part = hash(views->part[at]) == part.hashes[static_cast<size_t>(label.node - group.first)];
  part.parity = hash(views->parity[at]) == part.hashes.back();
  return part;
}

std::vector<KeptPart> copies_of(const std::vector<KeptPart>& parts) {
  const KeptLabel& first = parts.front().label;
  std::vector<KeptPart> copies(static_cast<size_t>(first.nodes));
  for (const KeptPart& part : parts) {
    if (part.label.nodes != first.nodes || part.label.parity != first.parity ||
        part.label.segment_bytes != first.segment_bytes || part.label.elements != first.elements ||
        part.label.moments != first.moments)
      return {};
    copies[static_cast<size_t>(part.label.node)] = part;
  }
  for (int node = 0; node < first.nodes;) {
    const Group group(copies, node, first.parity);
    if (!group.whole()) return {};
    node += group.nodes().count;
  }
  return copies;
}

void read_copies(const comm::World& world, const std::vector<KeptPart>& copies,
                 const std::function<void(int array, int64_t begin, std::span<const float> values)>& take) {
  const KeptPart& witness =
      *std::find_if(copies.begin(), copies.end(), [](const KeptPart& copy) { return copy.rank >= 0; });
  const int arrays = 1 + witness.label.moments;
  const exact::Slices slices = exact::cut_arena(witness.label.elements, witness.label.nodes);
  Files files(world);
  for (int node = 0; node < std::ssize(copies); ++node) {
    const auto at = static_cast<size_t>(node);
    const int64_t begin = slices.elements[at], slice = slices.elements[at + 1] - begin;
    if (slice == 0) continue;
    // The part is one array of the node's slice behind the other, then padding.
    const TakeFloats take_part = [&](int64_t first, std::span<const float> values) {
      while (!values.empty() && first < arrays * slice) {
        const int64_t in_array = first % slice;
        const auto count = std::min<int64_t>(std::ssize(values), slice - in_array);
        take(static_cast<int>(first / slice), begin + in_array, values.first(static_cast<size_t>(count)));
        values = values.subspan(static_cast<size_t>(count));
        first += count;
      }
    };
    if (!copies[at].part) {
      const Group group(copies, node, witness.label.parity);
      rebuild(world, group, node - group.nodes().first, files, take_part);
      continue;
    }
    const std::span<const std::byte> bytes = files.bytes(copies[at], false);
    spread(world, copies[at].rank,
           {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)}, arrays * slice,
           take_part);
  }
}

}  // namespace lepton::train
