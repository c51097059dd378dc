// SPDX-License-Identifier: Apache-2.0
// The first rank of each host looks, all tell all, and all choose alike. See the header.
#include "train/kept_search.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/watchdog.h"
#include "ops/parameters_hash.h"
#include "report/ledger.h"
#include "storage/file.h"
#include "train/kept_copies.h"
#include "train/phases.h"
#include "train/run_record.h"

namespace lepton::train {

namespace {

namespace fs = std::filesystem;

constexpr char copies_suffix[] = "-copy";

std::string prefix_of(const std::string& run_directory) {
  std::error_code error;
  const fs::path place = fs::weakly_canonical(fs::absolute(run_directory), error);
  return fmt::format("lepton-{}-state-{}-", getuid(), hex64(hash64(error ? run_directory : place.string())));
}

/// Files of this run with a generation before `generation`.
std::vector<std::string> files_of(const std::string& shm_directory, const std::string& run_directory,
                                  int64_t generation) {
  std::vector<std::string> paths;
  const std::string prefix = prefix_of(run_directory);
  for (const std::string& name : storage::list_directory(shm_directory)) {
    if (!name.starts_with(prefix)) continue;
    int64_t of = 0;
    const auto [end, error] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), of);
    if (error == std::errc{} && *end == '-' && of < generation) paths.push_back(shm_directory + "/" + name);
  }
  return paths;
}

/// The state in a file with this label; nothing where the file is too short for it.
std::optional<StateViews> state_views_of(std::span<std::byte> bytes, const KeptLabel& label) {
  if (bytes.empty()) return std::nullopt;
  StateViews views;
  const StateShape shape{.moments = label.moments};
  const int64_t slice = label.slice_end - label.slice_begin;
  const size_t begin = KeptState(bytes).state_begin();
  if (begin + cut_state(nullptr, label.elements, slice, shape, views) > bytes.size()) return std::nullopt;
  cut_state(bytes.data() + begin, label.elements, slice, shape, views);
  return views;
}

bool intact_parameters(const StateViews& views, int slot, const KeptLabel& label) {
  for (int64_t b = 0; b * block_elements < label.elements; ++b, beat())
    if (parameter_sum(views.parameters[slot], b) != views.parameter_sums[slot][b]) return false;
  return true;
}

bool intact_moments(const StateViews& views, int slot, const KeptLabel& label) {
  for (int64_t b = label.slice_begin / block_elements; b * block_elements < label.slice_end; ++b, beat())
    if (moment_sum(std::span(views.moments[slot]).first(static_cast<size_t>(label.moments)),
                   label.slice_begin, label.slice_end, b) != views.moment_sums[slot][b])
      return false;
  return true;
}

/// What a slot of a living state holds, verified; nothing where the file is too short.
std::optional<KeptPart> look_at_state(std::span<std::byte> file, const KeptLabel& label, int slot) {
  const std::optional<StateViews> views = state_views_of(file, label);
  if (!views) return std::nullopt;
  KeptPart part;
  part.slot = slot;
  part.label = label;
  part.parameters = intact_parameters(*views, slot, label);
  part.moments = intact_moments(*views, slot, label);
  return part;
}

nlohmann::json json_of(const KeptPart& part, const KeptRecord& record, const checkpoint::Identity& identity) {
  const KeptLabel& l = part.label;
  return {{"path", part.path},
          {"slot", part.slot},
          {"label", {l.generation, l.node, l.nodes, l.moments, l.elements, l.slice_begin, l.slice_end}},
          {"parameters", part.parameters},
          {"moments", part.moments},
          {"copies", {l.parity, l.segment_bytes}},
          {"part", part.part},
          {"parity", part.parity},
          {"hashes", part.hashes},
          {"step", record.step},
          {"small", hex64(hash64(record.small_state))},
          {"identity", hex64(checkpoint::identity_hash(identity))}};
}

/// **The first rank of a host.** What is there, as text.
std::string look(const std::string& shm_directory, const std::string& run_directory, int64_t generation) {
  nlohmann::json found = nlohmann::json::array();
  for (const std::string& path : files_of(shm_directory, run_directory, generation)) {
    const Mapping mapping(path);
    if (mapping.bytes().empty()) continue;
    const KeptState kept(mapping.bytes());
    const std::optional<KeptLabel> label = kept.label();
    for (int which = 0; label && which < 2; ++which) {
      const std::optional<KeptRecord> record = kept.record(which);
      if (!record) continue;
      std::optional<KeptPart> part = label->copies() ? look_at_copy(mapping.bytes(), *label, record->slot)
                                                     : look_at_state(mapping.bytes(), *label, record->slot);
      if (!part) continue;
      part->path = path;
      found.push_back(json_of(*part, *record, kept.identity()));
    }
  }
  return found.empty() ? "" : found.dump();
}

KeptPart part_of(const nlohmann::json& json, int rank) {
  KeptPart part;
  part.rank = rank;
  part.path = json.at("path").get<std::string>();
  part.slot = json.at("slot").get<int>();
  const nlohmann::json& l = json.at("label");
  part.label = {l[0].get<int64_t>(), l[1].get<int32_t>(), l[2].get<int32_t>(), l[3].get<int32_t>(),
                l[4].get<int64_t>(), l[5].get<int64_t>(), l[6].get<int64_t>()};
  part.parameters = json.at("parameters").get<bool>();
  part.label.parity = json.at("copies")[0].get<int32_t>();
  part.label.segment_bytes = json.at("copies")[1].get<int64_t>();
  part.moments = json.at("moments").get<bool>();
  part.part = json.at("part").get<bool>();
  part.parity = json.at("parity").get<bool>();
  part.hashes = json.at("hashes").get<std::vector<uint64_t>>();
  return part;
}

/// The parts that together hold everything; nothing where something is missing.
std::optional<KeptWhole> whole_of(const std::vector<KeptPart>& parts) {
  KeptWhole whole;
  if (parts.front().label.copies()) {
    whole.copies = copies_of(parts);
    whole.parameters = parts.front();
    return whole.copies.empty() ? std::nullopt : std::optional(whole);
  }
  const auto has_parameters = [](const KeptPart& part) { return part.parameters; };
  const auto first = std::find_if(parts.begin(), parts.end(), has_parameters);
  if (first == parts.end()) return std::nullopt;
  whole.parameters = *first;
  if (first->label.moments == 0) return whole;
  std::vector<KeptPart> sorted;
  std::copy_if(parts.begin(), parts.end(), std::back_inserter(sorted),
               [](const KeptPart& part) { return part.moments; });
  std::sort(sorted.begin(), sorted.end(),
            [](const KeptPart& a, const KeptPart& b) { return a.label.slice_begin < b.label.slice_begin; });
  int64_t covered = 0;
  for (const KeptPart& part : sorted) {
    if (part.label.slice_begin > covered) return std::nullopt;
    if (part.label.slice_end <= covered) continue;
    covered = part.label.slice_end;
    whole.parts.push_back(part);
  }
  return covered == first->label.elements ? std::optional(whole) : std::nullopt;
}

}  // namespace

std::string KeptWhole::told() const {
  const auto lost =
      std::count_if(copies.begin(), copies.end(), [](const KeptPart& copy) { return !copy.part; });
  return fmt::format("the state of step {}, which the last start left in memory{}", state.step,
                     lost == 0
                         ? ""
                         : fmt::format("; the parts of {} of its {} nodes come from the parity of others",
                                       lost, copies.size()));
}

std::string kept_name(const std::string& run_directory, int64_t generation, int node) {
  return fmt::format("{}{}-{}", prefix_of(run_directory), generation, node);
}

std::string copies_name(const std::string& run_directory, int64_t generation, int node) {
  return kept_name(run_directory, generation, node) + copies_suffix;
}

std::optional<KeptWhole> find_kept(const comm::World& world, const std::string& shm_directory,
                                   const std::string& run_directory, int64_t generation,
                                   const std::function<bool(const RunState&)>& accept) {
  std::string own;
  comm::agree(world, [&] {
    if (world.host_ranks().front() == world.rank()) own = look(shm_directory, run_directory, generation);
  });
  // By step, whether it lived, generation, small state and identity: parts of one state.
  std::map<std::tuple<int64_t, bool, int64_t, std::string, std::string>, std::vector<KeptPart>> states;
  const std::vector<std::string> all = world.all_gather(own);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    for (const nlohmann::json& json : nlohmann::json::parse(all[rank])) {
      const KeptPart part = part_of(json, static_cast<int>(rank));
      states[{json.at("step").get<int64_t>(), !part.label.copies(), part.label.generation,
              json.at("small").get<std::string>(), json.at("identity").get<std::string>()}]
          .push_back(part);
    }
  }
  for (auto state = states.rbegin(); state != states.rend(); ++state) {
    std::optional<KeptWhole> whole = whole_of(state->second);
    if (!whole) continue;
    std::string small, identity;
    comm::agree(world, [&] {
      if (world.rank() != whole->parameters.rank) return;
      const Mapping mapping(whole->parameters.path);
      REQUIRE(!mapping.bytes().empty(), Exit::io, whole->parameters.path, "the state kept in memory is gone",
              "Start the job again.");
      const KeptState kept(mapping.bytes());
      for (int which = 0; which < 2; ++which)
        if (const std::optional<KeptRecord> record = kept.record(which);
            record && record->step == std::get<0>(state->first))
          small = record->small_state;
      identity = RunIdentity{kept.identity(), 0, {}}.encode();
    });
    small = from_rank(world, whole->parameters.rank, small);
    identity = from_rank(world, whole->parameters.rank, identity);
    whole->state = RunState::decode_from(small, "the state kept in memory");
    whole->identity = RunIdentity::decode(identity, "the state kept in memory").identity;
    std::vector<int64_t> wanted{0};
    comm::agree(world, [&] {
      if (world.rank() == 0) wanted[0] = accept(whole->state);
    });
    world.all_max(wanted);
    if (wanted[0] > 0) return whole;
  }
  return std::nullopt;
}

void load_kept(const comm::World& world, const KeptWhole& whole, NodeState& node) {
  const auto take_moment = [&](int m, int64_t first, std::span<const float> values) {
    for (int64_t i = 0; world.leads() && i < std::ssize(values); ++i)
      if (first + i >= node.slice_begin() && first + i < node.slice_end())
        node.moment(0, m)[static_cast<size_t>(first + i - node.slice_begin())] =
            values[static_cast<size_t>(i)];
  };
  const auto take_parameters = [&](int64_t begin, std::span<const float> values) {
    if (world.leads()) std::copy(values.begin(), values.end(), node.parameters(0).begin() + begin);
  };
  if (!whole.copies.empty())
    return read_copies(world, whole.copies, [&](int array, int64_t begin, std::span<const float> values) {
      if (array == 0)
        take_parameters(begin, values);
      else
        take_moment(array - 1, begin, values);
    });
  const auto spread_of = [&](const KeptPart& part, int moment, auto&& take) {
    std::optional<Mapping> mapping;
    std::span<const float> values;
    comm::agree(world, [&] {
      if (world.rank() != part.rank) return;
      mapping.emplace(part.path);
      const std::optional<StateViews> views = state_views_of(mapping->bytes(), part.label);
      REQUIRE(views, Exit::io, part.path, "the state kept in memory is gone", "Start the job again.");
      values =
          moment < 0 ? views->parameters[part.slot] : views->moments[part.slot][static_cast<size_t>(moment)];
    });
    const int64_t elements = moment < 0 ? part.label.elements : part.label.slice_end - part.label.slice_begin;
    spread(world, part.rank, values, elements, take);
  };
  spread_of(whole.parameters, -1, take_parameters);
  for (const KeptPart& part : whole.parts)
    for (int m = 0; m < part.label.moments; ++m)
      spread_of(part, m, [&](int64_t begin, std::span<const float> values) {
        take_moment(m, part.label.slice_begin + begin, values);
      });
}

void require_parameters_of(const comm::World& world, const std::string& where, const RunState& state,
                           NodeState& node) {
  comm::agree(world, [&] {
    if (!world.leads()) return;
    const std::optional<report::LedgerLine> line = report::LedgerLine::decode(state.last_ledger_line);
    REQUIRE(line && line->parameters == ops::combine_block_hashes(node.block_hashes(0)), Exit::io, where,
            "its parameters are not those that the ledger tells of",
            "Start again with run.keep_state = false: the newest checkpoint is gone on from.");
  });
}

void remove_kept(const comm::World& world, const std::string& shm_directory, const std::string& run_directory,
                 int64_t generation, bool copies) {
  if (world.host_ranks().front() != world.rank()) return;
  for (const std::string& path : files_of(shm_directory, run_directory, generation))
    if (copies || !path.ends_with(copies_suffix)) unlink(path.c_str());
}

}  // namespace lepton::train
