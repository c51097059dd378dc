// SPDX-License-Identifier: Apache-2.0
// Verification of many files is shared by the ranks in the plainest way: file i by rank i mod n.
#include "checkpoint/reader.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/envelope.h"
#include "checkpoint/shard.h"
#include "storage/file.h"

namespace lepton::checkpoint {

namespace {

/// **Collective.** verify(), with the files shared among the ranks; the same result on all.
std::vector<Damage> verify_together(const comm::World& world, const std::string& checkpoint) {
  Manifest manifest;
  std::vector<Damage> damages;
  if (world.rank() == 0) damages = verify_manifest(checkpoint, manifest);
  std::string text = world.rank() == 0 && readable(damages) ? manifest.encode() : "";
  world.broadcast(text);
  if (!text.empty()) {
    manifest = Manifest::decode(text, checkpoint);
    std::ranges::copy(verify_files(checkpoint, manifest, static_cast<size_t>(world.rank()),
                                   static_cast<size_t>(world.size())),
                      std::back_inserter(damages));
  }
  std::string packed;  // file, NUL, what, NUL, whether it heals
  for (const Damage& damage : damages)
    packed += damage.file + '\0' + damage.what + '\0' + (damage.heals ? '1' : '0');
  damages.clear();
  for (const std::string& part : world.all_gather(packed))
    for (size_t at = 0; at < part.size();) {
      const std::string file = part.c_str() + at, what = part.c_str() + at + file.size() + 1;
      at += file.size() + what.size() + 3;
      damages.push_back({file, what, part[at - 1] == '1'});
    }
  return damages;
}

std::string listed(const std::vector<Damage>& damages) {
  constexpr size_t shown = 3;
  std::string text;
  for (size_t i = 0; i < std::min(shown, damages.size()); ++i)
    text += (i ? "; " : "") + damages[i].file + ": " + damages[i].what;
  if (damages.size() > shown) text += "; and " + std::to_string(damages.size() - shown) + " more";
  return text;
}

}  // namespace

std::vector<std::string> list_checkpoints(const std::string& directory) {
  std::map<int64_t, std::string, std::greater<>> found;
  for (const std::string& name : storage::list_directory(directory)) {
    std::error_code gone;
    if (std::filesystem::is_symlink(directory + "/" + name, gone)) continue;
    const bool previous = name.ends_with(previous_suffix);
    const std::string_view stem(name.data(), name.size() - (previous ? sizeof previous_suffix - 1 : 0));
    const std::optional<int64_t> step = parse_step_name(stem);
    if (!step) continue;
    if (previous)
      found.try_emplace(*step, directory + "/" + name);
    else
      found.insert_or_assign(*step, directory + "/" + name);
  }
  std::vector<std::string> paths;
  for (const auto& [step, path] : found) paths.push_back(path);
  return paths;
}

struct Reader::State {
  std::string checkpoint, small_state;
  Manifest manifest;
  uint64_t identity = 0;
  int64_t held_shard = -1;  // whose verified bytes `held` are
  std::string held;

  const std::string& shard_bytes(int64_t shard) {
    if (held_shard == shard) return held;
    held_shard = -1;
    held = {};
    held = read_proven(checkpoint, manifest, manifest.files[static_cast<size_t>(shard)]);
    held_shard = shard;
    return held;
  }
};

Reader::Reader(const std::string& checkpoint) : state_(std::make_unique<State>()) {
  state_->checkpoint = checkpoint;
  state_->manifest = read_manifest(checkpoint);
  state_->identity = identity_hash(state_->manifest.identity);
  state_->small_state =
      open_envelope(read_proven(checkpoint, state_->manifest, state_->manifest.state_file()),
                    checkpoint + "/" + state_name);
}

Reader::~Reader() = default;
Reader::Reader(Reader&&) noexcept = default;

const Manifest& Reader::manifest() const {
  return state_->manifest;
}

const std::string& Reader::small_state() const {
  return state_->small_state;
}

void Reader::read(const std::string& array, int64_t begin, int64_t end, std::span<float> out) const {
  const Manifest& manifest = state_->manifest;
  const StateLayout& layout = manifest.layout;
  const std::vector<std::string>& arrays = layout.arrays;
  REQUIRE(std::find(arrays.begin(), arrays.end(), array) != arrays.end(), Exit::data, state_->checkpoint,
          "holds no array '" + array + "'", "Was it written by a run with another optimizer?");
  CHECK(
      0 <= begin && begin <= end && end <= layout.elements && static_cast<int64_t>(out.size()) == end - begin,
      "range of " + array);
  for (int64_t at = begin; at < end;) {
    const int64_t shard = at / layout.shard_elements, to = std::min(end, layout.shard_end(shard));
    const std::string& bytes = state_->shard_bytes(shard);
    read_shard(std::as_bytes(std::span(bytes)), state_->checkpoint + "/" + shard_name(shard), layout,
               {manifest.step, shard, state_->identity}, array, at, to,
               out.subspan(static_cast<size_t>(at - begin), static_cast<size_t>(to - at)));
    at = to;
  }
}

std::optional<Valid> newest_valid(const comm::World& world, const std::string& directory) {
  std::vector<std::string> checkpoints;
  comm::agree(world, [&] {
    if (world.rank() == 0) checkpoints = list_checkpoints(directory);
  });
  std::string names;
  for (const std::string& checkpoint : checkpoints) names += checkpoint + '\n';
  world.broadcast(names);
  std::string all_damages;
  for (size_t at = 0; at < names.size();) {
    const std::string checkpoint = names.substr(at, names.find('\n', at) - at);
    at += checkpoint.size() + 1;
    const std::vector<Damage> damages = verify_together(world, checkpoint);
    if (readable(damages)) {
      if (!damages.empty() && world.rank() == 0)
        log_warning("checkpoint " + checkpoint + " is damaged (" + listed(damages) +
                    "); nothing of it is lost.");
      return Valid{checkpoint, damages};
    }
    all_damages += "\n  " + checkpoint.substr(checkpoint.rfind('/') + 1) + ": " + listed(damages);
    if (world.rank() == 0)
      log_warning("checkpoint " + checkpoint + " is damaged (" + listed(damages) + "); " +
                  (at < names.size() ? "the one before it is tried." : "there is none before it."));
  }
  if (names.empty()) return std::nullopt;
  throw Error(Exit::data, directory, "every checkpoint is damaged:" + all_damages,
              "Restore one from a backup, or start over with --fresh (which moves the old run aside).")
      .as_agreed();
}

}  // namespace lepton::checkpoint
